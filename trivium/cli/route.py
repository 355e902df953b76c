"""``trivium route``."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from rich.table import Table
from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json
from trivium.compare.contender import build
from trivium.core.progress import progress
from trivium.core.seeds import generator
from trivium.data.flags import flags
from trivium.data.passages import passages
from trivium.models.library import library
from trivium.nn.routing import regrets, swept, undominated

WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
DEFAULT = ("tiny", "ngrams:stories", "ngrams:python_docs", "ngrams:python_code", "ngrams:needle", "ngrams:regbench")


@dataclass(frozen=True)
class Command:
    """Choose the model of a library that a prompt is best given to, by what it would lose and what it costs.

    Example: trivium route "def area(width, height): return" "Once there was a fox [Flag: smallest model]"

    A prompt may carry flags: [Flag: smallest model] or a cost and its weight, [Flag: size 0.3].
    """

    prompts: Positional[tuple[str, ...]]
    """Prompts to route, each in quotes."""
    experts: tuple[str, ...] = DEFAULT
    """Models: names, folders or hub identifiers, or ngrams:CORPUS for a model of the counted bytes of a corpus."""
    sources: tuple[str, ...] = ("stories", "python_docs", "python_code", "needle", "regbench")
    """Corpora, or paths of text, from which the router learns what each expert is good at."""
    lessons: int = 30
    """Texts of each source to learn from; as many again, of another split, to see how well it does."""
    length: int = 160
    """Characters of such a text."""
    router: str = "tryage"
    """A method of the kind routing, written like a call, such as "tryage(weight=0.1)"."""
    seed: int = 0
    """Seed of routers that draw."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Precision of the weights."""
    device: str = "cpu"
    """Where the models run, such as cpu, cuda or cuda:1."""
    json: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of tables."""

    def run(self) -> int:
        if not self.prompts:
            raise ValueError('give at least one prompt, such as trivium route "def area(width, height):"')
        if self.lessons < 2 or self.length < 16:
            raise ValueError(f"lessons must be at least 2 and length at least 16, got {self.lessons} and {self.length}")
        for prompt in self.prompts:
            flags(prompt)  # so that a flag that cannot be read is refused before any work
        method = build("routing", self.router)
        models = library(self.experts, dtype=self.dtype, device=self.device)
        taught, fresh = (
            [
                one.opening
                for source in self.sources
                for one in passages(source, split, self.lessons, opening=self.length, rest=1)
            ]
            for split in ("validation", "test")
        )
        with progress("models that have read", 2 * len(models.systems)) as bar:
            lost, held = models.losses(taught, bar=bar), models.losses(fresh, bar=bar)
        experts = models.experts
        router = method.fit(taught, lost, experts, generator=generator(self.seed, "route"))
        choices = router(self.prompts)
        predicted = router.predicted(self.prompts) if hasattr(router, "predicted") else None
        whole = ~held.isnan().any(1)
        mine, held = router([text for text, kept in zip(fresh, whole, strict=True) if kept]), held[whole]
        best = int(lost.nanmean(0).argmin())
        facts = {
            "prompts": len(held),
            "right": float((regrets(held, mine) == 0).double().mean()),
            "regret": float(regrets(held, mine).mean()),
            "right_of_the_best_single": float((held.argmin(1) == best).double().mean()),
            "regret_of_the_best_single": float(regrets(held, torch.full_like(mine, best)).mean()),
        }
        front = self._front(router, held, experts.cost("size"), fresh, whole) if predicted is not None else []
        if self.json:
            print_json({"routed": self._routed(choices, predicted, experts), "held_out": facts, "front": front})
            return 0
        self._print(choices, predicted, experts, facts, front)
        return 0

    def _routed(self, choices: torch.Tensor, predicted: torch.Tensor | None, experts: Any) -> list[dict[str, Any]]:
        return [
            {
                "prompt": prompt,
                "expert": experts.names[int(choice)],
                "predicted": {}
                if predicted is None
                else dict(zip(experts.names, predicted[row].tolist(), strict=True)),
            }
            for row, (prompt, choice) in enumerate(zip(self.prompts, choices, strict=True))
        ]

    def _front(
        self, router: Any, held: torch.Tensor, cost: torch.Tensor, fresh: list[str], whole: torch.Tensor
    ) -> list[dict[str, float]]:
        """Mean cost and mean loss of each weight, on texts not learned from; dominated ones are left out."""
        texts = [text for text, kept in zip(fresh, whole, strict=True) if kept]
        taken = swept(router.predicted(texts), cost, torch.tensor(WEIGHTS, dtype=torch.float64))
        loss = torch.stack([held.gather(1, row[:, None]).mean() for row in taken])
        spent = cost[taken].mean(1)
        kept = undominated(loss, spent).tolist()
        found = {
            (round(float(spent[at]), 6), round(float(loss[at]), 6)): WEIGHTS[at]
            for at in range(len(WEIGHTS))
            if kept[at]
        }
        return [{"weight": weight, "cost": spent, "loss": loss} for (spent, loss), weight in found.items()]

    def _print(
        self,
        choices: torch.Tensor,
        predicted: torch.Tensor | None,
        experts: Any,
        facts: dict[str, float],
        front: list[dict[str, float]],
    ) -> None:
        out = console()
        for row, (prompt, choice) in enumerate(zip(self.prompts, choices.tolist(), strict=True)):
            out.print(f"[bold]{experts.names[choice]}[/bold]  takes  {_short(prompt)!r}", highlight=False)
            if predicted is None:
                continue
            table = Table(box=None, pad_edge=False)
            for head in ("", "expert", "expected bits/byte", "size (log10)"):
                table.add_column(head, justify="left" if head in ("", "expert") else "right")
            for at in predicted[row].argsort().tolist():
                mark = "→" if at == choice else ""
                table.add_row(mark, experts.names[at], f"{predicted[row, at]:.2f}", f"{experts.costs['size'][at]:.1f}")
            out.print(table)
            out.print()
        out.print(
            f"on {facts['prompts']} texts not learned from: the best expert for {facts['right']:.0%} of them, "
            f"{facts['regret']:.3f} bits/byte above it; the best single expert "
            f"{facts['right_of_the_best_single']:.0%}, {facts['regret_of_the_best_single']:.3f}",
            style="dim",
            highlight=False,
        )
        if front:
            points = ", ".join(f"{one['loss']:.2f} at size {one['cost']:.1f}" for one in front)
            out.print(f"what a weight on size buys, mean bits/byte: {points}", style="dim", highlight=False)


def _short(prompt: str) -> str:
    flat = " ".join(prompt.split())
    return flat if len(flat) <= 60 else flat[:57] + "…"
