"""A draft for any pretrained model: fewer of its own layers, taught on text that the model itself writes.

The target writes batches of text from built-in openings, and its likeliest next tokens are noted on the way, so that
teaching needs no further pass of it. The draft starts as a few of the target's own blocks between its own embedding
and head, which stay as they are, and learns the noted distributions in the one training loop. Both parts go on where
they stopped when they are started again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.core import files
from trivium.core.capabilities import require_offers
from trivium.core.errors import BrokenModel, NotFinite, NotOffered, RunMismatch
from trivium.core.method import find
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel
from trivium.core.provenance import provenance
from trivium.core.seeds import generator
from trivium.data.openings import Opening, openings
from trivium.data.teaching import AnsweredTexts, Answers
from trivium.models.cutting import cut, spread
from trivium.models.huggingface import HuggingFaceModel
from trivium.models.sources import load
from trivium.models.system import System, same_vocabulary
from trivium.training.loop import train
from trivium.training.record import known_run, note_run
from trivium.training.settings import TrainingSettings

CARD = "draft.json"
"""In a draft's folder: which target it was made for, from which layers, and how well it agrees."""

ROWS = 32
"""Texts that are written side by side."""


@dataclass(frozen=True)
class Recipe:
    """How much a draft is taught. The defaults take SmolLM2-135M about 20 minutes on two cores."""

    tokens: int = 64_000
    """Tokens that the target writes."""
    length: int = 128
    """Tokens of each text, beside what it goes on from."""
    temperature: float = 0.7
    """At which the target writes; 0 is greedy."""
    top: int = 64
    """Of the target's distribution so many likeliest tokens are noted, and the mass of the rest."""
    epochs: int = 8
    """How often each text is seen."""
    batch_size: int = 16
    """Texts in a training batch."""
    learning_rate: float = 1e-3
    """The peak."""
    held_out: float = 0.05
    """Share of the texts on which the draft is examined and not trained."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("tokens", "length", "top", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.temperature < 0:
            raise ValueError(f"temperature must be at least 0, got {self.temperature}; 0 is greedy")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out is a share above 0 and below 1, got {self.held_out}")


def make_draft(
    system: System,
    *,
    folder: str | Path,
    layers: int = 4,
    keep: Sequence[int] | None = None,
    start: System | None = None,
    write_from: Sequence[Opening] | None = None,
    recipe: Recipe = Recipe(),
    bar: Bar | None = None,
) -> dict[str, Any]:
    """Make a small model with the target's vocabulary in ``folder``, which ``load`` opens; returns its card.

    ``layers``: how many blocks of the target it has, evenly spaced; ``keep`` names them instead. ``start`` is a small
    model to begin with instead, such as one that is to be aligned with the target on the texts of a task.
    ``write_from`` are the beginnings of the texts to learn from, instead of the built-in ones.

    A folder that holds the finished draft is left as it is; one that holds part of it is gone on with. Raises
    RunMismatch where it holds another draft, NotOffered for a target that is no Hugging Face model. With a target in
    bfloat16, faster where the processor has it, the products of the draft's training are in bfloat16 too.
    """
    home, target = Path(folder), system.model
    require_offers("make_draft", target, ["causal", "state"])
    if not isinstance(target, HuggingFaceModel):
        raise NotOffered(f"a draft is made for a pretrained model; {system.name} is a native one: train a smaller one")
    if start is not None:
        same_vocabulary(system, start)
        draft, kept = _copy(start), []
    else:
        kept = list(spread(target.depth, layers) if keep is None else keep)
        if len(kept) >= target.depth:
            raise ValueError(f"a draft has fewer layers than the {target.depth} of its target, got {len(kept)}")
        draft = cut(target, kept)
    beginnings = _beginnings(recipe, write_from)
    facts = {
        "target": {"name": system.name, "fingerprint": system.fingerprint or _in_memory(target)},
        "start": None if start is None else start.fingerprint or _in_memory(start.model),
        "layers": kept,
        "depth": target.depth,
        "recipe": vars(recipe),
        "openings": files.sha256("\x1f".join(f"{one.chat}{one.text}" for one in beginnings).encode()),
    }
    with files.locked(home):
        if known_run(home, facts) is None:
            note_run(home, facts)
        if (home / CARD).is_file():
            return draft_card(home)
        total = 0.0 if bar is None else bar.total
        half = None if bar is None else replace(bar, total=total / 2, done=0.0)
        lessons = _written(system, beginnings, recipe, home / "text", half)
        half = None if bar is None else replace(bar, total=total / 2, done=0.0)
        found = _taught(
            draft.float(), lessons, recipe, home / "training", half, half_precision=target.dtype == torch.bfloat16
        )
        _save(draft, system, home)
        same_vocabulary(system, load(home))
        card = {**facts, **found, "provenance": provenance()}
        files.write(home / CARD, json.dumps(card, indent=1) + "\n")
    return card


def draft_card(folder: str | Path) -> dict[str, Any]:
    """What a draft's folder says of it."""
    path = Path(folder) / CARD
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BrokenModel(f"{path} cannot be read ({error}); make the draft again") from error


