"""Suites: comparisons that ship. A name stands for contenders, task, budget, seeds, and the tables of the report."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from trivium.compare import peers
from trivium.compare.holes import explainers_of
from trivium.core.errors import BrokenModel, UnknownName, did_you_mean
from trivium.core.method import find, names

Contenders = dict[str, Any]
"""What a report calls each contender -> the contender; the baseline first."""


@dataclass(frozen=True)
class Shown:
    """Tables by group of examples: a measure's ratio to some contenders, the bound on it, and further measures."""

    ratio: str
    against: tuple[str, ...]
    """Contenders by their label; the first is the one that the bound is about."""
    bound: str
    columns: tuple[str, ...]
    levels: str
    """A measure that there is of each depth of a draft: values named 'levels_1', 'levels_2' and so on."""


@dataclass(frozen=True)
class Suite:
    """What ``trivium compare KIND --suite NAME`` compares."""

    kind: str
    title: str
    contenders: Callable[[Sequence[Path], str, str], Contenders]
    """Folders of drafters, and dtype and device of the model -> contenders."""
    task: str
    """Empty for the kind's own."""
    budget: str
    seeds: int
    shown: Shown | None = None
    scales: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()
    """Learning rates that each contender tries besides the training's own."""
    trial_share: float | None = None
    """Share of the budget that each of these trials has."""
    training: str = ""
    """What stays fixed where models are trained, where nothing else is given."""


def suite(kind: str, name: str) -> Suite:
    """A suite by its name. Raises UnknownName for one that there is not, or not for this kind."""
    known = [word for word, entry in SUITES.items() if entry.kind == kind]
    if name not in known:
        raise UnknownName(f"no suite of {kind} is called {name!r}{did_you_mean(name, known)}")
    return SUITES[name]


def lossless(folders: Sequence[Path], dtype: str, device: str = "cpu") -> Contenders:
    """Plain greedy; every drafter without trained parts, and those of the folders; greedy decoding by transformers,
    with its prompt lookup and, where a folder holds a draft model, assisted by it."""
    found: Contenders = {"greedy": find("decoding", "greedy")()}
    speculative = find("decoding", "speculative")
    drafts = [made_of(folder) for folder in folders]
    for label, drafter in _drafters(drafts):
        found[label] = speculative(drafter=drafter)
    found["transformers"] = peers.TransformersGreedy()
    found["transformers, lookup"] = peers.TransformersPromptLookup()
    models = [folder for folder, what in drafts if what is None]
    for folder in models:
        label = "transformers, assisted" if len(models) == 1 else f"transformers, assisted ({folder.name})"
        found[label] = peers.TransformersAssisted(str(folder), dtype=dtype, device=device)
    return found


WRITERS = (
    "greedy", "sampling", "top_k", "top_p", "min_p", "typical_sampling", "eta_sampling", "mirostat",
    "contrastive_search", "beam_search", "dola", "skip_decode",
)  # fmt: skip
"""Decoders of the quality suite that need nothing but the model."""


def quality(folders: Sequence[Path], dtype: str, device: str = "cpu") -> Contenders:
    """Plain decoders with their defaults, one of each family; what trades exactness for speed, with the drafters of the
    folders where it takes some."""
    found: Contenders = {name: find("decoding", name)() for name in WRITERS}
    speculative = find("decoding", "speculative")
    found["typical acceptance"] = speculative(verifier="typical", of=find("decoding", "sampling")())
    for folder, what in map(made_of, folders):
        if what is None:
            for name in ("bild", "ead"):
                found[f"{name} ({folder.name})"] = find("decoding", name)(small=str(folder))
        else:
            heads = find("drafting", what)(folder=str(folder))
            found[f"typical acceptance, {what} ({folder.name})"] = speculative(
                drafter=heads, verifier="typical", of=find("decoding", "sampling")()
            )
    return found


def reagent_paper(folders: Sequence[Path], dtype: str, device: str = "cpu") -> Contenders:
    """ReAGent and its seven baselines as their paper runs them, and before all what the comparison is against."""
    return {"gradient x input, ours": find("attribution", "gradient_times_input")(), **explainers_of("reagent-paper")}


