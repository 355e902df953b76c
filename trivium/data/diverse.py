"""Sentences of several languages with their English, of our own, and which language a text is in.

The pairs are what prompts of diverse languages are made of where nothing else is given; the sentences of each language
together are its profile. A text is in the language whose profile its byte trigrams are most like: enough to tell the
output of a model in the wrong language, not a judge of short or mixed texts.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

from torch import Tensor

from trivium.core.errors import UnknownName, did_you_mean
from trivium.data.trigrams import trigrams

WIDTH = 4096
"""Buckets of the profiles' trigrams."""

ENGLISH = (
    "The children are playing in the garden.",
    "I would like a cup of tea, please.",
    "My brother works in a hospital.",
    "It has been raining since this morning.",
    "We are going to the market tomorrow.",
    "She is reading a book about the sea.",
    "The train leaves at eight o'clock.",
    "Where is the nearest bakery?",
)
"""What the sentences of every language say, in their order."""

TRANSLATED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "fr": (
            "Les enfants jouent dans le jardin.",
            "Je voudrais une tasse de thé, s'il vous plaît.",
            "Mon frère travaille dans un hôpital.",
            "Il pleut depuis ce matin.",
            "Nous allons au marché demain.",
            "Elle lit un livre sur la mer.",
            "Le train part à huit heures.",
            "Où est la boulangerie la plus proche ?",
        ),
        "es": (
            "Los niños juegan en el jardín.",
            "Quisiera una taza de té, por favor.",
            "Mi hermano trabaja en un hospital.",
            "Llueve desde esta mañana.",
            "Vamos al mercado mañana.",
            "Ella lee un libro sobre el mar.",
            "El tren sale a las ocho.",
            "¿Dónde está la panadería más cercana?",
        ),
        "de": (
            "Die Kinder spielen im Garten.",
            "Ich hätte gern eine Tasse Tee, bitte.",
            "Mein Bruder arbeitet in einem Krankenhaus.",
            "Es regnet seit heute Morgen.",
            "Wir gehen morgen auf den Markt.",
            "Sie liest ein Buch über das Meer.",
            "Der Zug fährt um acht Uhr ab.",
            "Wo ist die nächste Bäckerei?",
        ),
        "no": (
            "Barna leker i hagen.",
            "Jeg vil gjerne ha en kopp te, takk.",
            "Broren min jobber på et sykehus.",
            "Det har regnet siden i morges.",
            "Vi skal på markedet i morgen.",
            "Hun leser en bok om havet.",
            "Toget går klokken åtte.",
            "Hvor er det nærmeste bakeriet?",
        ),
        "it": (
            "I bambini giocano nel giardino.",
            "Vorrei una tazza di tè, per favore.",
            "Mio fratello lavora in un ospedale.",
            "Piove da questa mattina.",
            "Domani andiamo al mercato.",
            "Lei legge un libro sul mare.",
            "Il treno parte alle otto.",
            "Dov'è la panetteria più vicina?",
        ),
        "ru": (
            "Дети играют в саду.",
            "Я хотел бы чашку чая, пожалуйста.",
            "Мой брат работает в больнице.",
            "С утра идёт дождь.",
            "Завтра мы идём на рынок.",
            "Она читает книгу о море.",
            "Поезд отправляется в восемь часов.",
            "Где ближайшая булочная?",
        ),
        "el": (
            "Τα παιδιά παίζουν στον κήπο.",
            "Θα ήθελα ένα φλιτζάνι τσάι, παρακαλώ.",
            "Ο αδελφός μου δουλεύει σε ένα νοσοκομείο.",
            "Βρέχει από το πρωί.",
            "Αύριο πάμε στην αγορά.",
            "Διαβάζει ένα βιβλίο για τη θάλασσα.",
            "Το τρένο φεύγει στις οκτώ.",
            "Πού είναι ο πιο κοντινός φούρνος;",
        ),
        "zh": (
            "孩子们在花园里玩。",
            "我想要一杯茶，谢谢。",
            "我哥哥在医院工作。",
            "从今天早上开始一直在下雨。",
            "我们明天去市场。",
            "她在看一本关于大海的书。",
            "火车八点钟开。",
            "最近的面包店在哪里？",
        ),
    }
)

NAMES: Mapping[str, str] = MappingProxyType(
    {"en": "English", "fr": "French", "es": "Spanish", "de": "German", "no": "Norwegian", "it": "Italian",
     "ru": "Russian", "el": "Greek", "zh": "Chinese"}
)  # fmt: skip


def check_language(code: str) -> str:
    """The code. Raises UnknownName for a language without sentences here."""
    if code not in NAMES:
        raise UnknownName(f"no sentences of the language {code!r} are known here{did_you_mean(code, NAMES)}")
    return code


def sentences(code: str) -> tuple[str, ...]:
    """Of a language, English included."""
    return ENGLISH if check_language(code) == "en" else TRANSLATED[code]


def language_of(text: str, among: Sequence[str] = tuple(NAMES)) -> str:
    """The code of the language that a text is most like. Raises ValueError for an empty text."""
    if not text.strip():
        raise ValueError("an empty text is in no language")
    codes = [check_language(code) for code in among]
    likeness = _profiles() @ trigrams([text.casefold()], WIDTH)[0]
    return max(codes, key=lambda code: float(likeness[list(NAMES).index(code)]))


@lru_cache(maxsize=1)
def _profiles() -> Tensor:
    return trigrams([" ".join(sentences(code)).casefold() for code in NAMES], WIDTH)
