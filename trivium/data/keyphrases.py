"""Documents with their keyphrases: which of them stand in the text, and lists of phrases made without a model.

Words are compared by their stems (Porter's), in phrases and texts alike; a phrase is present where its stems stand in
the text one after another.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from trivium.core.optional import require
from trivium.data import splits

Stems = tuple[str, ...]

_STOP = """
a about after all also an and any are as at be because been between both but by can could do does during each for from
had has have her his how if in into is it its less many may more most much no not of on one only or other our out over
some such than that the their them then there these they this those to under until up use used using was we were what
when where which while who will with within without would you your two new show shows
"""
STOP = frozenset(_STOP.split())
"""Words of no weight of their own."""


@dataclass(frozen=True)
class Document:
    """A text and its keyphrases. Raises TypeError for what is no text, ValueError for none at all."""

    id: str
    text: str
    phrases: tuple[str, ...]

    def __post_init__(self) -> None:
        for said in (self.text, *self.phrases):
            if not isinstance(said, str):
                raise TypeError(f"document {self.id!r}: text and phrases must be strings, got {said!r}")
        if not self.text.strip():
            raise ValueError(f"document {self.id!r} has no text; leave it out")


@cache
def _stemmer() -> Any:
    return require("snowballstemmer", extra="keyphrases", why="keyphrases are compared by their stems").stemmer(
        "porter"
    )


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    return _stemmer().stemWord(word)


def words(text: str) -> list[str]:
    """The words of a text in lower case; whatever is no letter or digit stands between them."""
    return re.findall(r"[^\W_]+", text.lower())


def stems(text: str) -> Stems:
    """The stems of a text's words. Raises TypeError for what is no text."""
    if not isinstance(text, str):
        raise TypeError(f"a phrase must be a string, got {text!r}")
    return tuple(_stem(word) for word in words(text))


def stands(phrase: Stems, text: Stems) -> bool:
    """Whether the stems stand in the text one after another."""
    size = len(phrase)
    return bool(phrase) and any(text[at : at + size] == phrase for at in range(len(text) - size + 1))


@dataclass(frozen=True)
class Listed:
    """A list of phrases made fit to be scored, in its order: ``kept`` once each; ``everything`` with its duplicates."""

    kept: tuple[Stems, ...]
    everything: tuple[Stems, ...]
    invalid: int

    @property
    def duplicates(self) -> int:
        return len(self.everything) - len(self.kept)


def listed(phrases: Iterable[str]) -> Listed:
    """Without phrases that hold no word, or a token that stands for an unknown one."""
    found = [(phrase, stems(phrase)) for phrase in phrases]
    valid = tuple(stem for phrase, stem in found if stem and "<unk>" not in phrase.lower())
    return Listed(tuple(dict.fromkeys(valid)), valid, len(found) - len(valid))


def parted(phrases: Iterable[Stems], text: Stems) -> tuple[list[Stems], list[Stems]]:
    """The phrases that stand in the text, and those that do not."""
    here, absent = [], []
    for phrase in phrases:
        (here if stands(phrase, text) else absent).append(phrase)
    return here, absent


# Lists without a model ------------------------------------------------------------------------------------------------


def candidates(text: str, longest: int = 3) -> list[str]:
    """Runs of up to so many words within which there is no mark, number or word of no weight, each as often as it
    stands there."""
    found = []
    for piece in re.split(r"[^\w\s'’-]+", text.lower()):
        parts = words(piece)
        for start in range(len(parts)):
            for stop in range(start + 1, min(start + longest, len(parts)) + 1):
                run = parts[start:stop]
                if not STOP & {*run} and not any(part.isdigit() for part in run):
                    found.append(" ".join(run))
    return found


def tfidf(documents: Sequence[Document], longest: int = 3) -> list[list[str]]:
    """The candidates of each document, best first: how often one stands in it, times log of documents over those that
    hold it. The same stems are one phrase; of equals the longer one, then the earlier one, is first."""
    runs = [[(stems(run), run) for run in candidates(one.text, longest)] for one in documents]
    held = Counter(stem for some in runs for stem in {stem for stem, _ in some})
    ranked = []
    for some in runs:
        count, first = Counter(stem for stem, _ in some), {}
        for place, (stem, run) in enumerate(some):
            first.setdefault(stem, (place, run))
        weight = {stem: n * math.log(len(documents) / held[stem]) for stem, n in count.items()}
        order = sorted(count, key=lambda stem: (-weight[stem], -len(stem), first[stem][0]))
        ranked.append([first[stem][1] for stem in order])
    return ranked


def random_runs(document: Document, count: int, generator: np.random.Generator, longest: int = 3) -> list[str]:
    """Different candidates of a document, drawn by lot."""
    found = list({stems(run): run for run in candidates(document.text, longest)}.values())
    return [found[at] for at in generator.permutation(len(found))[:count]]


