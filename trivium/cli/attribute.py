"""``trivium attribute``."""

from dataclasses import dataclass
from json import loads
from pathlib import Path
from typing import Annotated, Literal

from torch import Tensor
from tyro.conf import Positional, arg

from trivium.attribution._page import to_html
from trivium.attribution._render import to_json, to_terminal
from trivium.cli._print import console, print_json
from trivium.compare.contender import build
from trivium.core.files import write
from trivium.core.meter import Meter
from trivium.core.nouns import Attribution, Target
from trivium.core.seeds import generator
from trivium.models.sources import load
from trivium.models.system import System


@dataclass(frozen=True)
class Command:
    """Show which tokens of a text a prediction rests on.

    Example: trivium attribute "I flew to Thailand. I stayed in the capital city of" --target " Bangkok"
    """

    text: Positional[str]
    """The text before the predicted token."""
    target: str | None = None
    """The predicted token as text; its first token counts. By default what the model predicts."""
    foil: str | None = None
    """Explain why the target rather than this one: the difference of their logits."""
    explainer: tuple[str, ...] = ("occlusion",)
    """One or more methods of the kind attribution, written like calls."""
    model: str = "smollm2-135m"
    """A folder, a known name or a hub identifier."""
    objective: Literal["logprob", "logit", "prob"] = "logprob"
    """Which number of the prediction is explained."""
    html: Path | None = None
    """Also write a page that works offline."""
    seed: int = 0
    """Seed of explainers that draw."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Precision of the weights."""
    device: str = "cpu"
    """Where the model runs, such as cpu, cuda or cuda:1."""
    json: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of shaded text."""

    def run(self) -> int:
        explainers = [build("attribution", text) for text in self.explainer]
        if not explainers:
            raise ValueError("name at least one explainer, such as --explainer occlusion")
        system = load(self.model, dtype=self.dtype, device=self.device)
        ids = system.prompt(self.text)
        target = self._target(system, ids)
        made: list[Attribution] = []
        with Meter() as meter:
            for explainer in explainers:
                made.append(explainer(system.model, ids[0], target, generator=generator(self.seed, "attribute")))
        if self.html is not None:
            write(self.html, to_html(made, system.tokenizer, title=f"What “{_one_line(self.text)}” rests on"))
        if self.json:
            print_json(
                {
                    "model": system.name,
                    "attributions": [loads(to_json(each, system.tokenizer)) for each in made],
                    "spent": meter.spent.to_dict(),
                }
            )
            return 0
        out = console()
        for each in made:
            out.print(to_terminal(each, system.tokenizer, min(out.width, 100)))
            out.print()
        spent = meter.spent
        out.print(f"{spent.calls} forward and {spent.backwards} backward passes, {spent.seconds:.1f} s", style="dim")
        if self.html is not None:
            out.print(f"page: {self.html}", style="dim")
        return 0

    def _target(self, system: System, ids: Tensor) -> Target:
        token = _first(system, self.target) if self.target is not None else None
        if token is None:
            token = int(system.model(ids, logits_to_keep=1).logits[0, -1].argmax())
        if self.foil is not None:
            return Target(token, foil=_first(system, self.foil), objective="contrast")
        return Target(token, objective=self.objective)


def _first(system: System, text: str) -> int:
    found = system.tokenizer.encode(text)
    if not found:
        raise ValueError(f"{text!r} holds no token; give the word with the space before it, such as ' Bangkok'")
    return found[0]


def _one_line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 60 else flat[:57] + "…"
