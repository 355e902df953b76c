"""Language profiles: what counts as the same answer, as a word and as a sentence in a language, of which there are
English, French, Spanish, Norwegian, Ancient Greek and Arabic.

Every measure of texts takes a profile, since none is neutral: to drop English articles from French deletes the verb
"a". The English one is the rule of SQuAD's script. Whatever is normalised twice is as if it were normalised once.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trivium.core.errors import UnknownName, did_you_mean

_MARKS = "\u0300-\u036f\u0610-\u061a\u064b-\u065f\u0670\u1dc0-\u1dff"
"""Signs that stand on or under the letter before them."""
_TATWEEL_AND_VOWELS = re.compile("[\u0640\u064b-\u0652]")
_ALEFS = str.maketrans(dict.fromkeys("أإآٱ", "ا"))
_LENIENT = str.maketrans({"ى": "ي", "ة": "ه"})
_CLOSERS = "\"'”’»)\\]"


def _settled(text: str, step: Callable[[str], str]) -> str:
    """What a step makes of a text in the end: to take one sign away can join its neighbours into another."""
    while (changed := step(text)) != text:
        text = changed
    return text


@dataclass(frozen=True)
class Profile:
    """How texts of a language are compared. ``replace`` makes another of it."""

    name: str
    articles: tuple[str, ...] = ()
    """Words that do not count in an answer."""
    prefix: str = ""
    """An article that is written together with the word behind it; taken off as often as it stands there."""
    lower: bool = True
    """Whether capitals are as good as small letters."""
    elision: bool = False
    """Whether an apostrophe ends a word, as in "l'eau"."""
    every_mark: bool = True
    """Whether all punctuation of Unicode is left out of an answer, or only that of ASCII."""
    arabic: bool = False
    """Whether tatweel and vowel signs are left out and all forms of alef are one."""
    lenient: bool = False
    """Whether also ى and ي are one, and ة and ه."""
    stemmer: str = ""
    """The language's stemmer in snowballstemmer, "" where there is none."""
    ends: str = ".!?…"
    """What ends a sentence before white space."""
    abbreviations: frozenset[str] = frozenset()
    """Words, without their dot, that end none; single letters never do."""

    def __post_init__(self) -> None:
        if self.lenient and not self.arabic:
            raise ValueError(
                f"lenient is about Arabic letters, and {self.name} has arabic=False; leave one of them out"
            )

    def normal(self, text: str) -> str:
        """The characters that count: composed (NFC), in small letters unless capitals count."""

        def step(text: str) -> str:
            text = unicodedata.normalize("NFC", text)
            text = text.lower() if self.lower else text
            if self.arabic:
                text = _TATWEEL_AND_VOWELS.sub("", text).translate(_ALEFS)
                text = text.translate(_LENIENT) if self.lenient else text
            return unicodedata.normalize("NFC", text)

        return _settled(text, step)

    def answer(self, text: str) -> str:
        """An answer to compare: no punctuation, no articles, one space between words."""

        def step(text: str) -> str:
            text = self.normal(text)
            text = re.sub("['’]", " ", text) if self.elision else text
            text = "".join(letter for letter in text if not self._mark(letter))
            text = self._article.sub(" ", text) if self.articles else text
            return " ".join(self._bare(word) for word in text.split())

        return _settled(text, step)

    def _mark(self, letter: str) -> bool:
        return letter in string.punctuation or (self.every_mark and unicodedata.category(letter).startswith("P"))

    def _bare(self, word: str) -> str:
        while self.prefix and word.startswith(self.prefix) and len(word) > len(self.prefix) + 1:
            word = word[len(self.prefix) :]
        return word

    @cached_property
    def _article(self) -> re.Pattern[str]:
        return re.compile(rf"\b({'|'.join(sorted(map(re.escape, self.articles), key=len, reverse=True))})\b")

    def words(self, text: str) -> list[str]:
        """The words of a text, normalised; an apostrophe within one belongs to it, or ends it with elision."""
        return self._word.findall(self.normal(text))

    @cached_property
    def _word(self) -> re.Pattern[str]:
        run = rf"[^\W_](?:[^\W_]|[{_MARKS}])*"
        return re.compile(rf"{run}['’]?" if self.elision else rf"{run}(?:['’]{run})*")

    def sentences(self, text: str) -> list[str]:
        """The sentences of a text, each with the white space before it, so that they join to the text."""
        found, start = [], 0
        for end in re.finditer(rf"[{re.escape(self.ends)}]+[{_CLOSERS}]*(?=\s)", text):
            before = re.search(r"([^\W\d_]+(?:\.[^\W\d_]+)*)\.$", text[start : end.end()])
            short = before and (len(before[1]) == 1 or before[1].lower() in self.abbreviations)
            if not short and text[end.end() :].strip():
                found.append(text[start : end.end()])
                start = end.end()
        return [*found, text[start:]] if text.strip() else []


