"""Faithfulness of attributions: does the prediction change when the tokens that an explainer names are taken away?

Source
    Zhao and Shan 2024, "ReAGent: A Model-agnostic Feature Attribution Method for Generative Language Models",
    arXiv:2402.00794 (soft measures, after Zhao and Aletras 2023, arXiv:2305.10496); DeYoung et al. 2020, "ERASER",
    arXiv:1911.03429 (hard ones). The formulas follow the authors' code, apart from the distance: see Caveats.
Equation
    H(p, q) = sqrt(1/2 sum_v (sqrt p_v - sqrt q_v)^2);   S0 = 1 - H(p, p without any token)
    NS = max(0, 1 - H(p, p with the named part alone) - S0) / (1 - S0);   NC = H(p, p without it) / (1 - S0)
    soft: each feature of token i belongs to the named part with probability a_i = |s_i| / sum |s|
    hard: the k best tokens do, averaged over k in 1, 5, 10, 20, 50 % of the prompt
Shapes
    Attribution with scores (time,) -> an Observation with one number per measure
Cost
    2 + 4 draws rows of forward passes for the soft measures, and about 30 rows per draw of the hard ones; they are
    spent on scoring and charged to no explainer.
Caveats
    The published evaluators of the soft measures leave out the root of H and scale by sqrt 2, which
    ``distance="reference"`` does too. A raw value rewards concentration, whichever token it falls on, so each measure
    has a random control, and what it gains over that is a measure of its own: by default the same importances in
    another order ("permuted"), so that only *where* they lie counts; the paper's control, uniform scores, is "uniform".
    The gains come first; the paper's own figure, ln (mean measure / mean of its control) over all prompts, stands
    beside them, and has no value where a mean is 0.
    Rankings of explainers flip between removal by zeros and by random tokens, so the hard measures are given for both.
    Embeddings that lost features are inputs that no model has seen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from trivium.core import meter, seeds
from trivium.core.capabilities import require_offers
from trivium.core.method import method
from trivium.core.nouns import Attribution, Example, Measure, Observation, Target
from trivium.data import splits
from trivium.data.spans import find_span, positions_of, spelling
from trivium.evaluation._decisive import GROUPS
from trivium.models.faithfulness import NAMES, faithfulness
from trivium.models.next_token import next_token
from trivium.models.system import System
from trivium.nn import faithfulness as measured
from trivium.nn.modes import evaluating

SOFT = ("soft_nc", "soft_ns")
"""What the paper's tables give the log ratio of."""


def _gains(name: str) -> tuple[Measure, ...]:
    """What a measure gains over its random control and, where the paper has it, their log ratio."""
    gain = Measure(f"{name}_gain", f"{NAMES[name]}, over its random control")
    if name not in SOFT:
        return (gain,)
    ratio = f"{name}_log_ratio"
    return gain, Measure(ratio, f"{NAMES[name]}, log ratio to its random control", pooled=ratio)


