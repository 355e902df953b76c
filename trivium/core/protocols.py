"""The protocols of DESIGN: what a model, a state, a tokenizer and each kind of method offers."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from trivium.core import meter
from trivium.core.errors import NotOffered
from trivium.core.languages import NOTHING, Languages
from trivium.core.nouns import (
    Attribution,
    Batch,
    Example,
    Experts,
    Generation,
    Loss,
    Measure,
    Observation,
    Stop,
    Target,
)
from trivium.core.prompt import PromptPlan, Question
from trivium.core.tree import Draw, TokenTree
from trivium.core.wording import Exemplar, Form, Wording


class State(ABC):
    """What a model remembers of the tokens it has seen, as a value: continuing from it twice gives the same answer.

    Each row has its own tokens; ``slots`` counts the columns fed so far, padding and dropped drafts included, and
    ``lengths`` (batch,) the tokens among them that are visible. ``next_position`` (batch,) is where the next token of
    each row stands: as many as there are tokens, unless some of them share a position.
    """

    @property
    @abstractmethod
    def batch(self) -> int: ...

    @property
    @abstractmethod
    def slots(self) -> int: ...

    @property
    @abstractmethod
    def lengths(self) -> Tensor:
        """(batch,) int64 on the CPU."""

    @property
    def next_position(self) -> Tensor:
        """(batch,) int64 on the CPU."""
        return self.lengths

    @abstractmethod
    def bytes(self) -> int:
        """Bytes held for the slots in use."""

    @abstractmethod
    def select(self, rows: Tensor) -> Self:
        """The given rows, repeats allowed: (n,) int64 -> a state of batch n."""

    def gather(self, keep: Tensor) -> Self:
        """Of the last ``keep.shape[1]`` slots of each row keep the marked ones: (batch, n) bool. Needs 'gather'."""
        raise self._cannot("gather")

    def truncate(self, length: int | Tensor) -> Self:
        """The first ``length`` tokens of each row; an int or (batch,). Needs 'truncate'."""
        raise self._cannot("truncate")

    def placed(self, positions: Tensor) -> Self:
        """The same tokens, which were fed at these positions (batch, slots). Needs 'tree'."""
        raise self._cannot("place")

    def _cannot(self, word: str) -> Exception:
        return NotOffered(f"{type(self).__name__} cannot {word}: this model's memory is no list of tokens")


@dataclass(frozen=True)
class LMOutput:
    """``logits`` (batch, time or kept, vocab); ``hidden`` (batch, time or kept, width): what entered the head;
    ``state``: only where asked for."""

    logits: Tensor
    hidden: Tensor
    state: State | None = None


_serial = itertools.count()


def new_serial() -> int:
    """A number that no other model of the process has; a copy that is changed needs one."""
    return next(_serial)


class LanguageModel(nn.Module, ABC):
    """A model of token sequences. Subclasses implement ``run``; calling it checks the input and feeds the meters."""

    vocab_size: int
    width: int
    depth: int
    offers: frozenset[str]
    max_positions: int | None = None
    """Longest sequence that positions allow; None where there is no such limit."""
    cost_by_shape: bool = True
    """Whether shapes alone decide what a pass costs; where it matters what the tokens are, each pass is counted."""
    skipped: frozenset[int] = frozenset()
    """Layers that are passed over just now; see ``skipping``."""
    auxiliary: Mapping[str, float] = MappingProxyType({})
    """Losses that layers report beside the output, by name: what each weighs in training, where it is added."""

    def __init__(self) -> None:
        super().__init__()
        self.serial = new_serial()  # unlike id(), never reused: it keys the meter's counts

    def forward(
        self,
        ids: Tensor | None = None,
        *,
        embeds: Tensor | None = None,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        state: State | None = None,
        keep_state: bool = False,
        logits_to_keep: int = 0,
    ) -> LMOutput:
        """One pass.

        ids (batch, time) int64, or embeds (batch, time, width). mask: (batch, time) bool, True where the new tokens
        are real; or (batch, 1, time, state.slots + time) bool, True where a query may attend: to later columns too,
        where 'bidirectional' is offered. positions (batch, time) int64, by default counted from the mask and the state.
        segments (batch, time) int: documents that must not see each other (training only, without a state).
        logits_to_keep: logits and hidden of the last n columns; 0 for all.

        Raises ValueError for empty input, ids outside the vocabulary, both or neither of ids and embeds, or a sequence
        beyond the positions the model has.
        """
        given = ids if ids is not None else embeds
        if given is None or (ids is not None and embeds is not None):
            raise ValueError("give either ids or embeds")
        self._check_given(ids, given)
        slots = state.slots if state is not None else 0
        if self.max_positions is not None:
            longest = given.shape[1] + (int(state.next_position.max()) if state is not None else 0)
            if longest > self.max_positions and mask is None and positions is None:
                raise ValueError(
                    f"{longest} tokens are more than the {self.max_positions} positions of this model; "
                    "shorten the prompt or lower the limit"
                )
        batch, time = given.shape[:2]
        shapes = (batch, time, slots > 0, mask is None or mask.ndim, segments is None, logits_to_keep)
        key = (self.serial, *shapes, torch.is_grad_enabled(), keep_state, self.skipped)
        known = key if self.cost_by_shape else None
        with meter.measured(known, length=slots, calls=1, evaluations=batch, positions=batch * time):
            return self.run(
                ids,
                embeds=embeds,
                mask=mask,
                positions=positions,
                segments=segments,
                state=state,
                keep_state=keep_state,
                logits_to_keep=logits_to_keep,
            )

    def _check_given(self, ids: Tensor | None, given: Tensor) -> None:
        if given.shape[0] == 0 or given.shape[1] == 0:
            raise ValueError(f"the input is empty: {tuple(given.shape)}; give at least one row of at least one token")
        if ids is not None and not (torch.compiler.is_compiling() or ids.is_meta):
            low, high = torch.aminmax(ids)
            if low < 0 or high >= self.vocab_size:
                bad = int(low) if low < 0 else int(high)
                raise ValueError(
                    f"token id {bad} is outside the vocabulary of {self.vocab_size} (0 to {self.vocab_size - 1})"
                )

    @abstractmethod
    def run(
        self,
        ids: Tensor | None,
        *,
        embeds: Tensor | None,
        mask: Tensor | None,
        positions: Tensor | None,
        segments: Tensor | None,
        state: State | None,
        keep_state: bool,
        logits_to_keep: int,
    ) -> LMOutput:
        """The pass itself, on checked input."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """(batch, time) -> (batch, time, width), such that ``model(embeds=model.embed(ids))`` equals ``model(ids)``."""

    def layers(
        self, start: int, stop: int, hidden: Tensor, *, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Run layers ``start`` to ``stop`` (excluded) on the residual stream (batch, time, width). Needs 'layers'."""
        raise NotOffered("this model cannot run a range of its layers")

    def go_on(
        self,
        start: int,
        stop: int,
        *,
        ids: Tensor | None = None,
        hidden: Tensor | None = None,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        kept: Tensor | None = None,
        state: State | None = None,
        storing: bool = False,
    ) -> tuple[Tensor, State]:
        """Layers ``start`` to ``stop`` (excluded) of a pass that goes on from a state: the residual stream above them
        (batch, time, width), and the state with what they remember.

        ids (batch, time) to begin below layer 0, or the stream ``hidden`` (batch, time, width). mask and positions as
        in a whole pass. Where these layers lack the last columns of the state, since other layers alone were run on
        them, they take in exactly these columns (and the mask may be left out); else the columns are new ones, which
        all other layers then lack. kept (batch, time) bool: new columns that the state shall remember; those behind the
        last of them are dropped. storing: the layers only take in keys and values of the stream, which passes by them
        unchanged.

        Each stretch is metered as a call and its columns as positions, besides the operations that it really makes.
        Needs 'layers' and 'gather'.
        """
        for word in ("layers", "gather"):
            if word not in self.offers:
                raise NotOffered(f"this model cannot go on from a state with some of its layers: it lacks {word!r}")
        given = ids if ids is not None else hidden
        if given is None or (ids is not None and hidden is not None):
            raise ValueError("give either ids or hidden")
        if not 0 <= start < stop <= self.depth or (ids is not None and start > 0):
            raise ValueError(
                f"layers {start} to {stop} are no range of the {self.depth} layers of this model that begins with "
                f"{'ids' if ids is not None else 'a stream'}"
            )
        self._check_given(ids, given)
        batch, time = given.shape[:2]
        slots = state.slots if state is not None else 0
        shapes = (start, stop, ids is None, batch, time, slots > 0, mask is None or mask.ndim, storing)
        key = (self.serial, "go_on", *shapes, torch.is_grad_enabled(), self.skipped)
        with meter.measured(key, length=slots, calls=1, evaluations=batch, positions=batch * time):
            return self.run_layers(
                start,
                stop,
                ids=ids,
                hidden=hidden,
                mask=mask,
                positions=positions,
                kept=kept,
                state=state,
                storing=storing,
            )

    def run_layers(
        self,
        start: int,
        stop: int,
        *,
        ids: Tensor | None,
        hidden: Tensor | None,
        mask: Tensor | None,
        positions: Tensor | None,
        kept: Tensor | None,
        state: State | None,
        storing: bool,
    ) -> tuple[Tensor, State]:
        """What ``go_on`` does, on checked input."""
        raise NotOffered("this model cannot go on from a state with some of its layers")

    @contextmanager
    def skipping(self, layers: Iterable[int]) -> Iterator[None]:
        """Within the block these layers pass on what they are given, in every pass, and their states take nothing in.

        A state that a layer has missed tokens of can be gone on from only while that layer is skipped. Needs 'layers'.
        """
        more = frozenset(layers)
        if more and "layers" not in self.offers:
            raise NotOffered("this model cannot skip layers: it does not offer 'layers'")
        if not more <= frozenset(range(self.depth)):
            raise ValueError(f"layers {sorted(more)} are not all among the {self.depth} of this model")
        before = self.skipped
        self.skipped = before | more
        try:
            yield
        finally:
            self.skipped = before

    def read_out(self, hidden: Tensor) -> Tensor:
        """Logits (batch, time, vocab) of a residual stream (batch, time, width), as if its layer were the last one:
        final norm and head. Needs 'layers'."""
        raise NotOffered("this model cannot read out the middle of its layers")

    @abstractmethod
    def sites(self) -> tuple[str, ...]:
        """Names that ``capture`` and ``edit`` accept, such as 'blocks.3.attn.out'."""

    @abstractmethod
    def capture(
        self,
        *names: str,
        positions: Any = None,
        reduce: Any = None,
        detach: bool = False,
        device: Any = None,
        limit: int | None = None,
    ) -> AbstractContextManager[dict[str, Tensor]]:
        """Within the block, each pass stores the tensor at each named site (the last pass wins), or the part of it that
        is to be kept; see ``models.sites``."""

    @abstractmethod
    def edit(self, edits: Mapping[str, Callable[[Tensor], Tensor]]) -> AbstractContextManager[None]:
        """Within the block, the tensor at each named site is replaced; raises on exit where an edit never ran."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def precision(self) -> str:
        """The number format of the weights, by the name that ``load`` takes."""
        return str(self.dtype).removeprefix("torch.")


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back."""

    vocab_size: int
    bos: int | None
    eos: int | None
    pad: int | None

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def bytes_of(self, id: int) -> bytes:
        """The bytes that one token stands for; empty for special tokens."""
        ...


