"""Optimisers: SGD and AdamW, fused where the device can, with the parameters that decay written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from ddbench.training.recipe import Recipe


def parameter_groups(network: nn.Module, *, weight_decay: float, decay: str) -> list[dict[str, Any]]:
    """Return the optimiser's groups: one for `all`; for `matrices` a decaying one and one that does not.

    Under `all` biases and the scales of normalisation layers decay as well, as torch's optimisers do unless told otherwise.
    Under `matrices` only parameters of two dimensions and more decay. Parameters that need no gradient are left out.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    if decay == "all":
        return [{"params": trained, "weight_decay": weight_decay}]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_optimiser(network: nn.Module, recipe: Recipe, *, recorded: bool = False) -> Optimizer:
    """Return the recipe's optimiser over a network's parameters; the loop sets the rate before each step.

    SGD is heavy-ball without dampening and couples its decay into the gradient; AdamW decouples it. Both are torch's.

    Args:
        network: What is trained, on its device.
        recipe: Kind and settings.
        recorded: Make one whose step a graph can record: rate and number of steps are read on the device.
    """
    o = recipe.optimiser
    groups = parameter_groups(network, weight_decay=o.weight_decay, decay=o.decay)
    rate = torch.tensor(recipe.lr, device=groups[0]["params"][0].device) if recorded else recipe.lr
    if o.name == "sgd":
        return _fused(torch.optim.SGD, groups, lr=rate, momentum=o.momentum)
    return _fused(torch.optim.AdamW, groups, lr=rate, betas=o.betas, eps=1e-8, capturable=recorded)


def set_rate(optimiser: Optimizer, rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def forget_moments(optimiser: Optimizer) -> None:
    """Let the optimiser go on as if its next step were its first; what it keeps stays where it is."""
    for kept in optimiser.state.values():
        for value in kept.values():
            if isinstance(value, torch.Tensor):
                value.zero_()


def _fused(kind: Callable[..., Optimizer], groups: list[dict[str, Any]], **settings: Any) -> Optimizer:
    """Return the optimiser with one kernel for the whole update, or the plain one where torch has none for the device."""
    try:
        return kind(groups, fused=True, **settings)
    except RuntimeError:
        return kind(groups, **settings)
