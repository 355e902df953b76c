"""What the claims of trained drafters share: a small target, its lessons, and how far each drafter gets."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trivium.compare.claim import ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.data.named import named
from trivium.decoding.speculative import Speculative
from trivium.models.sources import load
from trivium.models.system import System
from trivium.training.drafters import Texts, teach
from trivium.training.settings import TrainingSettings

TEXTS = Texts(count=192, length=64)
TRAINING = TrainingSettings(steps=200, weight_decay=0.0)
PROMPTS, NEW = 16, 64


@cache
def system() -> System:
    """The model of the claims: bytes, and stories like those that it was trained on."""
    return load("tiny")


def lengths(drafter: Any) -> list[float]:
    """Tokens per pass of the target, greedy, after the beginning of each of some stories that nobody was taught."""
    found = []
    for text in named("stories")["test"][:PROMPTS]:
        prompt = system().prompt(text[: text.find(".", 60) + 1])
        made = Speculative(drafter)(system().model, prompt, limit=NEW, generator=generator(0, "claim"))
        found.append(made.trace.mean_accepted_length)
    return found


def farther(better: Any, usual: Any, bar: Bar, *, teach_usual: bool = True) -> ClaimResult:
    """Whether ``better`` gets farther than ``usual``, both taught the same lessons for as many steps."""
    with TemporaryDirectory() as place:
        folder = Path(place)

        def taught(name: str, drafter: Any) -> Any:
            teach(drafter, system(), folder / name, texts=TEXTS, training=TRAINING, lessons=folder / "lessons")
            return replace(drafter, folder=str(folder / name))

        drafters: Mapping[str, Any] = {
            "better": taught("better", better),
            "usual": taught("usual", usual) if teach_usual else usual,
        }
        found = {name: lengths(drafter) for name, drafter in drafters.items()}
        bar.advance(1)
    differences = [one - other for one, other in zip(found["better"], found["usual"], strict=True)]
    means = {name: sum(each) / len(each) for name, each in found.items()}
    return judge(differences, note="tokens per pass of the target, one difference per prompt", **means)
