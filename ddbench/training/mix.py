"""Mixing a batch with itself: one coefficient, one permutation and one box for the whole batch. Labels are never mixed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ddbench.api.protocol import Mix


@dataclass(frozen=True)
class MixDraw:
    """What one batch drew."""

    coefficient: float
    """Share of the image itself, in [0, 1]."""
    box: tuple[int, int, int, int] | None
    """`cutmix`: top, bottom, left, right of what is pasted from the partner."""
    partner: Tensor
    """int64 (N,): whom each image is mixed with, a permutation within the batch."""


def draw_mix(mix: Mix, count: int, *, size: tuple[int, int], generator: Generator) -> MixDraw:
    """Return the draws for a batch of `count` images, on the CPU."""
    coefficient = draw_beta(mix.alpha, generator)
    partner = torch.randperm(count, generator=generator)
    box = draw_box(coefficient, size, generator) if mix.name == "cutmix" else None
    return MixDraw(coefficient, box, partner)


def mixed(images: Tensor, drawn: MixDraw) -> Tensor:
    """Return c x + (1 - c) x[partner], or x with the partner's pixels inside the box; float32 (N, C, H, W)."""
    if drawn.box is None:
        return torch.lerp(images[drawn.partner], images, drawn.coefficient)
    top, bottom, left, right = drawn.box
    result = images.clone()
    result[:, :, top:bottom, left:right] = images[drawn.partner, :, top:bottom, left:right]
    return result


def draw_beta(alpha: float, generator: Generator) -> float:
    """Return a draw of Beta(alpha, alpha), by Jöhnk's method: x / (x + y) given x + y <= 1, with x, y uniform to 1/alpha.

    torch's own distributions know no generator. The logarithms keep small alpha from underflowing to 0 / 0.
    """
    while True:
        u, v = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        if u == 0.0 or v == 0.0:
            continue
        log_x, log_y = math.log(u) / alpha, math.log(v) / alpha
        largest = max(log_x, log_y)
        log_sum = largest + math.log(math.exp(log_x - largest) + math.exp(log_y - largest))
        if log_sum <= 0.0:
            return math.exp(log_x - log_sum)


def draw_box(coefficient: float, size: tuple[int, int], generator: Generator) -> tuple[int, int, int, int]:
    """Return CutMix's box: sides sqrt(1 - c) of the image's, the centre uniform over pixels, clipped at the border."""
    centre = [int(torch.randint(side, (), generator=generator)) for side in size]
    half = [int(side * math.sqrt(1.0 - coefficient)) // 2 for side in size]
    top, left = (max(c - h, 0) for c, h in zip(centre, half, strict=True))
    bottom, right = (min(c + h, side) for c, h, side in zip(centre, half, size, strict=True))
    return top, bottom, left, right
