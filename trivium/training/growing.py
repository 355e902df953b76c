"""A trained model made deeper, or fit for longer texts, and trained further (continual pretraining, as for Yi).

What is changed stands in ``models/upscaling.py`` and ``models/lengthening.py``. Then the one training loop goes on at a
constant low rate with growing batches, and a fresh optimiser. For longer texts long documents are taken more often,
each source keeping its share. Both leave a folder: the model, and a card with what was measured before and after. What
is killed goes on from its last checkpoint.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.core import files
from trivium.core.capabilities import require_offers
from trivium.core.errors import BrokenModel
from trivium.core.method import find, settings
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel
from trivium.core.provenance import provenance
from trivium.core.seeds import generator
from trivium.data.batches import Batches, Growing
from trivium.data.corpus import Corpus
from trivium.data.long import long_more
from trivium.data.packing import tokenised
from trivium.models.fingerprint import fingerprint
from trivium.models.lengthening import bits_by_position, lengthen, octaves
from trivium.models.likelihood import bits_per_byte
from trivium.models.sources import store
from trivium.models.system import System
from trivium.models.upscaling import Mode, most_alike, order, similarity, upscale
from trivium.training.loop import train
from trivium.training.record import known_run, note_run
from trivium.training.settings import TrainingSettings

CARD = "growth.json"
"""In the folder: what was made of which model, and how it fared."""

SEEN = 32
"""Held-out documents, or long rows of them, that are looked at before and after."""
ROWS = 16
"""Rows of training text over which the similarity of layers is taken."""


@dataclass(frozen=True)
class Further:
    """How training goes on."""

    steps: int = 200
    """Updates; 0 trains nothing."""
    length: int | None = None
    """Tokens in a row; None for 256, and for the whole new context where that is what is made."""
    batch_size: int = 8
    """Rows in a batch at first."""
    doublings: int = 1
    """How often the batch doubles, each size for an equal share of the steps."""
    learning_rate: float = 1e-4
    """Constant, after a warm-up."""
    long_share: float = 0.5
    """For a longer context: share of the tokens from documents that fill a row, at least."""
    micro_batch: int | None = None
    """Rows of a pass; None takes the batch whole."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("batch_size", 1), ("doublings", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.length is not None and self.length < 2:
            raise ValueError(f"length must be at least 2 tokens, got {self.length}")
        if not 0 <= self.long_share <= 1:
            raise ValueError(f"long_share is a share of the tokens, so 0 to 1; got {self.long_share}")