_ENGLISH = "mr mrs ms dr prof st vs etc e.g i.e no vol jr sr"
_FRENCH = "m mm mme mlle dr me st ste etc p.ex cf av env art"
_SPANISH = "sr sra srta dr dra ud uds etc p.ej pág núm av"
_NORWEGIAN = "f.eks bl.a dvs osv ca nr kl jf dr st mfl m.m"
_GREEK = """ὁ ἡ τό τὸ τοῦ τῆς τῷ τῇ τόν τὸν τήν τὴν οἱ αἱ τά τὰ τῶν τοῖς ταῖς τούς τοὺς τάς τὰς τώ τὼ τοῖν"""

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("english", ("a", "an", "the"), every_mark=False, stemmer="english",
                abbreviations=frozenset(_ENGLISH.split())),
        Profile("french", ("le", "la", "les", "l", "un", "une", "des", "du", "de la", "au", "aux"), elision=True,
                stemmer="french", abbreviations=frozenset(_FRENCH.split())),
        Profile("spanish", ("el", "la", "los", "las", "un", "una", "unos", "unas", "lo"), stemmer="spanish",
                abbreviations=frozenset(_SPANISH.split())),
        Profile("norwegian", ("en", "ei", "et"), stemmer="norwegian", abbreviations=frozenset(_NORWEGIAN.split())),
        Profile("ancient_greek", tuple(unicodedata.normalize("NFC", word) for word in _GREEK.split()),
                ends=".!?…;\u037e\u00b7\u0387"),
        Profile("arabic", lower=False, arabic=True, stemmer="arabic", ends=".!?…؟۔"),
        Profile("arabic_lenient", lower=False, arabic=True, lenient=True, stemmer="arabic", ends=".!?…؟۔"),
    )
}  # fmt: skip


def profile(name: str) -> Profile:
    """A profile by its name. Raises UnknownName, which lists them."""
    if name not in PROFILES:
        raise UnknownName(
            f"no language is called {name!r}{did_you_mean(name, PROFILES)}; there are {', '.join(PROFILES)}"
        )
    return PROFILES[name]


