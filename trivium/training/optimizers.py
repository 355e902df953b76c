"""Optimisers by name, and what each of their parts is for.

AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) for every parameter, with weight decay on matrices only. Muon
(Jordan et al. 2024) for the matrices between embedding and head: the momentum of each is made orthogonal before it is
applied, scaled so that its root mean square is what AdamW's usually is (Liu et al. 2025, "Muon is Scalable for LLM
Training", arXiv:2502.16982); so one learning rate and one weight decay serve both, and AdamW has the rest.
"""

import torch
from torch import nn

from trivium.models.slots import TokenEmbedding
from trivium.models.unembedding import head_of
from trivium.training.parallel import layout_of
from trivium.training.settings import TrainingSettings

Parameters = list[nn.Parameter]


def decayed(model: nn.Module) -> tuple[Parameters, Parameters]:
    """Trainable parameters that weight decay is for, and the others.

    Decayed are matrices (two axes or more) that are no embedding and not marked ``_no_weight_decay``, the mark that
    state-space models put on their transition parameters.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, (nn.Embedding, TokenEmbedding))}
    groups: tuple[Parameters, Parameters] = ([], [])
    for parameter in model.parameters():
        if parameter.requires_grad:
            spared = parameter.ndim < 2 or id(parameter) in tables or getattr(parameter, "_no_weight_decay", False)
            groups[1 if spared else 0].append(parameter)
    return groups


def optimizers(model: nn.Module, settings: TrainingSettings) -> list[torch.optim.Optimizer]:
    """The optimisers of the settings over all trainable parameters. Their learning rate is set before every step.

    Raises ValueError where Muon is asked for and this PyTorch has none, or where no parameter is a matrix for it.
    """
    matrices, others = decayed(model)
    made: list[torch.optim.Optimizer] = []
    if settings.optimizer == "muon":
        hidden, matrices = _for_muon(model, matrices)
        made.append(
            torch.optim.Muon(
                hidden,
                lr=0.0,
                weight_decay=settings.weight_decay,
                momentum=settings.momentum,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    groups = [
        {"params": alike, "weight_decay": decay}
        for parameters, decay in ((matrices, settings.weight_decay), (others, 0.0))
        for alike in _by_layout(parameters)
    ]
    if groups:
        made.append(torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, fused=True))
    return made


def _for_muon(model: nn.Module, matrices: Parameters) -> tuple[Parameters, Parameters]:
    """Of the decayed parameters those that Muon takes, which is made for hidden matrices, and the others."""
    if not hasattr(torch.optim, "Muon"):
        raise ValueError(f"optimizer 'muon' came with torch 2.9, this is {torch.__version__}; update it or use 'adamw'")
    head = head_of(model)
    last = {id(parameter) for parameter in head.parameters()} if isinstance(head, nn.Module) else set()
    taken = [parameter for parameter in matrices if parameter.ndim == 2 and id(parameter) not in last]
    if not taken:
        raise ValueError("optimizer 'muon' finds no trainable matrix between embedding and head; use 'adamw'")
    return taken, [parameter for parameter in matrices if parameter.ndim != 2 or id(parameter) in last]


def _by_layout(parameters: Parameters) -> list[Parameters]:
    """Sharded parameters apart from others, for one operator does not take both."""
    groups: dict[object, Parameters] = {}
    for parameter in parameters:
        groups.setdefault(layout_of(parameter), []).append(parameter)
    return list(groups.values())
