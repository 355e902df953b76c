"""Attribution of a prompt of 64 tokens, or others, against Captum and Inseq on the same weights: speeds.

Each method that two sides share is run with the same settings and must first give the same scores in double precision,
within 1e-4 of the largest; then all are timed in float32. Captum explains the very module that we run, through the
forward function of its tutorials; a second figure is of a forward function that leaves out the logits nobody asks for.
Inseq wants packages of its own, so ``--inseq`` names the Python of an environment that has it, and its process explains
a copy of the same weights. All sides go over path points and occluded prompts in rows of one batch size. The last
figure is what it costs to look inside a pass.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benchmarks._worker import worker
from benchmarks.pairs import in_turns, processor, ratio_of
from trivium.attribution.gradient_norm import GradientNorm
from trivium.attribution.gradient_times_input import GradientTimesInput
from trivium.attribution.integrated_gradients import IntegratedGradients
from trivium.attribution.occlusion import Occlusion
from trivium.core.nouns import Target
from trivium.core.protocols import Explainer
from trivium.models.huggingface import HuggingFaceModel
from trivium.models.sources import load
from trivium.models.system import System
from trivium.tokenization.huggingface import HuggingFaceTokenizer

TOKENS, POINTS, ROWS = 64, 32, 8
"""Of the prompt; on the path of integrated gradients, by default; inputs to a pass."""
NEUTRAL = 0
"""Token whose embedding is the baseline: the one that Inseq takes, which is the tokenizer's unknown one."""
TEXT = (
    "The expedition left the harbour of Lisbon in the spring of 1519 with five ships and about two hundred and seventy "
    "men. After a winter in Patagonia, a mutiny and the loss of one ship, it found the strait that leads to the "
    "Pacific Ocean and crossed it in three months, during which many of the crew fell ill from hunger. On the islands "
    "at the other side its captain took part in a war that was not his own and was killed. Those who were left burnt "
    "one of the ships, which they could no longer man, and looked for the islands of the spices, where they bought as "
    "many cloves as two ships would hold. One of these leaked and stayed behind; the other sailed home around Africa, "
    "far from every coast, because the ports belonged to the enemy. After three years it came back to Spain with "
    "eighteen men, and when they counted the days they found that they had lost one on the way. The cloves were sold "
    "for more than the whole expedition had cost, but the sailors waited for their wages for years."
)
ALIKE = 1e-4
"""Of the largest score, in double precision: Captum keeps the nodes of integrals in single precision."""
ROUGH = {("integrated_gradients", "Inseq"): 1e-3}
"""The module that Inseq loads reckons its norms in single precision whatever the weights are in, and near the baseline,
where all embeddings are one, the gradients of this model are so steep that it shows."""

Body = Callable[[], Tensor]
Elsewhere = Callable[[str, dict[str, Any], str], Tensor]
"""Inseq's method, its settings, and the precision of the weights -> scores."""


@dataclass(frozen=True)
class Asked:
    """What all sides explain."""

    system: System
    ids: Tensor
    target: Target
    points: int

    @property
    def inner(self) -> Any:
        model = self.system.model
        if not isinstance(model, HuggingFaceModel) or not isinstance(self.system.tokenizer, HuggingFaceTokenizer):
            raise TypeError(f"{self.system.name} is no Hugging Face model, so the peers have nothing to run")
        return model.inner


def ours(points: int) -> dict[str, Explainer]:
    """What is timed."""
    return {
        "gradient_norm": GradientNorm(),
        "gradient_times_input": GradientTimesInput(),
        "integrated_gradients": IntegratedGradients(steps=points, baseline=NEUTRAL, batch_size=ROWS),
        "occlusion": Occlusion(NEUTRAL, batch_size=ROWS),
    }