class Decoder(Protocol):
    """model x prompt -> generation. ``prompt`` (batch, time); ``mask`` (batch, time) bool marks real tokens where rows
    differ in length; or (batch, 1, time, time): who sees whom in structured prompts, as ``prompt.pack`` makes it."""

    def __call__(
        self,
        model: LanguageModel,
        prompt: Tensor,
        *,
        limit: int,
        generator: torch.Generator,
        mask: Tensor | None = None,
        stop: Stop = Stop(),
    ) -> Generation: ...


class Partial(LanguageModel):
    """A model that is another one with some of its tokens only, as the losslessness certificate makes it. To be derived
    from: from Python 3.12 on a protocol would not find what a module holds."""

    whole: LanguageModel
    kept: Tensor
    """(vocab_size,) ids in the whole model's vocabulary."""


class DraftSession(Protocol):
    """One drafter at work on one batch of prompts. One that runs a model counts its ``passes`` and ``positions``, which
    the trace then tells."""

    def propose(self, contexts: Sequence[Tensor], room: Sequence[int]) -> list[TokenTree]:
        """A tree per row, rooted at the row's last committed token and at most ``room`` deep.

        ``contexts``: per row all committed tokens, the pending one last. A tree of one node means no proposal.
        """
        ...


@runtime_checkable
class Observing(Protocol):
    """A draft session that reads the target's hidden states. The decoder calls ``observe`` after the prompt and after
    each pass; sessions without it cost nothing."""

    reads_prompt: bool
    """Whether all hidden states of the prompts are wanted, or those of their last tokens only."""

    def observe(self, rows: Sequence[int], nodes: Sequence[Tensor], hidden: Sequence[Tensor]) -> None:
        """Of each row that goes on: ``nodes`` (n,) of its last tree that were accepted, from the root down, and the
        states (n, width) that entered the target's head there. After the prompt: its tokens, or the last of them."""
        ...


