"""Questions about the body and health with four answers: some of our own, or the subjects of MMLU from a folder.

The folder (Hendrycks et al. 2021, "Measuring Massive Multitask Language Understanding", arXiv:2009.03300) has for each
subject <subject>_test.jsonl and <subject>_dev.jsonl, lines with question, subject, choices and answer (0 to 3), and, if
wished, labels.json, which describes each subject in words. Ours are simple and no examination.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from trivium.data.choices import Choice

DEV, TEST = 3, 6
"""Of our own questions of a subject: the first are shown as examples, the next are the test's, others validation's."""

OWN: Mapping[str, tuple[str, str]] = {
    "anatomy": (
        "the organs, bones and muscles of the body",
        """Which organ pumps blood through the body?|heart|liver|lung|kidney
Which bone protects the brain?|skull|rib|femur|pelvis
Where does food go from the mouth?|into the gullet|into the lung|into the ear|into the liver
Which organ makes urine?|kidney|stomach|heart|spleen
Which part of the eye is coloured?|iris|lens|retina|nerve
What joins a muscle to a bone?|tendon|vein|gland|cartilage
Which organ takes oxygen from the air?|lung|liver|bladder|pancreas
Which bone is the longest?|femur|rib|ulna|skull
Where are red blood cells made?|in the bone marrow|in the skin|in the tongue|in the nerves
Which organ makes bile?|liver|heart|brain|thyroid
Which joint is in the middle of the leg?|knee|hip|elbow|wrist
What carries blood away from the heart?|arteries|veins|nerves|tendons""",
    ),
    "nutrition": (
        "food, vitamins and what the body needs to eat and drink",
        """Which food has the most vitamin C?|orange|bread|butter|rice
Which nutrient builds muscle?|protein|salt|water|fibre
What does the body need most every day?|water|sugar|iron|fat
Which vitamin does the skin make in sunlight?|vitamin D|vitamin C|vitamin K|vitamin B12
Which mineral makes bones strong?|calcium|iodine|copper|sodium
Which food is rich in fibre?|beans|eggs|cheese|meat
Lack of which mineral makes blood poor?|iron|calcium|fluoride|potassium
Which nutrient gives the most energy per gram?|fat|sugar|protein|fibre
Too much of what raises blood pressure?|salt|water|vitamin C|fibre
Which vitamin is lacking in scurvy?|vitamin C|vitamin A|vitamin D|vitamin E
Which drink has the most sugar?|cola|tea|water|milk
Lack of which element makes the thyroid swell?|iodine|iron|zinc|calcium""",
    ),
    "first_aid": (
        "what to do at once when somebody is hurt or suddenly ill",
        """What should be done first with a small burn?|cool it with water|put butter on it|wrap it in wool|cut it
What stops heavy bleeding?|firm pressure|warm water|rubbing|walking
What is done when a heart has stopped?|pressing on the chest|giving water|raising the arms|waiting
How is a person laid who is unconscious and breathes?|on the side|on the back|sitting|standing
What helps when somebody chokes?|blows on the back|a glass of milk|lying down|a warm bath
What is done with a broken arm?|keep it still|move it often|pull it straight|rub it
What is put on a sprained ankle?|ice|honey|alcohol|salt
What does somebody need who is too hot?|shade and water|a blanket|exercise|hot soup
What should one not do with a nosebleed?|tilt the head back|pinch the nose|lean forward|sit down
What is done with a bee's sting?|take it out|leave it in|press on it|burn it
What is needed after an electric shock?|switching off the current|pouring water|pulling by the hand|waiting
Who is called when a heart attack is feared?|an ambulance|a dentist|a pharmacist|a nurse at school""",
    ),
    "infection": (
        "diseases that pass from one to another, germs and how to keep them away",
        """What causes influenza?|a virus|a lack of iron|cold air|a fungus