def deepen(
    system: System,
    sources: Sequence[Corpus],
    folder: str | Path,
    *,
    copies: int | None = None,
    first: int | None = None,
    mode: Mode = "duplicate",
    recipe: Further = Further(),
    bar: Bar | None = None,
) -> dict[str, Any]:
    """Make a deeper model in ``folder``/model and return the card of the folder.

    ``copies``: how many layers in a row to copy, None for half of them; ``first``: where they begin, None for the ones
    that change their input least on the training text. A folder that holds the finished model is left as it is. Raises
    RunMismatch where it holds another one.
    """
    model = system.model
    require_offers("a deeper model", model, ["causal", "layers", "sites", "gradient"])
    count = max(model.depth // 2, 1) if copies is None else copies
    if not 1 <= count <= model.depth:
        raise ValueError(f"copies must be 1 to the {model.depth} layers of {system.name}, got {count}")
    if first is not None:
        order(model.depth, first, first + count)
    documents = [document for source in sources for document in tokenised(source["train"], system.tokenizer)]
    length = _row(model, recipe.length or 256)
    held_out = list(islice((text for source in sources for text in source["validation"]), SEEN))

    def grow() -> tuple[LanguageModel, dict[str, Any]]:
        shown = Batches(documents, length, ROWS, recipe.seed)
        profile = similarity(model, shown.batch(0).split(4))
        start = most_alike(profile, count)[0] if first is None else first
        facts = {"similarity": profile, "first": start, "last": start + count, "depth": model.depth + count}
        return upscale(model, start, start + count, mode), facts

    def examine(one: LanguageModel) -> dict[str, float]:
        return {"bits_per_byte": bits_per_byte(one, held_out, system.tokenizer, length)}

    facts = {"what": "deeper", "copies": count, "begin": first, "mode": mode}
    return _grown(system, sources, folder, facts, grow, examine, documents, length, recipe, bar)


def widen_context(
    system: System,
    sources: Sequence[Corpus],
    folder: str | Path,
    *,
    context: int,
    base: float | None = None,
    factor: float = 1.0,
    recipe: Further = Further(),
    bar: Bar | None = None,
) -> dict[str, Any]:
    """Make a model for ``context`` tokens in ``folder``/model and return the card of the folder, with bits by position.

    ``base`` and ``factor`` as ``models.lengthening.lengthen`` takes them. Raises ValueError where no held-out document
    is as long as a row: places in rows of short documents say nothing about a long context.
    """
    model = system.model
    require_offers("a longer context", model, ["causal", "gradient"])
    length = recipe.length or context
    if length > context:
        raise ValueError(f"rows of {length} tokens are longer than the context of {context}")
    texts = [tokenised(source["train"], system.tokenizer) for source in sources]
    documents = long_more(texts, length, recipe.long_share, generator(recipe.seed, "long documents"))
    rows = _long_rows(sources, system, length)

    def grow() -> tuple[LanguageModel, dict[str, Any]]:
        return lengthen(model, context, base=base, factor=factor), {"context": context}

    def examine(one: LanguageModel) -> dict[str, float]:
        return {f"bits at {places}": bits for places, bits in octaves(bits_by_position(one, rows)).items()}

    facts = {"what": "longer", "context": context, "base": base, "factor": factor}
    return _grown(system, sources, folder, facts, grow, examine, documents, length, recipe, bar)


def growth_card(folder: str | Path) -> dict[str, Any]:
    """What a folder says of the model in it."""
    path = Path(folder) / CARD
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BrokenModel(f"{path} cannot be read ({error}); make the model again") from error


def _row(model: LanguageModel, length: int) -> int:
    """A row that the model has positions for."""
    return length if model.max_positions is None else min(length, model.max_positions)


def _long_rows(sources: Sequence[Corpus], system: System, length: int) -> Tensor:
    """(rows, length): the beginnings of held-out documents that are long enough."""
    held_out = [ids for source in sources for ids in tokenised(source["validation"], system.tokenizer)]
    long = [ids[:length] for ids in held_out if len(ids) >= length][:SEEN]
    if not long:
        raise ValueError(
            f"no held-out document has {length} tokens, the longest has {max(map(len, held_out))}; give longer texts, "
            "or lower length"
        )
    return torch.tensor(long)


def _grown(
    system: System,
    sources: Sequence[Corpus],
    folder: str | Path,
    facts: dict[str, Any],
    grow: Callable[[], tuple[LanguageModel, dict[str, Any]]],
    examine: Callable[[LanguageModel], dict[str, float]],
    documents: Sequence[Sequence[int]],
    length: int,
    recipe: Further,
    bar: Bar | None,
) -> dict[str, Any]:
    home = Path(folder)
    facts = {
        **facts,
        "model": {"name": system.name, "sha256": fingerprint(system.model)},
        "sources": {source.name: source.sha256 for source in sources},
        "recipe": settings(recipe),
    }
    with files.locked(home):
        known = known_run(home, facts)
        if (home / CARD).is_file():
            return growth_card(home)
        grown, found = grow()  # before anything is noted: what cannot be grown leaves the folder free
        if known is None:
            note_run(home, facts)
        found |= {"parameters": sum(parameter.numel() for parameter in grown.parameters()), "before": examine(grown)}
        if recipe.steps:
            found |= _trained(grown, documents, length, recipe, examine, home / "training", bar)
        store(replace(system, model=grown.eval(), fingerprint=""), home / "model")
        card = {**facts, **found, "provenance": provenance()}
        files.write(home / CARD, json.dumps(card, indent=1) + "\n")
    return card


def _trained(
    model: LanguageModel,
    documents: Sequence[Sequence[int]],
    length: int,
    recipe: Further,
    examine: Callable[[LanguageModel], dict[str, float]],
    folder: Path,
    bar: Bar | None,
) -> dict[str, Any]:
    sizes = tuple(recipe.batch_size * 2**number for number in range(recipe.doublings + 1))
    batches = Growing(Batches(documents, length, 1, recipe.seed), sizes, recipe.steps)
    training = TrainingSettings(
        steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        schedule="constant",
        micro_batch=recipe.micro_batch,
        checkpoint_every=50,
        keep=1,
        seed=recipe.seed,
    )
    causal = find("objectives", "causal")()
    result = train(model, causal, batches, training, folder=folder, evaluate=examine, bar=bar)
    if result.diverged:
        raise ValueError(f"the training diverged ({result.diverged}); lower learning_rate and use another folder")
    return {"after": result.evaluation, "steps": result.steps, "spent": result.spent.to_dict()}
