"""What drafters share that run a part of the target on its own state: a token of each row at each step, in chains."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.errors import NotFinite
from trivium.core.protocols import LanguageModel, State
from trivium.core.tree import Draw, TokenTree

Logits = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""The logits pipeline: (rows, vocab) and each row's history -> (rows, vocab)."""

DRAWS: tuple[Draw, ...] = ("deterministic", "independent")


class Chaining(ABC):
    """One batch. ``state`` is the target's, and while drafting holds the drafts as well: some layers of them only."""

    name: ClassVar[str]
    keeps: ClassVar[bool]
    """Whether the state with the drafts is needed after the proposal."""

    def __init__(
        self, length: int, draws: Draw, model: LanguageModel, generator: torch.Generator, logits: Logits
    ) -> None:
        self.length, self.model, self.generator, self.logits = length, model, generator, logits
        self.draws: Draw = draws
        self.base: int | None = None  # of the streams of random numbers, one for each row
        self.streams: dict[int, torch.Generator] = {}
        self.rows: list[int] = []
        self.state: State | None = None
        self.trees: dict[int, TokenTree] = {}
        self.begun: list[int] = []  # lengths of the rows at the first proposal
        self.past = 0  # new tokens of the longest row before its pending one
        self.passes = self.positions = 0  # through a part of the target, and tokens that were drafted from

    @abstractmethod
    def feed(self, step: int, tokens: Tensor, real: Tensor, on: Sequence[int]) -> Tensor:
        """Feed a token of each row (rows,), the pending one at step 0; ``real`` (rows,) bool where it is one. Gives the
        draft's logits (n, vocab) after the tokens of the rows ``on``."""

    def share(self, rows: Sequence[int], state: State) -> None:
        self.rows, self.state = list(rows), state

    @torch.no_grad()
    def propose(self, contexts: Sequence[Tensor], room: Sequence[int]) -> list[TokenTree]:
        trees = [TokenTree.chain(int(context[-1])) for context in contexts]
        if self.state is None and max(room, default=0) > 0:
            raise ValueError(
                f"{self.name} drafts on the target's state, and was shown none; the decoder must call 'share' before "
                "each proposal, as speculative does"
            )
        self.begun = self.begun or [len(context) for context in contexts]
        self.past = max(len(context) - start for context, start in zip(contexts, self.begun, strict=True))
        limits = [min(self.length, room[row]) for row in self.rows]
        if max(limits, default=0) > 0:
            for row, (tokens, laws) in zip(self.rows, self._drafted(contexts, limits), strict=True):
                probs = torch.stack(laws) if laws else None
                trees[row] = TokenTree.chain(int(contexts[row][-1]), tokens, draws=self.draws, probs=probs)
        if not self.keeps:
            self.state = None  # a longer state that is still held would force a copy of the cache
        self.trees = {row: trees[row] for row in self.rows}
        return trees

    def _drafted(self, contexts: Sequence[Tensor], limits: Sequence[int]) -> list[tuple[list[int], list[Tensor]]]:
        """Per row its drafts, and what each was drawn from where that was chance. A row with fewer drafts than others
        rests, once its last one was fed."""
        found: list[tuple[list[int], list[Tensor]]] = [([], []) for _ in self.rows]
        tokens, reach = torch.tensor([int(contexts[row][-1]) for row in self.rows]), torch.tensor(limits)
        for step in range(max(limits)):
            on = [at for at, limit in enumerate(limits) if limit > step]
            logits = self.feed(step, tokens, reach >= step, on)
            self.passes, self.positions = self.passes + 1, self.positions + len(on)
            if not logits.amax(-1).isfinite().all():  # NaN counts as the largest
                raise NotFinite(f"the guesses of {self.name} are not finite; use a wider dtype, or train it again")
            texts = [torch.cat([contexts[self.rows[at]], torch.tensor(found[at][0], dtype=torch.int64)]) for at in on]
            for at, law in zip(on, self.logits(logits, texts), strict=True):
                tokens[at] = int(law.argmax())
                if self.draws == "independent":
                    probs = law.softmax(-1)
                    found[at][1].append(probs)
                    tokens[at] = torch.multinomial(probs.double().cpu(), 1, generator=self._stream(self.rows[at]))[0]
                found[at][0].append(int(tokens[at]))
        return found

    def _stream(self, row: int) -> torch.Generator:
        """The row's own random numbers. The given generator is advanced once."""
        if self.base is None:
            self.base = int(torch.randint(2**62, (), generator=self.generator, device=self.generator.device))
        if row not in self.streams:
            self.streams[row] = seeds.generator(self.base, "draft", row)
        return self.streams[row]


def check_drafts(length: int, draws: str) -> None:
    """Raise ValueError for chains that cannot be."""
    if length < 1:
        raise ValueError(f"length must be at least 1 drafted token, got {length}")
    if draws not in DRAWS:
        raise ValueError(f"draws must be 'deterministic' or 'independent', got {draws!r}")
