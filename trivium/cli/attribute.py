"""``trivium attribute``."""

from collections.abc import Sequence
from dataclasses import dataclass
from json import loads
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from trivium.attribution import _chart
from trivium.attribution._explanation import Asked, Explanation, ask
from trivium.attribution._page import to_html
from trivium.attribution._paper import PRESETS, preset
from trivium.attribution._render import to_terminal
from trivium.cli._print import console, print_json, table
from trivium.compare.contender import build
from trivium.core.errors import NotOffered
from trivium.core.files import write
from trivium.core.meter import Meter
from trivium.core.progress import progress
from trivium.models.faithfulness import NAMES
from trivium.models.sources import load
from trivium.nn.faithfulness import Faithfulness


@dataclass(frozen=True)
class Command:
    """Show which tokens of a text a prediction rests on.

    Example: trivium attribute "I flew to Thailand. I stayed in the capital city of" --target " Bangkok"

    Example: trivium attribute "The keys to the old cabinet" --target " are" --foil " is" --merge word --faithfulness
    """

    text: Positional[str]
    """The text before the predicted answer."""
    target: str | None = None
    """The answer as text; all of its tokens count, each after those before it. By default the token that the model
    predicts."""
    foil: str | None = None
    """Explain why the target rather than this one: the difference of their log-probabilities."""
    explainer: tuple[str, ...] = ("occlusion",)
    """One or more methods of the kind attribution, written like calls."""
    preset: str | None = None
    """In place of explainers: reagent-paper, the eight methods as the authors of ReAGent run them."""
    model: str = "smollm2-135m"
    """A folder, a known name or a hub identifier."""
    objective: Literal["logprob", "logit", "prob"] = "logprob"
    """Which number of the prediction is explained."""
    chat: bool = False
    """The text is a user's message in the model's chat template, whose own tokens are frozen: never changed, and scored
    0, as those are that the tokenizer puts before every text."""
    freeze: tuple[int, ...] = ()
    """Further positions to freeze, counted from 0 or, if negative, from the end; 0 keeps attention's favourite out."""
    merge: Literal["word", "line"] | None = None
    """Sum the scores of the tokens of a word or a line."""
    per_token: bool = False
    """Also explain each token of the answer by itself (on the page and in JSON)."""
    faithfulness: bool = False
    """Also measure what becomes of the prediction without the tokens that are named, beside random scores."""
    html: Path | None = None
    """Also write a page that works offline."""
    svg: Path | None = None
    """Also draw a bar per token, or per word or line, into this file."""
    png: Path | None = None
    """The same as pixels."""
    seed: int = 0
    """Seed of explainers that draw, and of the measures."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Precision of the weights."""
    device: str = "cpu"
    """Where the model runs, such as cpu, cuda or cuda:1."""
    json: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of shaded text."""

    def run(self) -> int:
        explainers = self._explainers()
        system = load(self.model, dtype=self.dtype, device=self.device)
        asked = ask(
            system,
            self.text,
            target=self.target,
            foil=self.foil,
            objective="contrast" if self.foil is not None else self.objective,
            chat=self.chat,
            freeze=self.freeze,
        )
        with Meter() as meter:
            made, refused = self._explained(asked, explainers)
        judged = [each.faithfulness(system, seed=self.seed) for each in made] if self.faithfulness else []
        shown = [each.merge(self.merge) if self.merge else each for each in made]
        self._write(shown, judged)
        if self.json:
            records: list[dict[str, Any]] = [loads(each.to_json()) for each in shown]
            for record, found in zip(records, judged, strict=False):
                record["faithfulness"] = {name: vars(one) for name, one in found.items()}
            print_json(
                {"model": system.name, "attributions": records, "refused": refused, "spent": meter.spent.to_dict()}
            )
            return 0
        out = console()
        for each in shown:
            out.print(to_terminal(each, width=min(out.width, 100)))
            out.print()
        for reason in refused.values():
            out.print(f"left out: {reason}", style="yellow")
        if judged:
            out.print(_measures(made, judged))
            out.print()
        spent = meter.spent
        out.print(f"{spent.calls} forward and {spent.backwards} backward passes, {spent.seconds:.1f} s", style="dim")
        for what, path in (("page", self.html), ("picture", self.svg), ("picture", self.png)):
            if path is not None:
                out.print(f"{what}: {path}", style="dim")
        return 0

    def _explainers(self) -> list[Any]:
        if self.preset is not None:
            if self.explainer != ("occlusion",):
                raise ValueError(f"give either explainers or a preset ({', '.join(PRESETS)}), not both")
            return list(preset(self.preset).values())
        explainers = [build("attribution", text) for text in self.explainer]
        if not explainers:
            raise ValueError("name at least one explainer, such as --explainer occlusion")
        return explainers

    def _explained(self, asked: Asked, explainers: Sequence[Any]) -> tuple[list[Explanation], dict[str, str]]:
        """What each explainer found; of several, those that the model cannot serve are left out with the reason."""
        made: list[Explanation] = []
        refused: dict[str, str] = {}
        with progress("explaining", len(explainers)) as bar:
            for explainer in explainers:
                bar.note(type(explainer).__name__)
                try:
                    made.append(asked.explain(explainer, per_token=self.per_token, seed=self.seed))
                except (NotOffered, ArithmeticError) as error:
                    if len(explainers) == 1:
                        raise
                    refused[type(explainer).__name__] = str(error)
                bar.advance()
        if not made:
            raise NotOffered("; ".join(refused.values()))
        return made, refused

    def _write(self, shown: Sequence[Explanation], judged: Sequence[dict[str, Faithfulness]]) -> None:
        if self.html is not None:
            write(self.html, to_html(shown, title=f"What “{_one_line(self.text)}” rests on", judged=judged))
        if self.svg is not None:
            write(self.svg, _chart.svg(shown))
        if self.png is not None:
            write(self.png, _chart.png(shown))


def _measures(made: Sequence[Explanation], judged: Sequence[dict[str, Faithfulness]]) -> Any:
    """Faithfulness of each explainer and, dim and below, of its random control."""
    out = table("faithfulness", *NAMES.values())
    for each, found in zip(made, judged, strict=True):
        cells = [found[name] for name in NAMES]
        out.add_row(each.method.replace("_", " "), *(f"{one.value:.3f} ± {one.error:.3f}" for one in cells))
        out.add_row("  random scores", *(f"{one.control:.3f} ± {one.control_error:.3f}" for one in cells), style="dim")
    return out


def _one_line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 60 else flat[:57] + "…"