def read_list(text: str) -> list[str]:
    """The phrases of a list that was written: commas, semicolons or lines between them, numbers or bullets before."""
    parts = [re.sub(r"^\s*(?:\d+[.)]|[-*])\s+", "", part).strip(" .\t\"'") for part in re.split(r"[,;\n•]", text)]
    return [part for part in parts if part]


# Documents ------------------------------------------------------------------------------------------------------------


def read(path: str | Path) -> tuple[Document, ...]:
    """Documents of a file of JSON lines with ``abstract`` (or ``text``), perhaps ``title`` and ``id``, and ``keywords``
    (or ``keyphrases``), a list or one string with semicolons. Raises ValueError with the number of a line of another
    form."""
    found = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            found.append(_document(json.loads(line), f"{Path(path).stem}-{number:05d}"))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number} is no document with keyphrases: {error}") from None
    if not found:
        raise ValueError(f"{path} holds no document")
    return tuple(found)


def _document(row: Mapping[str, Any], id: str) -> Document:
    body = row["abstract"] if "abstract" in row else row["text"]
    phrases = row["keywords"] if "keywords" in row else row["keyphrases"]
    phrases = phrases.split(";") if isinstance(phrases, str) else phrases
    if not isinstance(phrases, list):
        raise TypeError(f"keywords must be a list, or one string with semicolons, got {phrases!r}")
    text = ". ".join(part for part in (row.get("title", ""), body) if part) if isinstance(body, str) else body
    kept = tuple(one.strip() if isinstance(one, str) else one for one in phrases)
    return Document(str(row.get("id", id)), text, tuple(one for one in kept if one != ""))


