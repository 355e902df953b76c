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
    has a random control: by default the same importances in another order ("permuted"), so that only *where* they lie
    counts; the paper's control, uniform scores, is "uniform". Rankings of explainers flip between removal by zeros and
    by random tokens, so the hard measures are given for both. Embeddings that lost features are inputs that no model
    has seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.capabilities import require_offers
from trivium.core.method import method
from trivium.core.nouns import Attribution, Example, Measure, Observation, Target
from trivium.evaluation._decisive import GROUPS
from trivium.models.system import System
from trivium.nn import faithfulness as measured
from trivium.nn.modes import evaluating

_NAMES = {
    "soft_nc": "Soft comprehensiveness",
    "soft_ns": "Soft sufficiency",
    "hard_nc_zero": "Comprehensiveness, tokens zeroed",
    "hard_ns_zero": "Sufficiency, tokens zeroed",
    "hard_nc_replace": "Comprehensiveness, tokens replaced",
    "hard_ns_replace": "Sufficiency, tokens replaced",
}


@method(title="Faithfulness", source="arXiv:2402.00794", year=2024, needs=["causal", "embeds"])
@dataclass(frozen=True)
class Faithfulness:
    """Prompts with one decisive word, and what becomes of the prediction without the tokens an explainer names."""

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
        *(Measure(name, title) for name, title in _NAMES.items()),
        *(Measure(f"{name}_random", f"{title}, random control", None) for name, title in _NAMES.items()),
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

    def examples(self, split: str) -> Sequence[Example]:
        """20 prompts to test on and 8 to tune on, of five groups each."""
        if split not in ("validation", "test"):
            raise ValueError(f"the splits are 'validation' and 'test', got {split!r}")
        everything = [
            Example(f"{group}-{number}", text, fields={"group": group, "decisive": decisive, "answer": answer})
            for group, prompts in GROUPS.items()
            for number, (text, decisive, answer) in enumerate(prompts, 1)
        ]
        return [one for place, one in enumerate(everything) if (place % 7 in (2, 5)) == (split == "validation")]

    def question(self, system: System, example: Example) -> tuple[Tensor, Target]:
        """The prompt's ids (time,) and the token to explain: the first of the answer that is more than a space.

        A tokenizer that splits off the space before a word has it moved into the prompt.
        """
        ids = system.prompt(example.text)[0]
        whole = system.prompt(example.text + example.fields["answer"])[0]
        if len(whole) <= len(ids) or not torch.equal(whole[: len(ids)], ids):
            rest = system.tokenizer.encode(example.fields["answer"])
        else:
            rest = whole[len(ids) :].tolist()
        while len(rest) > 1 and not system.tokenizer.bytes_of(rest[0]).strip():
            ids = torch.cat([ids, ids.new_tensor(rest[:1])])
            rest = rest[1:]
        if not rest:
            raise ValueError(f"the tokenizer of {system.name} has no token for {example.fields['answer']!r}")
        return ids, Target(rest[0])

    def score(self, system: System, example: Example, output: Attribution) -> Observation:
        """Measure one attribution of ``question``; masks and controls are the same for every explainer."""
        model = system.model
        require_offers("faithfulness", model, ["causal", "embeds"])
        ids, _ = self.question(system, example)
        if not torch.equal(output.ids.to(ids.device), ids):
            raise ValueError(
                f"the attribution explains other ids than those of {example.id!r}; explain task.question()"
            )
        frozen = torch.arange(len(ids)) < len(getattr(system.tokenizer, "opening", ()))
        generator = seeds.generator(0, example.id, "faithfulness")
        importances = measured.importance(
            output.scores.cpu(), weights=self.weights, rescale=self.rescale, frozen=frozen
        )

        def distribution(embeds: Tensor) -> Tensor:
            return model(embeds=embeds, logits_to_keep=1).logits[:, -1].double().log_softmax(-1)

        def embedded(rows: Tensor) -> Tensor:
            with torch.no_grad():
                return model.embed(rows.to(ids.device)).detach()

        strangers = torch.randint(model.vocab_size, (self.hard_draws, len(ids)), generator=generator)
        embeds = embedded(ids[None])[0]
        shared = {"distance": self.distance, "control": self.control, "frozen": frozen, "batch_size": self.batch_size}
        with evaluating(model):
            found = measured.soft(distribution, embeds, importances, draws=self.draws, generator=generator, **shared)
            for how, fills in (("zero", torch.zeros_like(embeds)[None]), ("replace", embedded(strangers))):
                made = measured.hard(
                    distribution, embeds, importances, fills, draws=self.hard_draws, generator=generator, **shared
                )
                found |= {f"{name}_{how}": measure for name, measure in made.items()}
        decisive = decisive_positions(system, ids, example.fields["decisive"])
        ranked = importances.argsort(descending=True, stable=True).tolist()
        values = {name: found[name].value for name in _NAMES}
        values |= {f"{name}_random": found[name].control for name in _NAMES}
        values["decisive_top3"] = float(any(place in decisive for place in ranked[:3]))
        errors = {name: found[name].error for name in _NAMES}
        errors |= {f"{name}_random": found[name].control_error for name in _NAMES}
        return Observation(values, {"standard_errors": errors})


def decisive_positions(system: System, ids: Tensor, word: str) -> set[int]:
    """Positions of the tokens that hold a byte of the first mention of the word. Raises ValueError where it is not."""
    pieces = [system.tokenizer.bytes_of(id) for id in ids.tolist()]
    start = b"".join(pieces).find(word.encode())
    if start < 0:
        raise ValueError(f"the prompt's tokens do not spell {word!r}")
    ends = torch.tensor([len(piece) for piece in pieces]).cumsum(0).tolist()
    return {
        place
        for place, (piece, end) in enumerate(zip(pieces, ends, strict=True))
        if piece and end > start and end - len(piece) < start + len(word.encode())
    }
