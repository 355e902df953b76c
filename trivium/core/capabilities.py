"""The one vocabulary in which models say what they offer and methods what they need."""

from collections.abc import Iterable
from typing import Protocol

from trivium.core.errors import NotOffered, UnknownName, did_you_mean

OFFERS: dict[str, str] = {
    "causal": "the distribution of a token depends on earlier tokens only",
    "bidirectional": "every position can see every other, under a 4-D mask where 'causal' is offered too",
    "state": "can go on from a state instead of the whole prefix",
    "truncate": "a state can be cut back to a shorter length",
    "gather": "chosen slots of a state can be kept and the rest dropped",
    "tree": "custom 4-D masks and explicit positions are honoured, proven when the model was wrapped",
    "gradient": "gradients flow from the logits to the input embeddings",
    "embeds": "accepts embeddings in place of token ids",
    "layers": "can run a range of its layers",
    "attention": "attention weights can be seen and edited",
    "sites": "named places inside the model can be captured and edited",
    "context": "accepts a second input to attend to",
}


class Offering(Protocol):
    """Whatever states its capabilities; every model does."""

    @property
    def offers(self) -> frozenset[str]: ...


def known(words: Iterable[str]) -> frozenset[str]:
    """The words as a frozenset; raises UnknownName for a word outside the vocabulary."""
    words = frozenset(words)
    for word in sorted(words - OFFERS.keys()):
        raise UnknownName(f"no capability is called {word!r}{did_you_mean(word, OFFERS)}")
    return words


def lacking(model: Offering, needs: Iterable[str]) -> tuple[str, ...]:
    """The needed words that the model does not offer, sorted."""
    return tuple(sorted(known(needs) - model.offers))


def require_offers(what: str, model: Offering, needs: Iterable[str]) -> None:
    """Raise NotOffered, naming each missing capability, before any work is done."""
    missing = lacking(model, needs)
    if missing:
        meaning = "; ".join(f"{word!r} ({OFFERS[word]})" for word in missing)
        has = ", ".join(sorted(model.offers)) or "nothing"
        raise NotOffered(f"{what} needs {meaning}, which this model lacks; it offers {has}")
