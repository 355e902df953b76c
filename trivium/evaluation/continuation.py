"""Continuation: let the model go on from a prompt, and measure what it wrote and what each pass brought.

Source
    Repetition: Welleck et al. 2020, "Neural Text Generation with Unlikelihood Training", arXiv:1908.04319, section 6
    (seq-rep-n). Distinct n-grams: Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation
    Models", arXiv:1510.03055 (distinct-n). Tokens per pass: the block efficiency of Leviathan et al. 2023, "Fast
    Inference from Transformers via Speculative Decoding", arXiv:2211.17192.
Equation
    seq-rep-4 = 1 - |unique 4-grams| / |4-grams|;   distinct-2 = |unique 2-grams| / |2-grams|, over the new tokens
    logprob = (1 / T) sum_t log p(x_t | x_<t), the model's own probabilities, before any processing by the decoder
    tokens per pass = new tokens / passes of the target model, the token that each pass adds by itself included
Shapes
    Generation of one row with ids (1, new) -> an Observation with one number per measure
Cost
    None beyond the generation itself: log-probabilities and passes are what the decoder reports.
Caveats
    Neither a high nor a low log-probability is good by itself (greedy text is likely and dull), so it has no direction
    and no verdict. Repetition is counted in tokens of the model's own vocabulary, so it cannot be compared across
    tokenizers. By default texts run on to the full budget even past the model's end token, since only then do all
    contenders write equally much; ``stop_early`` lets them end. A text of fewer than n tokens has no n-gram and no
    value. None of this says whether an answer is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from trivium.core.method import method
from trivium.core.nouns import Example, Generation, Measure, Observation
from trivium.core.protocols import Tokenizer
from trivium.data import prompts as built_in
from trivium.data import splits
from trivium.evaluation._ngrams import repetition
from trivium.models.system import System


@method(title="Continuation", source="arXiv:1908.04319", year=2020, needs=["causal"])
@dataclass(frozen=True)
class Continuation:
    """Prompts to go on from, and measures of the text and of the passes it took."""

    prompts: Sequence[Example] = ()
    """What to go on from; with nothing given, the built-in prompts: copy-heavy, chat and code."""
    validation: Sequence[Example] = ()
    """Prompts for tuning; the built-in ones keep some apart."""
    limit: int = 64
    """New tokens, where the budget is not in new tokens itself."""
    stop_early: bool = False
    """End at the model's end token; otherwise every text takes the whole limit."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("repetition", "Repeated 4-grams", False),
        Measure("tokens_per_pass", "Tokens per pass of the target model", True),
        Measure("logprob", "Mean log-probability under the model", None, "nats/token"),
        Measure("distinct_2", "Distinct 2-grams", None),
        Measure("acceptance", "Accepted of verified drafts", None),
    )

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"limit must be at least 1 new token, got {self.limit}")
        for prompt in (*self.prompts, *self.validation):
            if not isinstance(prompt, Example):
                raise TypeError(f"a prompt is an Example(id, text), got {type(prompt).__name__}")
            if not prompt.text:
                raise ValueError(f"prompt {prompt.id!r} is empty; give it some text")

    def examples(self, split: str) -> Sequence[Example]:
        """The given prompts; without any, the built-in ones of the split."""
        splits.check(split)
        if self.prompts:
            return self.prompts if split == "test" else self.validation
        return built_in.prompts(split)

    def prompt(self, system: System, example: Example) -> str:
        """The text that the model is given: in its chat template where the prompt is a user's message."""
        return system.chat(example.text) if example.fields.get("chat") else example.text

    def score(self, system: System, example: Example, output: Generation) -> Observation:
        ids = output.row(0).tolist()
        if not ids:
            raise ValueError(f"nothing was generated for {example.id!r}")
        values: dict[str, float | None] = {
            "repetition": repetition(ids, 4),
            "tokens_per_pass": output.trace.mean_accepted_length or None,
            "logprob": float(output.logprobs[0, : len(ids)].double().mean()),
            "distinct_2": None if len(ids) < 2 else 1 - (repetition(ids, 2) or 0.0),
            "acceptance": output.trace.acceptance_rate,
        }
        accepted = [] if output.accepted is None else output.accepted[0, : len(ids)].tolist()
        return Observation(
            {name: value for name, value in values.items() if value is not None},
            {"text": system.tokenizer.decode(ids), "spans": spans(system.tokenizer, ids, accepted)},
        )


def _shared(part: str, whole: str) -> int:
    """How many characters two texts have in common at their start."""
    return next((n for n, (a, b) in enumerate(zip(part, whole, strict=False)) if a != b), min(len(part), len(whole)))


def spans(tokenizer: Tokenizer, ids: Sequence[int], accepted: Sequence[bool]) -> list[dict[str, Any]]:
    """The text in pieces, each all plain or all accepted from a drafter; together they are the text.

    A character that is spread over tokens of both sorts goes to the later one.
    """
    if not any(accepted):
        return [{"text": tokenizer.decode(ids), "kind": "plain"}] if ids else []
    whole, pieces, at = tokenizer.decode(ids), [], 0
    for place in range(1, len(ids) + 1):
        if place < len(ids) and accepted[place] == accepted[place - 1]:
            continue
        upto = len(whole)
        if place < len(ids):
            upto = max(_shared(tokenizer.decode(ids[:place]), whole), at)
        kind = "accepted" if accepted[place - 1] else "plain"
        if pieces and pieces[-1]["kind"] == kind:
            pieces[-1]["text"] += whole[at:upto]
        elif upto > at:
            pieces.append({"text": whole[at:upto], "kind": kind})
        at = upto
    return pieces
