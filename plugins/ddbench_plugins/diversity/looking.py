"""How a teacher is shown a distilled set and real train images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ddbench.seeding import generator_for
from ddbench.training.zca import whitening_of

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench import EvaluationContext, TrainedNetwork


def as_pixels(ctx: EvaluationContext) -> Tensor:
    """Return a distilled set's images, of any space, as float32 (N, C, H, W) in units of pixels in [0, 1], on the device.

    Nothing is clamped: images of methods that leave [0, 1] are judged as students see them.
    """
    images, space = ctx.distilled.images.to(ctx.device), ctx.distilled.space
    if space == "uint8":
        return images.float() / 255.0
    if space == "normalised":
        mean, std = (torch.tensor(values, device=ctx.device).view(1, -1, 1, 1) for values in (ctx.facts.mean, ctx.facts.std))
        return images * std + mean
    return whitening_of(ctx.train).undo(images) if space == "zca" else images


def seen_by(teacher: TrainedNetwork, pixels: Tensor) -> Tensor:
    """Return images normalised as the teacher was trained: float32 from uint8 pixels, or float32 ones in [0, 1]."""
    unit = pixels.float() / 255.0 if pixels.dtype == torch.uint8 else pixels
    return (unit - teacher.mean.view(1, -1, 1, 1)) / teacher.std.view(1, -1, 1, 1)


def drawn_real(ctx: EvaluationContext, label: int, count: int) -> Tensor:
    """Return int64 (n,) sorted train positions of up to `count` images of a class: the same for every set of the dataset."""
    positions = ctx.train.indices(label)
    generator = generator_for("real sample", ctx.facts.sha256, label)
    return positions[torch.randperm(len(positions), generator=generator)[:count].sort().values]
