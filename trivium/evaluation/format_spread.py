"""FormatSpread: how far apart does a model answer the same task in formats that mean the same?

Source
    Sclar, Choi, Tsvetkov, Suhr 2024, "Quantifying Language Models' Sensitivity to Spurious Features in Prompt Design",
    arXiv:2310.11324, sections 3 and 4; search and values as in the authors' code.
Equation
    spread = max_f a_f - min_f a_f,   a_f the accuracy in format f, f among ``formats`` drawn from the grammar
    Thompson: theta_f ~ Beta(alpha + s_f, beta + m_f - s_f), try the next items in argmax (then argmin) of theta;
    beta = 5, alpha = max(1.1, 5 a_0 / (1 - a_0)), a_0 the accuracy in the original format
    null = mean of the spread where outcomes change places between formats, item by item at random
    right = 1[argmax over answers of the weight = label], or, written, 1[parsed text = label's answer]
Shapes
    System and one search -> an Observation: spread, what chance would show of it, and its retest
Cost
    ``budget`` prompts per search, that of the original format included, or formats x items / 2 where it is exhaustive;
    then the two formats found on all items. Searches share what they ask alike. By writing, each prompt costs a pass
    per token of the longest answer besides.
Caveats
    A maximum on the items that chose it is too large. So half of the items choose the formats ("spread"), and the other
    half, on which nothing was chosen, tells how far apart these are ("retest"). The null is told by exhaustive search
    only: a bandit tries good formats more often, so what it saw cannot change places. The authors compare rates however
    few items they rest on; here a format must have been tried on ``least``, and how many were left out is told. Items
    are the same in all searches, only halves and order differ: their interval says how much the halving matters, not
    how other items would do. Labels may cut into tokens differently from format to format; the task's mean over tokens
    softens that. A written answer is the longest one that the text begins with, as in the authors' code, but not within
    a word; a text that begins with none is wrong and counted, and without exemplars that may be most of them, for
    reasons of form. The paper draws 320 formats and up to 1,000 items for 40,000 calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from trivium.core import seeds
from trivium.core.method import find, method
from trivium.core.nouns import Example, Measure, Observation
from trivium.evaluation._formats import Cells, WrittenCells, chart
from trivium.models.system import System
from trivium.nn.bandit import Bandit, Rule, beta_prior, flipped, null_spreads

Search = Literal["exhaustive", "thompson", "ucb", "equal"]
Way = Literal["ranking", "writing"]
DRAWS = 2000
"""Random exchanges behind a null or a p."""
BINS = 50
"""From 0 to 1, in which the spreads of the null are counted for the chart."""


@method(title="FormatSpread", source="arXiv:2310.11324", year=2024, needs=["causal", "state"])
@dataclass(frozen=True)
class FormatSpread:
    """The interval of accuracies over formats, set against chance and tested again."""

    task: Any = field(default_factory=lambda: find("evaluation", "classification")(), metadata={"kind": "evaluation"})  # noqa: PLW0108
    """What is asked: a task with fixed labels and a grammar of formats."""
    formats: int = 24
    """How many to draw; fewer where the grammar has no more."""
    search: Search = "exhaustive"
    """Every format on every item, or a bandit within the budget; "equal" gives each format the same share."""
    budget: int = 400
    """Prompts that a bandit may try to find the best and the worst format."""
    batch: int = 10
    """Items that a format is tried on at a time."""
    least: int = 20
    """Items that a format must have been tried on to be the best or the worst."""
    searches: int = 4
    """Each with the items halved and ordered anew."""
    by: Way | Literal["both"] = "ranking"
    """The likeliest of the answers, or what the model writes; with both, a search by each on the same halves."""

    @cached_property
    def measures(self) -> tuple[Measure, ...]:
        """The same by either way; by both, those of writing are called "written_"."""
        plain = (
            Measure("retest", "Spread, on items that did not choose", None),
            Measure("spread", "Spread, on items that chose", None),
            Measure("null", "Spread if formats did not matter", None),
            Measure("p_spread", "Share of null spreads as large", None),
            Measure("p_retest", "p of the retest", None),
            Measure("original", "Accuracy in the original format", True),
            Measure("best", "Accuracy in the best format, retest", None),
            Measure("worst", "Accuracy in the worst format, retest", True),
            Measure("prompts", "Prompts tried by the search", None),
            Measure("too_few", "Formats tried on too few items", None),
        )
        unread = Measure("unread", "Written texts that are no answer", None)
        if self.by != "both":
            return plain if self.by == "ranking" else (*plain, unread)
        more = (replace(one, name=f"written_{one.name}", title=f"{one.title}, written") for one in (*plain, unread))
        return (*plain, *more, Measure("agreement", "Right by both ways or by neither, original format", None))

    def __post_init__(self) -> None:
        if self.search not in get_args(Search):
            raise ValueError(f"search must be one of {', '.join(get_args(Search))}; got {self.search!r}")
        if self.by not in (*get_args(Way), "both"):
            raise ValueError(f"by must be ranking, writing or both; got {self.by!r}")
        for name, least in (("formats", 1), ("budget", 1), ("batch", 1), ("least", 1), ("searches", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def examples(self, split: str) -> list[Example]:
        count = len(self.task.examples(split))
        return [
            Example(
                f"search-{n}", f"{count} items of {split} in {self.formats} formats", fields={"split": split, "n": n}
            )
            for n in range(self.searches)
        ]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts."""
        items = self.task.examples(example.fields["split"])
        if len(items) < 4:
            raise ValueError(f"{len(items)} items cannot be halved into some that choose and some that tell; take 4")
        ways: tuple[Way, ...] = ("ranking", "writing") if self.by == "both" else (self.by,)
        values: dict[str, float] = {}
        spread: dict[str, Any] = {}
        texts, pictures = [], []
        for way in ways:
            found, shown = self._searched(system, items, example, way)
            more = "written_" if way == "writing" and self.by == "both" else ""
            values |= {f"{more}{name}": value for name, value in found.items()}
            spread[way] = shown.pop("spread")
            texts.append(f"{'written: ' if more else ''}{shown['text']}")
            pictures.append(shown["html"])
        if self.by == "both":
            ranked, written = (self._cells(system, items, example.fields["split"], way) for way in ways)
            every = range(len(items))
            pairs = zip(ranked(0, every), written(0, every), strict=True)
            values["agreement"] = sum(a == b for a, b in pairs) / len(items)
        rates = spread[ways[0]]["rates"]
        return Observation(
            values, {"text": "\n".join(texts), "html": "".join(pictures), "rates": rates, "spread": spread}
        )

    def _searched(
        self, system: System, items: Sequence[Example], example: Example, way: Way
    ) -> tuple[dict[str, float], dict[str, Any]]:
        generator = seeds.numpy_generator(example.fields["n"], "format spread")
        order = generator.permutation(len(items))
        choosing, telling = order[: len(items) // 2], order[len(items) // 2 :]
        cells = self._cells(system, items, example.fields["split"], way)
        names = [form.pattern for form in cells.forms]
        bandit = Bandit(len(names), len(choosing), lambda arm, places: cells(arm, choosing[list(places)]))
        self.run(bandit, generator)
        best, worst = (bandit.chosen(sign, names, self.least) for sign in (1, -1))
        chose, told = ([np.array(cells(arm, some)) for arm in (best, worst)] for some in (choosing, telling))
        values = {
            "retest": float(told[0].mean() - told[1].mean()),
            "spread": float(chose[0].mean() - chose[1].mean()),
            "p_retest": flipped(told[0], told[1], DRAWS, generator),
            "original": float(np.mean(cells(0, telling))),
            "best": float(told[0].mean()),
            "worst": float(told[1].mean()),
            "prompts": float(bandit.spent),
            "too_few": float((bandit.totals < min(self.least, len(choosing))).sum()),
        }
        tried = np.flatnonzero(bandit.totals)
        rates = {names[arm]: [float(bandit.successes[arm]), int(bandit.totals[arm])] for arm in tried}
        drawn: dict[str, Any] = {"rates": rates, "observed": values["spread"]}
        if self.search == "exhaustive":
            null = null_spreads(np.array([cells(arm, choosing) for arm in range(len(names))]), DRAWS, generator)
            values["null"] = float(null.mean())
            values["p_spread"] = (1 + int((null >= values["spread"] - 1e-9).sum())) / (1 + DRAWS)
            drawn |= {"null": np.histogram(null, BINS, (0.0, 1.0))[0].tolist(), "p": values["p_spread"]}
        if isinstance(cells, WrittenCells):
            values["unread"] = cells.unread(choosing.tolist())
        return values, {
            "text": f"best {names[best]!r}, worst {names[worst]!r}",
            "html": chart(bandit.successes[tried] / bandit.totals[tried]),
            "spread": drawn,
        }

    def run(self, bandit: Bandit, generator: np.random.Generator) -> None:
        """The original format on all items, then what the search tries; never more than the budget."""
        if self.search == "exhaustive":
            for arm in range(bandit.arms):
                bandit.pull(arm, bandit.items)
            return
        steps = (self.budget - bandit.items) // (2 * self.batch)
        if steps < 1:
            raise ValueError(
                f"a budget of {self.budget} prompts is used up by the {bandit.items} items of the original format and "
                f"two batches of {self.batch}; raise it to {bandit.items + 2 * self.batch} at least"
            )
        bandit.pull(0, bandit.items)
        prior = beta_prior(float(bandit.successes[0] / bandit.items), bandit.items)
        rule: Rule = self.search
        for sign in (1, -1):
            bandit.search(rule, sign, self.batch, steps, prior, generator.beta)

    def _cells(self, system: System, items: Sequence[Example], split: str, way: Way) -> Cells:
        key = (system.model.serial, split)
        if any(known[:2] != key for known in self._known):
            self._known.clear()
        if (*key, way) not in self._known:
            made = Cells if way == "ranking" else WrittenCells
            forms = self.task.formats(self.formats, seeds.generator(0, "formats"))
            self._known[*key, way] = made(self.task, system, items, forms)
        return self._known[*key, way]

    @cached_property
    def _known(self) -> dict[tuple[int, str, Way], Cells]:
        return {}