OWN = """
Bees and mustard | We counted wild bees on field margins sown with white mustard. Margins with mustard had twice as
many bees as bare margins, and seed yield of the nearby orchards rose. In wet years wild bees nested deeper, and seed
yield fell on farms without field margins. Farmers keep the field margins since seed yield pays for them, and wild
bees do the rest. | wild bees; field margins; seed yield // pollination
Cooling a river | Trees planted along a river shade the water. Over ten summers shading lowered the water temperature
and trout returned to the upper reaches. Where shading was complete the water temperature stayed below twenty degrees,
the limit for trout. Without shading, trout left in July as water temperature peaked. | water temperature; shading;
trout // river restoration; climate adaptation
Small ferries | A battery ferry crosses the fjord every hour. Charging the battery at night costs less than diesel,
but cold weather shortens the life of the battery cells. A second battery ferry started in May. The crew of the
battery ferry warm the battery cells before dawn, and worn battery cells are sold to farms. | battery ferry; battery
cells // electric transport
Old songs | Singers in four villages recorded lullabies. Melodies with falling intervals were judged calmer by
listeners from other countries. Lullabies with falling intervals were sung more slowly. Rising melodies were rare in
lullabies, and mothers knew more melodies than fathers. | lullabies; melodies; falling intervals // music perception;
folk music
Clay bricks | Bricks of raw clay take up moisture from the air of a room. We measured indoor humidity in clay houses
and found smaller swings than in houses of concrete. Plaster hides raw clay from the room and stops moisture from
moving. With raw clay left bare, indoor humidity followed the moisture of the garden air by a day. | raw clay; indoor
humidity; moisture // building materials
Sleep and shifts | Nurses on rotating shifts slept fewer hours. Bright light in the evening delayed their sleep, and
naps before the shift improved reaction times. Hospitals with rotating shifts now allow naps. After naps reaction
times were those of day workers, while bright light alone left reaction times as they were. | rotating shifts; bright
light; naps; reaction times // circadian rhythm
Counting whales | Drones photographed whales from above. An image classifier found most whales, and manual counts from
ships missed whales that dived. Drones fly for an hour; the image classifier then reads each picture. Fog grounded the
drones twice, and the image classifier took foam for whales where manual counts did not. | drones; image classifier;
manual counts // population survey
Tide mills | Tide mills ground grain when the sea fell. Maps and tax rolls show that most tide mills closed when steam
power reached the coast. Two tide mills still turn. Owners of tide mills disputed tax rolls in court, and steam power
came cheaper with every railway. | tide mills; steam power; tax rolls // industrial history; renewable energy
Sorting letters | A sorting algorithm that compares neighbours is slow on long lists. We replace it by merging and
halve the running time on addresses of letters. Merging needs extra memory. With merging in place, the running time
grows hardly faster than the list, and no other sorting algorithm was as steady in running time. | sorting algorithm;
merging; running time // computational complexity
Peat and fire | Drained peat burns for weeks. Raising the water table of peat bogs stopped most fires and kept carbon
in the ground. Ditches in peat bogs were filled by hand. A high water table drowns sparks, and peat bogs with a low
water table lost carbon for years. | peat bogs; water table; carbon // wetland restoration
Reading aloud | Parents read picture books aloud to toddlers. Children who were asked questions while being read to
learned more words. Questions were short, and picture books were chosen by the toddlers. Toddlers who heard picture
books without questions learned half as many. | picture books; toddlers; questions // vocabulary growth; language
acquisition
Rust on bridges | Salt on roads speeds up corrosion of steel bridges. Sensors in the steel gave early warnings of
corrosion before cracks were seen. Sensors cost little, and corrosion was slower where paint was fresh. Old steel
bridges lack sensors; new steel bridges have them welded in. | corrosion; steel bridges; sensors // structural health
monitoring
Goats and thorn | Grazing goats keep thorn bushes low. On grazed hills orchids came back, while butterflies needed
hills that were left alone for a year. Herds of grazing goats were moved weekly. Where grazing goats stayed too long,
orchids were eaten; butterflies and orchids did best beside thorn bushes. | grazing goats; thorn bushes; orchids;
butterflies // biodiversity
Glass from sand | Desert sand is too round for concrete but melts into clear glass. A solar furnace melted the sand
with mirrors alone. The solar furnace stands in a dry valley. Windows of desert sand are greenish, yet glass from the
solar furnace was as strong as other glass made of desert sand. | desert sand; solar furnace; glass // material
science
Bus lanes | Painted bus lanes made buses faster by a fifth. Passengers switched from cars, and side streets saw no
more traffic than before. Shopkeepers feared for side streets before bus lanes opened. A year on, passengers in bus
lanes had doubled, and side streets had more passengers on foot. | bus lanes; passengers; side streets // public
transport; travel behaviour
Voting by post | Postal voting raised turnout among students. Ballots that arrived late were the main reason for lost
votes. Towns with postal voting print ballots early. Turnout rose again when ballots came with stamps, and postal
voting cost less per vote. | postal voting; turnout; ballots // electoral reform
Bread and rye | Sourdough with rye flour rises slowly. Longer fermentation lowered the sugar of the bread and pleased
the tasters. Rye flour binds more water. Sourdough with little rye flour needed less fermentation, and cold
fermentation made milder sourdough. | sourdough; rye flour; fermentation // food chemistry
Ice cores | Bubbles in ice cores hold old air. Volcanic ash in the ice dates each layer, so that the air can be
matched with droughts. Drilling ice cores takes years. Where volcanic ash is missing, old air from several ice cores
is compared; bubbles shrink with depth and old air escapes. Droughts left dust. | ice cores; volcanic ash; old air;
droughts; bubbles; layer // paleoclimate
Chess clocks | Players with little time make more blunders. With an increment per move blunders fell, most of all in
endgames. We read a million games. An increment of two seconds halved blunders, and endgames with an increment lasted
longer; blunders in endgames were mostly by tired players. | blunders; increment; endgames // time pressure; decision
making
Street lamps | Lamps that dim at midnight save power. Moths flew more often under dimmed lamps, and residents noticed
no change. Dimmed lamps were tried in three towns. Moths near dimmed lamps laid more eggs, and residents asked for
dimmed lamps in parks. | dimmed lamps; moths; residents // light pollution; energy saving
"""
"""Title, text, phrases that stand in the text // phrases that do not, as counted by hand."""

SHOWN = """
Frost in vineyards | Fans above vineyards mix cold air with warm air. On nights with frost the fans saved half of the
buds. | vineyards; frost; fans // crop protection
Wooden towers | Towers of laminated wood sway in the wind. Heavy pendulums near the top damp the sway as well as in
steel towers. | laminated wood; pendulums; wind // high-rise buildings
Harbour seals | Seals rest on sandbanks at low tide. Boats that kept their distance disturbed fewer seals, and pups
grew faster. | sandbanks; low tide; pups // wildlife disturbance
Lost luggage | Tags with radio chips tell where a suitcase is. Airports that read the tags at every belt lost fewer
suitcases. | radio chips; airports; suitcases // baggage handling
"""


@cache
def made(split: str) -> tuple[Document, ...]:
    """Short reports of our own with their keyphrases: 20 in "test", 4 others in "validation"."""
    splits.check(split)
    return tuple(document for document, _ in counted(split))


def counted(split: str) -> list[tuple[Document, int]]:
    """The documents of our own, each with how many of its phrases, the first ones, stand in its text."""
    rows = [
        " ".join(row.split()) for row in re.split(r"\n(?=[A-Z][\w ]+ \|)", (OWN if split == "test" else SHOWN).strip())
    ]
    found = []
    for number, row in enumerate(rows):
        title, text, phrases = row.split(" | ")
        here, absent = ([one.strip() for one in part.split(";")] for part in phrases.split("//"))
        found.append((Document(f"{split}-{number:02d}", f"{title}. {text}", (*here, *absent)), len(here)))
    return found