@runtime_checkable
class Reading(Protocol):
    """A draft session that reads what the target says after each node of its trees, taken or not."""

    def read(self, rows: Sequence[int], trees: Sequence[TokenTree], logits: Tensor) -> None:
        """After each pass over trees: those of these rows, as they were verified, and the target's own logits (rows,
        nodes, vocab), of which a row's first ``len(tree)`` count."""
        ...


@runtime_checkable
class Accompanying(Protocol):
    """A draft session that works within the target's own pass, beside the trees that are verified there."""

    def accompany(self, rows: Sequence[int], trees: Sequence[TokenTree], state: State) -> LMOutput:
        """The pass over the trees of these rows, in place of the decoder's own. Logits and hidden are those of the
        trees' nodes; the state may hold further slots behind them, which the decoder drops. Needs 'gather'."""
        ...


@runtime_checkable
class Sharing(Protocol):
    """A draft session that drafts on the target's own state, by running some of its layers."""

    def share(self, rows: Sequence[int], state: State) -> None:
        """Before each proposal: the target's state of these rows, of all their tokens but the pending one."""
        ...


class Drafter(Protocol):
    """context -> token tree."""

    @property
    def draws(self) -> Draw: ...

    def start(
        self, model: LanguageModel, *, generator: torch.Generator, logits: Callable[[Tensor, Sequence[Tensor]], Tensor]
    ) -> DraftSession:
        """Begin on a new batch. ``model`` is the target (for its vocabulary); ``logits`` is the logits pipeline as
        (rows, vocab) x the history of each row -> processed (rows, vocab), applied to the draft distribution too."""
        ...


