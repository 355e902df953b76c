"""Two models that write one text: what each has seen of it, and how it is brought up to date."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from trivium.core.capabilities import require_offers
from trivium.core.protocols import LanguageModel, State
from trivium.models.sources import load


class Side:
    """One of the models at work on a batch. ``held[row]``: how many tokens of the row's text its state holds."""

    def __init__(self, model: LanguageModel, rows: int) -> None:
        self.model = model
        self.order = list(range(rows))  # the rows of the state
        self.held = [0] * rows
        self.state: State | None = None
        self.passes = self.positions = 0
        """Made so far, and tokens fed in them, without padding."""

    def feed(self, texts: Mapping[int, Sequence[int]], keep: int = 1) -> Tensor:
        """One pass over what the model has not seen of these texts; the other rows of the batch wait.

        (rows given, at most ``keep``, vocab): logits of the last columns, those of each row at the right.
        """
        missing = [list(texts[row][self.held[row] :]) if row in texts else [] for row in self.order]
        width = max(map(len, missing))
        ids = torch.tensor([[0] * (width - len(tokens)) + tokens for tokens in missing])
        real = torch.tensor([[False] * (width - len(tokens)) + [True] * len(tokens) for tokens in missing])
        device = self.model.device
        out = self.model(
            ids.to(device),
            mask=None if real.all() else real.to(device),
            state=self.state,
            keep_state=True,
            logits_to_keep=min(keep, width),
        )
        logits, state = out.logits, out.state
        assert state is not None
        del out
        squeezes = "truncate" in self.model.offers and not real.all()
        self.state = state.truncate(state.lengths) if squeezes else state  # padding goes once there is much of it
        self.passes, self.positions = self.passes + 1, self.positions + int(real.sum())
        for row, tokens in zip(self.order, missing, strict=True):
            self.held[row] += len(tokens)
        if len(texts) == len(self.order):
            return logits
        return logits[[at for at, row in enumerate(self.order) if row in texts]]

    def cut(self, lengths: Mapping[int, int]) -> None:
        """Forget what these rows hold beyond so many tokens."""
        for row, length in lengths.items():
            self.held[row] = min(self.held[row], length)
        wanted = torch.tensor([self.held[row] for row in self.order])
        if self.state is not None and not torch.equal(self.state.lengths, wanted):
            same = bool((wanted == wanted[0]).all())
            self.state = self.state.truncate(int(wanted[0]) if same else wanted)

    def focus(self, live: Sequence[int]) -> None:
        """Leave finished rows out once dropping them is worth the copy."""
        if len(live) <= 0.75 * len(self.order):
            if self.state is not None:
                self.state = self.state.select(torch.tensor([self.order.index(row) for row in live]))
            self.order = list(live)


def small_of(who: str, small: LanguageModel | str | None, large: LanguageModel, needs: Sequence[str]) -> LanguageModel:
    """The small model of a pair: given, to be loaded by name, or the large one itself. Raises ValueError where the two
    cannot share a text."""
    if isinstance(small, str):
        found = _loaded(small, str(large.dtype).removeprefix("torch."), str(large.device))
    else:
        found = large if small is None else small
    if found.vocab_size != large.vocab_size:
        raise ValueError(
            f"the small model has a vocabulary of {found.vocab_size} and the large one of {large.vocab_size}; "
            f"{who} needs two models with one tokenizer, such as a model and the draft that make_draft cuts from it"
        )
    require_offers(f"{who}'s small model", found, needs)
    return found


def check_room(small: LanguageModel, longest: int) -> None:
    """Raise ValueError where the text may outgrow the small model."""
    if small.max_positions is not None and longest > small.max_positions:
        raise ValueError(
            f"the small model has {small.max_positions} positions, this generation may need {longest}; shorten the "
            "prompt or lower the limit"
        )


@lru_cache(maxsize=4)
def _loaded(name: str, dtype: str, device: str) -> LanguageModel:
    return load(name, dtype=dtype, device=device).model