def utf8(data: bytes, source: str) -> str:
    """The text of some bytes. Raises ValueError with the place of the first that are no UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{source} is not UTF-8: byte {data[error.start]:#04x} at offset {error.start}; convert it first"
        ) from None


# Measures -------------------------------------------------------------------------------------------------------------


def exact(language: Profile, answer: str, gold: Sequence[str]) -> float:
    """1 where an answer is one of the gold ones, once both are normalised."""
    return float(language.answer(answer) in {language.answer(one) for one in gold})


def token_f1(language: Profile, answer: str, gold: Sequence[str]) -> float:
    """F1 of the words that an answer shares with a gold one, each as often as it stands in both; the best of all."""

    def one(said: list[str], right: list[str]) -> float:
        if not said or not right:
            return float(said == right)
        return 2 * sum((Counter(said) & Counter(right)).values()) / (len(said) + len(right))

    return max(one(language.answer(answer).split(), language.answer(right).split()) for right in gold)


def distinct(language: Profile, texts: Sequence[str], n: int, window: int | None = None) -> float:
    """Different n-grams of words over all n-grams of some texts.

    That falls with the number of words alone. With ``window`` it is the mean over all runs of so many n-grams, which
    does not (moving average, Covington and McFall 2010). Raises ValueError where there are fewer.
    """
    if n < 1:
        raise ValueError(f"n-grams are of at least 1 word, got {n}")
    found = [language.words(text) for text in texts]
    grams = [tuple(words[at : at + n]) for words in found for at in range(len(words) - n + 1)]
    size = len(grams) if window is None else window
    if not 1 <= size <= len(grams):
        raise ValueError(f"{len(texts)} texts have {len(grams)} {n}-grams, so no run of {size}; give longer texts")
    inside, different = Counter(grams[:size]), []
    different.append(len(inside))
    for old, new in zip(grams, grams[size:], strict=False):
        inside[new] += 1
        inside[old] -= 1
        if not inside[old]:
            del inside[old]
        different.append(len(inside))
    return sum(different) / len(different) / size


# Sentences ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sentence:
    """A sentence of a treebank. ``document``: sentences that are not independent."""

    id: str
    text: str
    document: str = ""


def treebank(path: str | Path) -> tuple[Sentence, ...]:
    """The sentences of a file in CoNLL-U, by their comments "# text", "# sent_id" and "# newdoc" or "# source".

    Raises ValueError with the line of a sentence without a text, and with the offset of what is no UTF-8.
    """
    lines = utf8(Path(path).read_bytes(), str(path)).splitlines()
    found: list[Sentence] = []
    told: dict[str, str] = {}
    document, words = "", 0
    for number, line in enumerate([*lines, ""], 1):
        if line.startswith("#"):
            key, _, value = (part.strip() for part in line[1:].partition("="))
            document = value if key in ("newdoc id", "source") else document
            told[key] = value
        elif line.strip():
            if line.count("\t") != 9:
                raise ValueError(f"{path}, line {number} has {line.count(chr(9)) + 1} columns; CoNLL-U has ten")
            words += 1
        elif words:
            if not told.get("text"):
                raise ValueError(f"{path}, line {number}: the sentence before has no '# text ='")
            name = told.get("sent_id", f"{len(found) + 1:05d}")
            found.append(Sentence(name, told["text"], document or name))
            told, words = {}, 0
    if not found:
        raise ValueError(f"{path} holds no sentence in CoNLL-U")
    return tuple(found)


OWN: dict[str, str] = {
    "english": """
        The dog sleeps under the table. | My sister reads a book every evening. | We have no bread in the house.
        The old man walks slowly to the sea. | It rains today, but tomorrow the sun will shine.
        Where is the key to the door? | The children sing while they work. | He wrote a long letter to his friend.
        The road to the town is white with snow. | I saw two birds in the big tree.
        Nobody knows who built this wall. | When night came, we closed the windows.
    """,
    "french": """
        Le chien dort sous la table. | Ma sœur lit un livre chaque soir. | Nous n'avons pas de pain à la maison.
        Le vieil homme marche lentement vers la mer. | Il pleut aujourd'hui, mais demain le soleil brillera.
        Où est la clé de la porte ? | Les enfants chantent pendant qu'ils travaillent.
        Il a écrit une longue lettre à son ami. | La route de la ville est blanche de neige.
        J'ai vu deux oiseaux dans le grand arbre. | Personne ne sait qui a construit ce mur.
        Quand la nuit est venue, nous avons fermé les fenêtres.
    """,
    "spanish": """
        El perro duerme debajo de la mesa. | Mi hermana lee un libro cada noche. | No tenemos pan en casa.
        El viejo camina despacio hacia el mar. | Hoy llueve, pero mañana brillará el sol.
        ¿Dónde está la llave de la puerta? | Los niños cantan mientras trabajan.
        Escribió una larga carta a su amigo. | El camino al pueblo está blanco de nieve.
        Vi dos pájaros en el árbol grande. | Nadie sabe quién construyó este muro.
        Cuando llegó la noche, cerramos las ventanas.
    """,
    "norwegian": """
        Hunden sover under bordet. | Søsteren min leser en bok hver kveld. | Vi har ikke brød i huset.
        Den gamle mannen går sakte mot havet. | Det regner i dag, men i morgen skinner solen.
        Hvor er nøkkelen til døren? | Barna synger mens de arbeider. | Han skrev et langt brev til vennen sin.
        Veien til byen er hvit av snø. | Jeg så to fugler i det store treet. | Ingen vet hvem som bygde denne muren.
        Da natten kom, lukket vi vinduene.
    """,
    "ancient_greek": """
        ὁ κύων ὑπὸ τῇ τραπέζῃ καθεύδει. | ἡ ἀδελφὴ βιβλίον ἀναγιγνώσκει. | ἄρτον οὐκ ἔχομεν ἐν τῇ οἰκίᾳ.
        ὁ γέρων βραδέως πρὸς τὴν θάλατταν βαδίζει. | ποῦ ἐστιν ἡ τῆς θύρας κλείς; | οἱ παῖδες ᾄδουσιν ἐργαζόμενοι.
        ἐπιστολὴν μακρὰν τῷ φίλῳ ἔγραψεν. | ἡ ὁδὸς λευκή ἐστιν. | δύο ὄρνιθας ἐν τῷ δένδρῳ εἶδον.
        οὐδεὶς οἶδεν τίς τὸ τεῖχος ἐποίησεν. | ὁ ἄνθρωπος τὸν ἵππον ὁρᾷ. | νυκτὸς γενομένης τὰς θύρας ἐκλείσαμεν.
    """,
    "arabic": """
        ينام الكلب تحت الطاولة. | تقرأ أختي كتابا كل مساء. | ليس عندنا خبز في البيت. | يمشي الشيخ ببطء نحو البحر.
        أين مفتاح الباب؟ | يغني الأطفال وهم يعملون. | كتب رسالة طويلة إلى صديقه. | الطريق إلى المدينة أبيض من الثلج.
        رأيت طائرين في الشجرة الكبيرة. | لا أحد يعرف من بنى هذا الجدار. | عندما جاء الليل أغلقنا النوافذ.
        اليوم تمطر ولكن غدا ستشرق الشمس.
    """,
}


def made(name: str) -> tuple[Sentence, ...]:
    """Twelve sentences of our own, which say much the same in every language."""
    text = OWN[{"arabic_lenient": "arabic"}.get(profile(name).name, name)]
    lines = [one.strip() for line in text.strip().splitlines() for one in line.split("|") if one.strip()]
    return tuple(Sentence(f"{name}-{number:02d}", line, f"{name}-{number:02d}") for number, line in enumerate(lines))