class Objective(Protocol):
    """model x batch -> loss."""

    def __call__(self, model: LanguageModel, batch: Batch, *, generator: torch.Generator) -> Loss: ...


@runtime_checkable
class Scheduled(Protocol):
    """An objective that changes in training."""

    def at(self, progress: float) -> Objective:
        """What it is once that share of the updates is done: 0 for the first, towards 1 for the last."""
        ...


class Architecture(Protocol):
    """recipe -> model."""

    def build(self, vocab_size: int, *, seed: int = 0) -> LanguageModel: ...


class Explainer(Protocol):
    """model x ids x target -> attribution; ``ids`` (time,)."""

    def __call__(
        self, model: LanguageModel, ids: Tensor, target: Target, *, generator: torch.Generator
    ) -> Attribution: ...


class Probe(Protocol):
    """What was fitted to activations and labels. ``groups`` (examples,) int: which text or sentence each example is of;
    None: every example stands by itself, and for a probe of whole trees all are one tree."""

    @property
    def measure(self) -> Measure:
        """What the score is, and in which direction it is better."""
        ...

    def predict(self, activations: Tensor, groups: Tensor | None = None) -> Tensor:
        """(examples, ...) -> what the labels of these examples are taken to be."""
        ...

    def tally(self, activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
        """(groups, 2) float64, groups in rising order: numerator and denominator of the score, which is the ratio of
        their sums. So a score has an interval over groups, and further examples can be added."""
        ...

    def score(self, activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> float:
        """How well it does on further examples: the ratio of the sums of ``tally``."""
        ...


class Probing(Protocol):
    """activations x labels -> probe: what can be read off a frozen model.

    ``activations`` (examples, width); ``labels`` (examples,) or (examples, outputs); ``groups`` (examples,) int.
    ``reads`` says which sorts of labels it takes, in the words of ``core.nouns.LABELS``. What it must know of the
    activations, such as their scale, it takes from those that it is fitted to.
    """

    reads: ClassVar[tuple[str, ...]]

    def fit(
        self, activations: Tensor, labels: Tensor, *, generator: torch.Generator, groups: Tensor | None = None
    ) -> Probe: ...


class Router(Protocol):
    """Which expert takes which prompt."""

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """(prompts,) int64. A prompt's choice depends on no other prompt."""
        ...


class Routing(Protocol):
    """prompts x what experts lose on them -> router. ``losses`` (prompts, experts), NaN where one was not observed."""

    def fit(
        self, prompts: Sequence[str], losses: Tensor, experts: Experts, *, generator: torch.Generator
    ) -> Router: ...


class Task(Protocol):
    """What is measured, on which examples. ``score`` takes the output of the open arrow on one example."""

    measures: Sequence[Measure]

    def examples(self, split: str) -> Sequence[Example]: ...

    def score(self, system: Any, example: Example, output: Any) -> Observation: ...


class PromptTask(Protocol):
    """A ``Task`` whose examples are put to a system as prompts, in three steps of which each can be done otherwise.

    The output that its ``score`` takes is a task of this sort: the one whose steps are to be used.
    """

    def examples(self, split: str) -> Sequence[Example]: ...

    def ask(self, example: Example) -> Question:
        """What is said: instruction, exemplars, format, and the answers to choose among."""
        ...

    def lay(self, system: Any, question: Question) -> PromptPlan:
        """How it is put to the model: tokens, where they stand, and what they see."""
        ...

    def weigh(self, system: Any, question: Question, plan: PromptPlan) -> Sequence[float]:
        """How good each answer is behind the prompt; the largest wins."""
        ...

    def score(self, system: Any, example: Example, output: Any) -> Observation: ...


class WordedTask(PromptTask, Protocol):
    """A ``PromptTask`` with fixed labels whose questions can be put in other words: what prompting methods need that
    look for a template, a format, or exemplars. The three steps of each question are then those of its wording."""

    @property
    def labels(self) -> Sequence[str]:
        """The answers to choose among, the same for every example."""
        ...

    @property
    def wording(self) -> Wording:
        """How ``ask`` puts a question; its exemplars are some of the pool, or none."""
        ...

    @property
    def templates(self) -> Sequence[Form]:
        """Forms to choose among, written by hand, the one of ``wording`` included."""
        ...

    @property
    def pool(self) -> Sequence[Exemplar]:
        """Labelled items to take exemplars from; none of them is asked in any split."""
        ...

    def formats(self, count: int, generator: torch.Generator) -> Sequence[Form]:
        """At most so many different forms, drawn from a grammar, the original one first."""
        ...

    def read(self, example: Example) -> Exemplar:
        """The fields of an example and its right label, which only a method that may see labels looks at."""
        ...

    def weigh_all(self, system: Any, questions: Sequence[Question]) -> Sequence[Sequence[float]]:
        """What ``weigh`` gives for each question, in as few passes as there can be."""
        ...


class Prompting(Protocol):
    """task x system -> task: how questions are put to a model. What has to be found out is found on the task's
    validation split; every pass of the model that this takes is part of what a comparison holds equal. A method that
    looks for words needs a ``WordedTask`` and raises NotOffered for any other."""

    def __call__(self, task: Any, system: Any, *, generator: torch.Generator) -> PromptTask: ...


class Initialiser(Protocol):
    """system x tokenizer -> system: the model with a row of its embedding, and of its head, for every token of another
    tokenizer. Tokens that both have keep their rows; how the others get theirs is the method. Nothing is trained that
    the model had before, and the system given is left as it is."""

    def __call__(
        self, system: Any, tokenizer: Tokenizer, languages: Languages = NOTHING, *, generator: torch.Generator
    ) -> Any:
        """The system with this tokenizer. Raises ValueError where ``languages`` lacks what the method reads."""
        ...