def check_made_for(folder: str | Path, system: System) -> None:
    """Raise RunMismatch unless the draft in ``folder`` was made for this very model."""
    made_for = draft_card(folder)["target"]
    own = system.fingerprint or _in_memory(system.model)
    if made_for["fingerprint"] != own:
        raise RunMismatch(
            f"the draft in {folder} was made for {made_for['name']} ({made_for['fingerprint'][:12]}), not for "
            f"{system.name} ({own[:12]}); make one for it with make_draft"
        )


def _in_memory(model: LanguageModel) -> str:
    """A fingerprint for a model that has no files."""
    sums = [f"{name} {tuple(p.shape)} {p.detach().double().sum():.17g}" for name, p in model.named_parameters()]
    return files.sha256("\n".join(sums).encode())


def _copy(system: System) -> HuggingFaceModel:
    if not isinstance(system.model, HuggingFaceModel):
        raise NotOffered(f"{system.name} is a native model; only pretrained ones are aligned")
    return cut(system.model, range(system.model.depth))


def _beginnings(recipe: Recipe, given: Sequence[Opening] | None) -> list[Opening]:
    """As many beginnings as there are texts to write, whole batches of them."""
    texts = max(-(-recipe.tokens // (recipe.length * ROWS)), 2) * ROWS
    if given is None:
        return list(openings(texts, recipe.seed))
    if not given:
        raise ValueError("write_from holds no beginning; give at least one, or None for the built-in ones")
    return [given[at % len(given)] for at in range(texts)]  # drawn from, no two texts of one beginning are the same


# --- the target writes ------------------------------------------------------------------------------------------


def _written(
    system: System, beginnings: Sequence[Opening], recipe: Recipe, folder: Path, bar: Bar | None
) -> list[Answers]:
    """Texts and the target's view of them, a file per batch; what is there already is read."""
    prompts = [system.prompt(system.chat(one.text) if one.chat else one.text)[0] for one in beginnings]
    limit = system.model.max_positions
    longest = max(map(len, prompts)) + recipe.length
    if limit is not None and longest > limit:
        raise ValueError(f"texts of {longest} tokens exceed the {limit} positions of {system.name}; lower length")
    order = sorted(range(len(prompts)), key=lambda at: (len(prompts[at]), at))  # batches with little padding
    lessons, share = [], 0.0 if bar is None else bar.total * ROWS / len(prompts)
    for number, first in enumerate(range(0, len(prompts), ROWS)):
        path = folder / f"lesson-{number:05d}.safetensors"
        if not path.is_file():
            rows = [prompts[at] for at in order[first : first + ROWS]]
            draws = generator(recipe.seed, "lesson", number, device=system.model.device)
            _write(system, rows, recipe, draws).save(path)
        lessons.append(Answers.load(path))
        if bar is not None:
            bar.advance(share, note=f"{system.name} writes text {first + ROWS} of {len(prompts)}")
    return lessons


def _write(system: System, prompts: Sequence[Tensor], recipe: Recipe, draws: torch.Generator) -> Answers:
    """One batch. Rows go on behind their end, so that the batch stays whole; what stands there is masked."""
    model, width = system.model, max(map(len, prompts))
    ids = torch.stack([torch.nn.functional.pad(row, (width - len(row), 0)) for row in prompts])
    mask = torch.stack([torch.arange(width) >= width - len(row) for row in prompts])
    ends = torch.tensor(system.stop.tokens, dtype=torch.int64, device=ids.device)
    going = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    texts, real, tokens, logprobs = [ids], [mask.to(ids.device)], [], []
    with torch.inference_mode():
        out = model(ids, mask=real[0], keep_state=True, logits_to_keep=1)
        for place in range(recipe.length):
            logits = out.logits[:, -1]
            logp = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)  # (rows, vocab)
            if not logp.isfinite().all():
                raise NotFinite(f"{system.name} gave logits that are not finite after {width + place} columns")
            best = logp.topk(min(recipe.top, model.vocab_size))
            tokens.append(best.indices)
            logprobs.append(best.values)
            if recipe.temperature == 0:
                chosen = logp.argmax(-1)
            else:
                chosen = torch.multinomial((logp / recipe.temperature).softmax(-1), 1, generator=draws)[:, 0]
            texts.append(chosen[:, None])
            real.append(going[:, None])
            going = going & ~torch.isin(chosen, ends)
            if not going.any() or place + 1 == recipe.length:
                break
            out = model(chosen[:, None], state=out.state, keep_state=True)
    text = torch.cat(texts, 1).cpu()
    return Answers(
        text, torch.cat(real, 1).cpu(), torch.stack(tokens, 1).cpu(), torch.stack(logprobs, 1).cpu(), width - 1
    )


# --- the draft learns -------------------------------------------------------------------------------------------


def _taught(
    draft: HuggingFaceModel,
    lessons: Sequence[Answers],
    recipe: Recipe,
    folder: Path,
    bar: Bar | None,
    half_precision: bool,
) -> dict[str, Any]:
    """Train the blocks and the last norm; embedding and head, which few texts would wear off, stay the target's."""
    apart = max(1, round(recipe.held_out * len(lessons)))
    order = torch.randperm(len(lessons), generator=generator(recipe.seed, "held out")).tolist()
    held_out = AnsweredTexts([lessons[at] for at in order[:apart]], recipe.batch_size, name="the held-out texts")
    rest = AnsweredTexts([lessons[at] for at in sorted(order[apart:])], recipe.batch_size, recipe.seed)
    frozen = [*draft.parts.embedding.parameters(), *draft.parts.head.parameters()]
    for parameter in frozen:
        parameter.requires_grad_(False)
    settings = TrainingSettings(
        steps=recipe.epochs * len(rest.parts),
        learning_rate=recipe.learning_rate,
        micro_batch=4,
        precision="bfloat16" if half_precision else "float32",
        checkpoint_every=50,
        keep=1,
        seed=recipe.seed,
    )
    before = examine(draft, held_out)
    objective = find("objectives", "distillation")(teacher=rest, alpha=1.0, temperature=1.0)
    result = train(
        draft,
        objective,
        rest,
        settings,
        folder=folder,
        evaluate=lambda model: examine(model, held_out),
        bar=bar,
    )
    for parameter in frozen:
        parameter.requires_grad_(True)
    if result.diverged:
        raise ValueError(f"the draft diverged ({result.diverged}); lower recipe.learning_rate and use another folder")
    draft.eval()
    return {"before": before, "after": result.evaluation, "steps": result.steps, "spent": result.spent.to_dict()}


@torch.no_grad()
def examine(model: LanguageModel, lessons: AnsweredTexts) -> dict[str, float]:
    """How well a draft knows its target on texts that the target wrote.

    agreement: share of positions at which the likeliest tokens are the same; overlap: mean of sum_v min(p(v), q(v))
    over the noted tokens, a lower bound on the chance that a drafted token is accepted.
    """
    same = overlap = count = 0.0
    for batch in lessons:
        said = lessons(batch)
        asked = said.known.clone()
        if batch.mask is not None:  # a position counts where the token after it does
            asked[:, :-1] &= batch.mask[:, 1:]
        logits = model(
            batch.ids.to(model.device), mask=None if batch.mask is None else batch.mask.to(model.device)
        ).logits
        logq = logits.float().log_softmax(-1)[asked.to(logits.device)].cpu()  # (positions, vocab)
        tokens, logp = said.tokens[asked], said.logprobs[asked]
        same += float((logq.argmax(-1) == tokens[:, 0]).sum())
        overlap += float(torch.minimum(logp, logq.gather(1, tokens)).exp().sum())
        count += len(tokens)
    return {"agreement": same / count, "overlap": overlap / count}


def _save(draft: HuggingFaceModel, system: System, folder: Path) -> None:
    draft.inner.save_pretrained(folder)
    tokenizer: Any = system.tokenizer
    tokenizer.save(folder)