What kills bacteria in a patient?|antibiotics|vitamins|painkillers|insulin
What keeps germs from the hands?|washing with soap|rubbing with oil|cold air|drying in the sun
Which insect carries malaria?|mosquito|fly|bee|ant
What prepares the body against a disease?|vaccination|a bandage|a plaster|an X-ray
Which disease is of the lungs?|tuberculosis|hepatitis|cystitis|gastritis
Antibiotics do not help against what?|viruses|bacteria|wounds with pus|pneumonia from bacteria
What causes athlete's foot?|a fungus|a virus|a worm|a tick
How does measles pass on?|through the air|through blood alone|through food|through insects
What makes water from a pond safe?|boiling it|cooling it|stirring it|shaking it
Which animal passes on rabies by its bite?|dog|hen|snail|frog
What is fever a sign of?|infection|hunger|good sleep|strong bones""",
    ),
}


@dataclass(frozen=True)
class Subject:
    """One subject: ``description`` in words, examples to show, and questions."""

    name: str
    description: str
    shown: tuple[Choice, ...]
    asked: tuple[Choice, ...]
    held_back: tuple[Choice, ...] = ()
    """Our own for validation; of a file's, the first are taken for the test and those behind them for it."""

    def __post_init__(self) -> None:
        if not self.description.strip():
            raise ValueError(f"subject {self.name!r} has an empty description; say in words what it is about")


@cache
def made() -> tuple[Subject, ...]:
    """Four subjects of our own, of twelve questions each."""
    found = []
    for name, (description, text) in OWN.items():
        questions = []
        for number, line in enumerate(text.splitlines()):
            question, right, *wrong = line.split("|")
            answer = (number * 3 + len(name)) % 4  # no place of the right answer is favoured
            options = (*wrong[:answer], right, *wrong[answer:])
            questions.append(Choice(f"{name}-{number:02d}", question, options, answer, name))
        stop = DEV + TEST
        found.append(Subject(name, description, *map(tuple, (questions[:DEV], questions[DEV:stop], questions[stop:]))))
    return tuple(found)


def read(folder: str | Path) -> tuple[Subject, ...]:
    """Every subject of a folder of which there is a test file; examples to show are there where its dev file is.

    Raises ValueError with the number of a line that is no question, for a description that is empty and for one of a
    subject that is not there; FileNotFoundError where there is no test file.
    """
    folder = Path(folder)
    tests = sorted(folder.glob("*_test.jsonl"))
    if not tests:
        raise FileNotFoundError(f"{folder} holds no <subject>_test.jsonl; give the folder of MMLU's subjects")
    names = [path.name.removesuffix("_test.jsonl") for path in tests]
    labels = _labels(folder / "labels.json", names)
    found = []
    for name, path in zip(names, tests, strict=True):
        dev = folder / f"{name}_dev.jsonl"
        shown = _questions(dev, name) if dev.is_file() else ()
        found.append(Subject(name, labels.get(name, name.replace("_", " ")), shown, _questions(path, name)))
    return tuple(found)


def _labels(path: Path, names: list[str]) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        found = {str(name): str(text) for name, text in json.loads(path.read_text(encoding="utf-8")).items()}
    except (AttributeError, ValueError) as error:
        raise ValueError(f"{path} is no JSON object of subjects and their descriptions: {error}") from None
    for name in found:
        if name not in names:
            raise ValueError(f"{path} describes {name!r}, of which there is no test file; there are {', '.join(names)}")
    return found


def _questions(path: Path, name: str) -> tuple[Choice, ...]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            options, answer = tuple(map(str, row["choices"])), row["answer"]
            if type(answer) is not int:
                raise TypeError(f"the answer is {answer!r}, not the place of a choice")
            found.append(Choice(f"{path.stem}-{number:04d}", str(row["question"]).strip(), options, answer, name))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number} is no question with choices: {error!r}") from None
    if not found:
        raise ValueError(f"{path} holds no question")
    return tuple(found)