@method(title="Faithfulness", source="arXiv:2402.00794", year=2024, needs=["causal", "embeds"])
@dataclass(frozen=True)
class Faithfulness:
    """Prompts with one decisive word, and what becomes of the prediction without the tokens an explainer names."""

    prompts: Sequence[Example] = ()
    """Of your own, in place of the built-in ones. Fields: "answer", whose first token is explained (by default what the
    model predicts); "decisive", a word of the text; "group", of prompts that are not independent; "chat"."""
    draws: int = 8
    """Draws of the soft masks, and of their random control; the reference takes one."""
    hard_draws: int = 2
    """Draws of the random tokens, and of the random control, for the hard measures."""
    weights: measured.Weights = "magnitude"
    """How signed scores become importances; the reference takes a softmax, which flattens them."""
    rescale: Literal["sum", "max"] = "sum"
    """Importances sum to 1 as in the reference, or reach 1, which removes more and tests harder."""
    distance: measured.Distance = "hellinger"
    control: measured.Control = "permuted"
    batch_size: int = 32
    """Inputs per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        *(measure for name in NAMES for measure in _gains(name)),
        *(Measure(name, title) for name, title in NAMES.items()),
        *(Measure(f"{name}_random", f"{title}, random control", None) for name, title in NAMES.items()),
        Measure("decisive_top3", "Decisive word among the three best tokens"),
    )

    def __post_init__(self) -> None:
        for name in ("draws", "hard_draws"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2 to give a standard error, got {getattr(self, name)}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        for name, words in (
            ("weights", ("magnitude", "positive", "softmax")),
            ("rescale", ("sum", "max")),
            ("distance", ("hellinger", "reference")),
            ("control", ("permuted", "uniform")),
        ):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} must be one of {', '.join(words)}; got {getattr(self, name)!r}")
        for prompt in self.prompts:
            if not prompt.text.strip():
                raise ValueError(f"prompt {prompt.id!r} is empty; give it some text")
            if (word := prompt.fields.get("decisive")) is not None and word not in prompt.text:
                raise ValueError(f"the decisive word {word!r} does not stand in prompt {prompt.id!r}")

    def examples(self, split: str) -> Sequence[Example]:
        """The given prompts to test on; without any, 20 to test on and 8 to tune on, of five groups each."""
        splits.check(split)
        if self.prompts:
            return self.prompts if split == "test" else ()
        everything = [
            Example(f"{group}-{number}", text, fields={"group": group, "decisive": decisive, "answer": answer})
            for group, prompts in GROUPS.items()
            for number, (text, decisive, answer) in enumerate(prompts, 1)
        ]
        return [one for place, one in enumerate(everything) if (place % 7 in (2, 5)) == (split == "validation")]

    def question(self, system: System, example: Example) -> tuple[Tensor, Target]:
        """The prompt's ids (time,) and the token to explain: the first of the answer that is more than a space, or what
        the model predicts where no answer is given, which is charged to nobody.

        A tokenizer that splits off the space before a word has it moved into the prompt.
        """
        text = system.chat(example.text) if example.fields.get("chat") else example.text
        if answer := example.fields.get("answer"):
            ids, token = next_token(system, text, answer)
            return ids, Target(token)
        ids = system.prompt(text)[0]
        with meter.aside(), evaluating(system.model), torch.no_grad():
            return ids, Target(int(system.model(ids[None], logits_to_keep=1).logits[0, -1].argmax()))

    def score(self, system: System, example: Example, output: Attribution) -> Observation:
        """Measure one attribution of ``question``; masks and controls are the same for every explainer."""
        require_offers("faithfulness", system.model, ["causal", "embeds"])
        ids, target = self.question(system, example)
        if not torch.equal(output.ids.to(ids.device), ids):
            raise ValueError(
                f"the attribution explains other ids than those of {example.id!r}; explain task.question()"
            )
        frozen = torch.arange(len(ids)) < len(getattr(system.tokenizer, "opening", ()))
        found = faithfulness(
            system.model,
            ids,
            output.scores,
            generator=seeds.generator(0, example.id, "faithfulness"),
            answer=target.tokens,
            frozen=frozen,
            draws=self.draws,
            hard_draws=self.hard_draws,
            weights=self.weights,
            rescale=self.rescale,
            distance=self.distance,
            control=self.control,
            batch_size=self.batch_size,
        )
        values = {name: found[name].value for name in NAMES}
        values |= {f"{name}_gain": found[name].gain for name in NAMES}
        values |= {f"{name}_random": found[name].control for name in NAMES}
        if (word := example.fields.get("decisive")) is not None:
            decisive = decisive_positions(system, ids, word)
            importances = measured.importance(output.scores.cpu(), weights=self.weights, frozen=frozen)
            ranked = importances.argsort(descending=True, stable=True).tolist()
            values["decisive_top3"] = float(any(place in decisive for place in ranked[:3]))
        errors = {name: found[name].error for name in NAMES}
        errors |= {f"{name}_gain": math.hypot(found[name].error, found[name].control_error) for name in NAMES}
        errors |= {f"{name}_random": found[name].control_error for name in NAMES}
        pairs = {f"{name}_log_ratio": (found[name].value, found[name].control) for name in SOFT}
        return Observation(values, {"standard_errors": errors}, pairs)


def decisive_positions(system: System, ids: Tensor, word: str) -> set[int]:
    """Positions of the tokens that hold a byte of the first mention of the word. Raises ValueError where it is not."""
    return set(positions_of(system, ids, find_span(spelling(system, ids), word, which=1)))
