"""How faithful scores of a prompt's tokens are to a model: every measure of ``nn.faithfulness``, with its control."""

import math
from typing import Literal

import torch
from torch import Tensor

from trivium.core.capabilities import require_offers
from trivium.core.protocols import LanguageModel
from trivium.nn import faithfulness as measured
from trivium.nn.modes import evaluating

NAMES = {
    "soft_nc": "Soft comprehensiveness",
    "soft_ns": "Soft sufficiency",
    "hard_nc_zero": "Comprehensiveness, tokens zeroed",
    "hard_ns_zero": "Sufficiency, tokens zeroed",
    "hard_nc_replace": "Comprehensiveness, tokens replaced",
    "hard_ns_replace": "Sufficiency, tokens replaced",
}


def faithfulness(
    model: LanguageModel,
    ids: Tensor,
    scores: Tensor,
    *,
    generator: torch.Generator,
    answer: tuple[int, ...] = (),
    frozen: Tensor | None = None,
    draws: int = 8,
    hard_draws: int = 2,
    weights: measured.Weights = "magnitude",
    rescale: Literal["sum", "max"] = "sum",
    distance: measured.Distance = "hellinger",
    control: measured.Control = "permuted",
    batch_size: int = 32,
) -> dict[str, measured.Faithfulness]:
    """The measures by their ``NAMES``, of scores (time,) of the prompt ``ids`` (time,).

    The distribution that is watched is that of the next token; of an ``answer`` of several tokens, those at each of
    them, the ones before being in place, counted alike (squared distances are averaged). ``frozen`` (time,) bool:
    positions that are never touched. Raises NotOffered for a model that takes no embeddings, ValueError where nothing
    can be removed or removing all changes nothing.
    """
    require_offers("faithfulness", model, ["causal", "embeds"])
    frozen = torch.zeros(len(ids), dtype=torch.bool) if frozen is None else frozen.cpu()
    importances = measured.importance(scores.detach().cpu(), weights=weights, rescale=rescale, frozen=frozen)
    ids, places = ids.to(model.device), max(len(answer), 1)

    def embedded(rows: Tensor) -> Tensor:
        with torch.no_grad():
            return model.embed(rows.to(model.device)).detach()

    so_far = embedded(torch.tensor([answer[:-1]])) if places > 1 else None

    def distribution(embeds: Tensor) -> Tensor:
        if so_far is not None:
            embeds = torch.cat([embeds, so_far.to(embeds.dtype).expand(len(embeds), -1, -1)], 1)
        logits = model(embeds=embeds, logits_to_keep=places).logits[:, -places:]
        return (logits.double().log_softmax(-1) - math.log(places)).flatten(1)  # sums to 1 over all the places

    strangers = torch.randint(model.vocab_size, (hard_draws, len(ids)), generator=generator)
    embeds = embedded(ids[None])[0]
    with evaluating(model):
        found = measured.soft(
            distribution,
            embeds,
            importances,
            draws=draws,
            generator=generator,
            distance=distance,
            control=control,
            frozen=frozen,
            batch_size=batch_size,
        )
        for how, fills in (("zero", torch.zeros_like(embeds)[None]), ("replace", embedded(strangers))):
            made = measured.hard(
                distribution,
                embeds,
                importances,
                fills,
                draws=hard_draws,
                generator=generator,
                distance=distance,
                control=control,
                frozen=frozen,
                batch_size=batch_size,
            )
            found |= {f"{name}_{how}": measure for name, measure in made.items()}
    return {name: found[name] for name in NAMES}