def made_of(folder: Path) -> tuple[Path, str | None]:
    """A folder and the drafter that was trained into it; None for a draft model. Both say so in a file of their own.

    Raises BrokenModel for a folder that is neither.
    """
    card = folder / "card.json"
    if (folder / "draft.json").is_file():
        return folder, None
    try:
        kind, _, name = str(json.loads(card.read_text(encoding="utf-8"))["method"]).partition("/")
    except FileNotFoundError:
        raise BrokenModel(
            f"{folder} holds neither card.json nor draft.json; --drafts takes folders that `trivium draft train` or "
            "`trivium draft make` wrote"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenModel(f"{card} does not name a method ({error}); train the drafter again") from error
    if kind != "drafting" or name not in names("drafting"):
        raise BrokenModel(f"{card} names {kind}/{name}, which is no drafter of this version; train it again")
    return folder, name


JOINED = ("medusa", "chimera")
"""Drafters with a folder that are tried joined with prompt lookup too."""


def _drafters(drafts: Sequence[tuple[Path, str | None]]) -> Iterator[tuple[str, Any]]:
    """Each drafter with what it needs, labelled: those that run a model once per draft model, trained ones once per
    folder of theirs, the others with their defaults."""
    for name in names("drafting"):
        cls = find("drafting", name)
        own = {field.name for field in fields(cls)}
        where = "folder" if "folder" in own else "model" if "model" in own else None
        if where is None:
            yield name, cls()
            continue
        fitting = [folder for folder, what in drafts if what == (name if where == "folder" else None)]
        for folder in fitting:
            label, made = name if len(fitting) == 1 else f"{name} ({folder.name})", cls(**{where: str(folder)})
            yield label, made
            if name in JOINED:
                yield f"joined, {label}", find("drafting", "joined")(then=made)


DECODERS = (
    "llama", "gpt", "quasi_lstm", "transnormer", "h3", "based", "pangu", "polycom", "softplus_attention", "ngram_heads",
    "mixture_of_experts", "lexinvariant", "hierarchical", "word_pooled",
)  # fmt: skip
"""Architectures that write from left to right."""


def decoders(folders: Sequence[Path], dtype: str, device: str = "cpu") -> Contenders:
    """Every decoder-only architecture with its defaults."""
    return {name: find("architectures", name)() for name in DECODERS}


SUITES: Mapping[str, Suite] = {
    "decoders": Suite(
        kind="architectures",
        title="Decoder-only architectures at equal compute",
        contenders=decoders,
        task="",
        budget="2e11 flops",
        seeds=3,
        scales=(0.25, 0.5),
        # Small batches, for many updates; whole trials, since in short ones attention prefers rates that later fail.
        rates=(2.5e-3, 6.3e-3, 1.6e-2),
        trial_share=1.0,
        training="training(batch_size=4)",
    ),
    "lossless": Suite(
        kind="decoding",
        title="Lossless decoding: how fast?",
        contenders=lossless,
        task="speed(count=4, warmups=1)",
        budget="64 new_tokens",
        seeds=1,
        shown=Shown(
            ratio="speed",
            against=("greedy", "transformers", "transformers, lookup", "transformers, assisted"),
            bound="bound",
            columns=(
                "tau", "acceptance", "independent", "by_depth", "width", "pass_cost", "draft_cost", "target_passes",
                "target_positions", "draft_passes", "draft_positions", "cache_bytes", "parameters", "prefill",
                "agreement", "first_difference", "gap", "natural_tokens", "natural_speed",
            ),
            levels="acceptance",
        ),
    ),
    "quality": Suite(
        kind="decoding",
        title="Decoding: how good?",
        contenders=quality,
        task="quality(passages=24)",
        budget="48 new_tokens",
        seeds=1,
    ),
    "reagent-paper": Suite(
        kind="attribution",
        title="Explainers as the paper of ReAGent runs them",
        contenders=reagent_paper,
        task="faithfulness(distance='reference', control='uniform')",
        budget="18002 evaluations",
        seeds=1,
    ),
}  # fmt: skip
