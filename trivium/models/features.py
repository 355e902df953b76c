"""What a model's states are at some places of some texts: the activations that probes are fitted to.

    last      the last token of each text, which alone has seen all of it
    mean      the mean over the tokens of each text
    words     each word, as white space divides them: the mean over its tokens
    spans     each span of characters that is given: the mean over its tokens

A token belongs to the span in which its first letter stands, that is its first byte that is no white space. A span that
gets no token in this way shares those that reach into it, as ")" and ":" do where "):" is one token.

The state of the very first token is of another scale than all others in most language models. So before a text stands
one token that is no part of it, what the tokenizer puts there or else the token that begins or ends a text, and the
states of these are left out.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trivium.core.capabilities import require_offers
from trivium.core.errors import NotFinite, UnknownName, did_you_mean
from trivium.core.progress import Bar
from trivium.models._rows import padded
from trivium.models.scoring import prefix
from trivium.models.surprisal import SPACES, Span, in_bytes, token_spans
from trivium.models.system import System

log = logging.getLogger(__name__)

Spans = Sequence[Sequence[Span]]
"""Per text, where in its characters what is looked at begins and ends."""
Position = Literal["last", "mean", "words"] | Spans

_WORD = re.compile(r"\S+")


@dataclass(frozen=True, eq=False)
class Features:
    """``states``: site -> (rows, width) in float32 at least, on the CPU (at sites with heads (rows, heads, width));
    ``text`` (rows,): which text each row is of, in order. ``crossing``: tokens that reach over the end of a span."""

    states: Mapping[str, Tensor]
    text: Tensor
    crossing: int = 0

    def __getitem__(self, site: str) -> Tensor:
        if site not in self.states:
            raise UnknownName(f"no states were taken at {site!r}{did_you_mean(site, self.states)}")
        return self.states[site]

    def __len__(self) -> int:
        return len(self.text)


def stream(layer: int) -> str:
    """The site of the residual stream behind so many blocks: 0 is what enters the first."""
    if layer < 0:
        raise ValueError(f"layers are counted from 0, the embeddings; got {layer}")
    return "blocks.0.in" if layer == 0 else f"blocks.{layer - 1}.out"


def fits(system: System, texts: Sequence[str]) -> list[bool]:
    """Which texts the model can take whole, with the token that ``features`` puts before each."""
    most, before = system.model.max_positions, max(len(getattr(system.tokenizer, "opening", ())), 1)
    return [most is None or len(system.tokenizer.encode(text)) + before <= most for text in texts]


@torch.no_grad()
def features(
    system: System,
    texts: Sequence[str],
    site: str | Sequence[str],
    position: Position = "last",
    *,
    batch_size: int = 8,
    anchored: bool = True,
    bar: Bar | None = None,
) -> Features:
    """The states at one or several sites, of each text or of each of its words or spans, in one pass per text.

    What is kept is the rows alone; a pass holds ``batch_size`` texts. A row depends on no other text. ``anchored``:
    whether a token stands before the text where the tokenizer puts none; without it the first token's state counts,
    unless ``mean`` has others. The bar, where there is one, advances by texts.

    Raises ValueError for no text, a text without a token or longer than the model takes, and a span that is empty,
    outside its text, or white space only; UnknownName for a site that the model lacks; NotFinite for damaged states.
    """
    require_offers("looking at activations", system.model, ["sites"])
    sites = [site] if isinstance(site, str) else list(dict.fromkeys(site))
    known = system.model.sites()
    for name in sites:
        if name not in known:
            raise UnknownName(f"{system.name} has no site {name!r}{did_you_mean(name, known)}")
        if name.endswith((".scores", ".weights")):
            raise ValueError(f"{name!r} is of pairs of tokens, so it has no state of a token; choose another site")
    if not sites or not texts:
        raise ValueError(f"there are {len(sites)} sites and {len(texts)} texts; give at least one of each")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    rows, parts, crossing = _laid(system, texts, position, anchored)
    if crossing:
        log.warning("%d tokens reach over the end of a span; each counts for that in which it begins", crossing)
    order = sorted(range(len(rows)), key=lambda at: -len(rows[at]))
    found: list[dict[str, Tensor]] = [{} for _ in rows]
    was = system.model.training
    system.model.eval()
    try:
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            ids, mask = padded([rows[at] for at in places], system.model.device, left=False)
            with system.model.capture(*sites) as seen:
                system.model(ids, mask=mask, logits_to_keep=1)
            for name in sites:
                for row, at in enumerate(places):
                    found[at][name] = _pooled(seen[name][row], parts[at])
                    if not found[at][name].isfinite().all():
                        raise NotFinite(
                            f"{system.name} gives text {at}, {texts[at][:40]!r}, states at {name} that are not finite; "
                            "its weights are damaged, or need a wider dtype"
                        )
            if bar is not None:
                bar.advance(len(places))
    finally:
        system.model.train(was)
    states = {name: torch.cat([each[name] for each in found]) for name in sites}
    count = torch.tensor([len(each) for each in parts])
    return Features(states, torch.arange(len(texts)).repeat_interleave(count), crossing)


def _laid(
    system: System, texts: Sequence[str], position: Position, anchored: bool
) -> tuple[list[list[int]], list[list[list[int]]], int]:
    """Per text its ids, and for each of its rows the places of its tokens; and how many tokens cross."""
    if isinstance(position, str) and position not in ("last", "mean", "words"):
        raise ValueError(f"position must be 'last', 'mean', 'words' or spans; got {position!r}")
    if not isinstance(position, str) and len(position) != len(texts):
        raise ValueError(f"{len(texts)} texts need as many lists of spans, got {len(position)}")
    opening = list(getattr(system.tokenizer, "opening", ()))
    before = opening or ([prefix(system)] if anchored else [])
    most = system.model.max_positions
    rows, parts, crossing = [], [], 0
    for number, text in enumerate(texts):
        ids = system.tokenizer.encode(text)
        ids = ids[len(opening) :] if opening and ids[: len(opening)] == opening else ids
        if not ids:
            raise ValueError(f"text {number} is empty, {text!r}, and has no state; leave it out")
        if most is not None and len(before) + len(ids) > most:
            raise ValueError(
                f"text {number} has {len(ids)} tokens and {len(before)} before it, more than the {most} that "
                f"{system.name} takes; shorten it or leave it out: {text[:40]!r}"
            )
        first = 1 if not before and len(ids) > 1 else 0
        if position == "last":
            mine = [[len(ids) - 1]]
        elif position == "mean":
            mine = [list(range(first, len(ids)))]
        else:
            spans = [each.span() for each in _WORD.finditer(text)] if position == "words" else position[number]
            try:
                mine, crosses = tokens_of(text, token_spans(system.tokenizer, text, ids), spans)
            except ValueError as error:
                raise ValueError(f"text {number}: {error}") from None
            crossing += crosses
        rows.append(before + ids)
        parts.append([[len(before) + at for at in each] for each in mine])
    return rows, parts, crossing


def tokens_of(text: str, tokens: Sequence[Span], spans: Sequence[Span]) -> tuple[list[list[int]], int]:
    """For each span of the text's characters its tokens, which are given by their bytes; and how many tokens reach over
    the end of the span that has them into another.

    Spans may overlap, and a token then belongs to each of them in which its first letter stands.
    """
    for start, stop in spans:
        if not 0 <= start < stop <= len(text):
            raise ValueError(f"characters {start} to {stop} are no span of a text of {len(text)}: {text[:40]!r}")
        if not text[start:stop].strip():
            raise ValueError(f"characters {start} to {stop} are white space only, which has no token: {text[:40]!r}")
    if not spans:
        raise ValueError(f"nothing is to be looked at, neither word nor span: {text[:40]!r}")
    whole = text.encode("utf-8", "surrogatepass")
    places = torch.tensor(in_bytes(text, spans))
    begins, ends = torch.tensor(list(tokens)).reshape(-1, 2).unbind(1)
    pieces = [whole[start:stop] for start, stop in tokens]
    letters = begins + torch.tensor([len(each) - len(each.lstrip(SPACES)) for each in pieces])
    owned = (letters >= places[:, :1]) & (letters < places[:, 1:]) & (letters < ends)  # (spans, tokens)
    reached = (begins < places[:, 1:]) & (ends > places[:, :1]) & (letters < places[:, 1:]) & (letters < ends)
    crossing = int((owned.any(0) & (reached & ~owned).any(0)).sum())
    taken = torch.where(owned.any(1, keepdim=True), owned, reached)
    found = [row.nonzero()[:, 0].tolist() for row in taken]
    for (start, stop), mine in zip(spans, found, strict=True):
        if not mine:
            raise ValueError(f"{text[start:stop]!r} at characters {start} to {stop} is in none of the text's tokens")
    return found, crossing


def _pooled(states: Tensor, parts: Sequence[Sequence[int]]) -> Tensor:
    """(time, ...) -> (rows, ...), each the mean over its tokens."""
    wide = states.to(torch.promote_types(states.dtype, torch.float32))
    places = torch.tensor([at for part in parts for at in part], device=wide.device)
    owner = torch.repeat_interleave(torch.tensor([len(part) for part in parts])).to(wide.device)
    total = torch.zeros(len(parts), *wide.shape[1:], dtype=wide.dtype, device=wide.device)
    total.index_add_(0, owner, wide[places])
    count = torch.bincount(owner, minlength=len(parts)).reshape(-1, *[1] * (wide.ndim - 1))
    return (total / count).cpu()
