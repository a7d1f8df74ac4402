"""How much work training is: multiply-adds of one image, counted once, times what the recipe shows the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ddbench.api.protocol import batch_sizes, training_steps

if TYPE_CHECKING:
    from ddbench.training.recipe import Recipe


Layers = Literal["any", "batch", "group", "depthwise"]
"""What, beside the arithmetic, decides how fast a network trains: `batch`, whole convolutions and batch norm or none; `group`,
group or instance norm; `depthwise`, convolutions in groups; `any` where it is not a network's training, or not known."""


@dataclass(frozen=True)
class Work:
    """Work of a stage, from shapes and recipe alone, so that every machine counts the same."""

    flops: float
    """Of convolutions and matrix products, a multiply-add counting two."""
    steps: int
    """How often the network is called."""
    layers: Layers = "any"


def layers_of(network: nn.Module) -> Layers:
    """Return what decides how fast a network trains."""
    layers = list(network.modules())
    if any(isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in layers):
        return "depthwise"
    return "group" if any(isinstance(layer, nn.GroupNorm) for layer in layers) else "batch"


def forward_flops(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """Return the floating-point operations of one image (C, H, W) through a network, from one pass over zeros.

    The network is left as it was: eval mode, no gradients, no statistics updated, nothing drawn.
    """
    place = next(network.parameters(), torch.empty(0))
    modes = {module: module.training for module in network.modules()}
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            network.eval()(torch.zeros(1, *shape, device=place.device, dtype=place.dtype))
    finally:
        for module, training in modes.items():
            module.training = training
    return int(counter.get_total_flops())


def training_work(flops: int, recipe: Recipe, images: int, *, teacher_flops: int = 0, layers: Layers = "any") -> Work:
    """Return the work of training on `images`: three forward passes' worth per image seen, and one of the teacher's.

    Args:
        flops: Of one image through the network, forward.
        recipe: How it is trained.
        images: In the set.
        teacher_flops: Of one image through the teacher that answers during training.
        layers: What else decides the network's speed.
    """
    steps = training_steps(recipe, images)
    seen = steps * images / len(batch_sizes(images, recipe.batch))
    return Work(seen * (3 * flops + teacher_flops), steps, layers)