def inseqs(points: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """What Inseq calls it, and its settings."""
    return {
        "gradient_norm": ("saliency", {"abs": False}),
        "gradient_times_input": ("input_x_gradient", {}),
        "integrated_gradients": ("integrated_gradients", {"n_steps": points, "internal_batch_size": ROWS}),
    }


def run(
    model: str = "smollm2-135m",
    *,
    inseq: str | None = None,
    tokens: int = TOKENS,
    points: int = POINTS,
    repeats: int = 5,
) -> dict[str, Any]:
    """``inseq``: the Python of an environment that has it; its figures are left out without. ``tokens`` of the prompt;
    ``points`` on the path of integrated gradients."""
    for name, least, given in (("tokens", 2, tokens), ("points", 1, points), ("repeats", 1, repeats)):
        if given < least:
            raise ValueError(f"{name} must be at least {least}, got {given}")
    logging.getLogger("trivium").setLevel(logging.ERROR)  # that 32 points do not converge is no news here
    exact, asked = (_asked(load(model, dtype=dtype), tokens, points) for dtype in ("float64", "float32"))
    rows: list[dict[str, Any]] = []
    notes = [processor(), f"one answer after {tokens} tokens; {points} path points, {ROWS} rows to a pass"]
    with _inseq(asked, inseq) as elsewhere:
        for name, explainer in ours(points).items():
            checked = _sides(name, explainer, exact, elsewhere, "float64")
            apart = _apart(name, {side: body() for side, body in checked.items()})
            bodies = _sides(name, explainer, asked, elsewhere, "float32")
            bodies["Captum, last logits"] = _captum(name, asked, last=True)
            took = in_turns(bodies, repeats=repeats)
            for peer in list(bodies)[1:]:
                target = None if peer == "Captum, last logits" else 1.5
                rows.append(ratio_of(f"{name} / {peer}", took["trivium"], took[peer], target))
            worst = ", ".join(f"{gap:.1e} from {peer}" for peer, gap in apart.items())
            notes.append(f"{name}: scores at most {worst}, as shares of the largest, in double precision")
    rows.append(_watching(asked, repeats))
    notes.append("capture: a forward pass with every block's output captured against one without; 0.9 is 10 % more")
    return {"rows": rows, "notes": notes}


def _sides(name: str, explainer: Explainer, asked: Asked, elsewhere: Elsewhere | None, dtype: str) -> dict[str, Body]:
    bodies: dict[str, Body] = {"trivium": partial(_ours, explainer, asked), "Captum": _captum(name, asked)}
    if elsewhere is not None and name in inseqs(asked.points):
        bodies["Inseq"] = partial(elsewhere, *inseqs(asked.points)[name], dtype)
    return bodies


def _asked(system: System, tokens: int = TOKENS, points: int = POINTS) -> Asked:
    """So many tokens that are cut the same when they are read back, and the one that follows."""
    ids = system.prompt(TEXT)[0]
    if tokens >= len(ids):
        raise ValueError(f"the text has {len(ids)} tokens of {system.name}, so ask for at most {len(ids) - 1}")
    if system.tokenizer.encode(system.tokenizer.decode(ids[:tokens].tolist())) != ids[:tokens].tolist():
        raise ValueError(
            f"the first {tokens} tokens of the text are not those of {system.name} alone; try other tokens"
        )
    return Asked(system, ids[:tokens], Target(int(ids[tokens]), objective="logit"), points)


def _ours(explainer: Explainer, asked: Asked) -> Tensor:
    return explainer(asked.system.model, asked.ids, asked.target, generator=torch.Generator()).scores


def _captum(name: str, asked: Asked, *, last: bool = False) -> Body:
    """Captum's own class around the same module; ``last``: logits of the last place only."""
    attr: Any = import_module("captum.attr")
    inner, system = asked.inner, asked.system
    keeping: dict[str, Any] = {"logits_to_keep": 1} if last else {}
    table = inner.get_input_embeddings().weight

    def forward(embeds: Tensor) -> Tensor:
        logits = inner(inputs_embeds=embeds, use_cache=False, **keeping).logits[:, -1]
        return logits[:, asked.target.token]

    def body() -> Tensor:
        embeds = table[asked.ids][None].detach()
        base = table[NEUTRAL].detach().expand_as(embeds).contiguous()
        if name == "gradient_norm":
            return attr.Saliency(forward).attribute(embeds.requires_grad_(), abs=False)[0].norm(dim=-1)
        if name == "gradient_times_input":
            return attr.InputXGradient(forward).attribute(embeds.requires_grad_())[0].sum(-1).detach()
        if name == "integrated_gradients":
            method = attr.IntegratedGradients(forward)
            made = method.attribute(
                embeds, base, n_steps=asked.points, method="gausslegendre", internal_batch_size=ROWS
            )
            return made[0].sum(-1).detach()
        mask = torch.arange(len(asked.ids))[None, :, None].expand_as(embeds)
        with torch.no_grad():
            made = attr.FeatureAblation(forward).attribute(embeds, base, feature_mask=mask, perturbations_per_eval=ROWS)
        return made[0, :, 0]

    if not isinstance(system.model, HuggingFaceModel):
        raise TypeError(f"{system.name} is no Hugging Face model")
    return body


def _apart(name: str, found: dict[str, Tensor]) -> dict[str, float]:
    """Of each peer the largest difference to ours, as a share of our largest score. Raises RuntimeError beyond what
    rounding explains: the sides must do the same thing."""
    ours = found.pop("trivium")
    gaps = {peer: float((scores - ours).abs().max() / ours.abs().max()) for peer, scores in found.items()}
    for peer, gap in gaps.items():
        if not gap <= ROUGH.get((name, peer), ALIKE):
            raise RuntimeError(f"{name}: scores of {peer} are {gap:.1e} of the largest from ours; the two differ")
    return gaps


def _watching(asked: Asked, repeats: int) -> dict[str, Any]:
    """A pass in which the output of every block is captured, against one without."""
    model = asked.system.model
    names = [f"blocks.{layer}.out" for layer in range(model.depth)]

    def plain() -> None:
        with torch.no_grad():
            for _ in range(5):
                model(asked.ids[None], logits_to_keep=1)

    def watched() -> None:
        with torch.no_grad():
            for _ in range(5):
                with model.capture(*names):
                    model(asked.ids[None], logits_to_keep=1)

    took = in_turns({"watched": watched, "plain": plain}, repeats=2 * repeats)
    return ratio_of("capture / a plain pass", took["watched"], took["plain"], 0.9)


@contextmanager
def _inseq(asked: Asked, python: str | None) -> Iterator[Elsewhere | None]:
    """A process that holds Inseq's models and explains when told to."""
    if python is None:
        yield None
        return
    tokenizer = asked.system.tokenizer
    with tempfile.TemporaryDirectory() as folder:
        asked.inner.save_pretrained(folder)
        tokenizer.save(folder)  # type: ignore[attr-defined]
        said = {
            "threads": torch.get_num_threads(), "folder": folder, "time": len(asked.ids), "objective": "logit",
            "prompt": tokenizer.decode(asked.ids.tolist()), "answer": tokenizer.decode([asked.target.tokens[0]]),
        }  # fmt: skip
        with worker(python, "_inseq.py", said) as ask:

            def explain(method: str, settings: dict[str, Any], dtype: str) -> Tensor:
                found = ask(json.dumps({"method": method, "settings": settings, "dtype": dtype}))
                return torch.tensor(found["scores"], dtype=torch.float64)

            yield explain
