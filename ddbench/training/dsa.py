"""Differentiable siamese augmentation (Zhao and Bilen 2021), batched, on normalised images.

One group is drawn uniformly for a whole batch (mode `S` of the reference code), then its parameters: for every image its own,
or one set for all images (`siamese`), which is how two batches are augmented alike. Constants are the reference code's
`ParamDiffAug`; zeros fill what lies outside. Everything is differentiable in the images.

    color   x + (u1 - 0.5); then (x - m) 2 u2 + m with m the mean over channels; then (x - m) (u3 + 0.5) + m with m over the image
    crop    a shift of up to 12.5 % of the side along each axis
    cutout  a square of half the side set to zero, its centre anywhere
    flip    left to right with probability 0.5
    scale   zoom by a factor in [1/1.2, 1.2], drawn for each axis
    rotate  by up to 15 degrees
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Generator, Tensor

PARAMETERS = 3
"""Uniform draws per image; no group needs more."""

BRIGHTNESS, SATURATION, CONTRAST = 1.0, 2.0, 0.5
CROP, CUTOUT, SCALE, ROTATE_DEGREES = 0.125, 0.5, 1.2, 15.0


def dsa(images: Tensor, strategy: str, generator: Generator, *, siamese: bool = False) -> Tensor:
    """Return float32 (N, C, H, W) normalised images after one group of `strategy`, drawn from a CPU generator.

    Equal generator states give equal draws for equal N; with `siamese` the draws do not depend on N, so that two batches of
    different size are augmented alike.
    """
    group = draw_group(strategy, generator)
    uniform = torch.rand(1 if siamese else len(images), PARAMETERS, generator=generator)
    return dsa_group(images, group, uniform.expand(len(images), -1).to(images.device, images.dtype))


def draw_group(strategy: str, generator: Generator) -> str:
    """Return one of the strategy's groups, each as likely as the others."""
    groups = strategy.split("_")
    return groups[int(torch.randint(len(groups), (), generator=generator))]


def dsa_group(images: Tensor, group: str, uniform: Tensor) -> Tensor:
    """Return the images after one group, its parameters read from (N, 3) uniform draws in [0, 1)."""
    return _GROUPS[group](images, uniform)


def _color(x: Tensor, u: Tensor) -> Tensor:
    u1, u2, u3 = (column[:, None, None, None] for column in u.unbind(1))
    x = x + (u1 - 0.5) * BRIGHTNESS
    mean = x.mean(dim=1, keepdim=True)
    x = (x - mean) * (u2 * SATURATION) + mean
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - mean) * (u3 + CONTRAST) + mean


def _crop(x: Tensor, u: Tensor) -> Tensor:
    """Shift by whole pixels; a zero border of the largest shift makes it one gather."""
    height, width = x.shape[2:]
    reach_y, reach_x = int(height * CROP + 0.5), int(width * CROP + 0.5)
    rows = _whole(u[:, 0], 2 * reach_y + 1)[:, None] + torch.arange(height, device=x.device)
    columns = _whole(u[:, 1], 2 * reach_x + 1)[:, None] + torch.arange(width, device=x.device)
    padded = F.pad(x, (reach_x, reach_x, reach_y, reach_y)).permute(0, 2, 3, 1)
    image = torch.arange(len(x), device=x.device)[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cutout(x: Tensor, u: Tensor) -> Tensor:
    """Zero a square; a centre near the edge leaves part of the square outside."""
    inside = [_covered(_whole(u[:, axis], side + 1 - _hole(side) % 2), _hole(side), side) for axis, side in enumerate(x.shape[2:])]
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return x.masked_fill(hole, 0.0)


def _flip(x: Tensor, u: Tensor) -> Tensor:
    return torch.where(u[:, :1, None, None] < 0.5, x.flip(3), x)


def _scale(x: Tensor, u: Tensor) -> Tensor:
    factor = u[:, :2] * (SCALE - 1.0 / SCALE) + 1.0 / SCALE
    zero = torch.zeros_like(factor[:, 0])
    return _warped(x, torch.stack([factor[:, 0], zero, zero, zero, factor[:, 1], zero], dim=1))


def _rotate(x: Tensor, u: Tensor) -> Tensor:
    angle = (u[:, 0] - 0.5) * 2.0 * math.radians(ROTATE_DEGREES)
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _warped(x, torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1))


def _warped(x: Tensor, theta: Tensor) -> Tensor:
    """Return the images read at theta's affine map of their coordinates, bilinear, zeros outside."""
    grid = F.affine_grid(theta.view(-1, 2, 3), list(x.shape), align_corners=True)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def _hole(side: int) -> int:
    return int(side * CUTOUT + 0.5)


def _covered(centre: Tensor, hole: int, side: int) -> Tensor:
    """Return bool (N, side): pixels of a hole around `centre`, whose ends are held inside the image."""
    low = (centre - hole // 2).clamp(0, side - 1)[:, None]
    high = (centre - hole // 2 + hole - 1).clamp(0, side - 1)[:, None]
    pixel = torch.arange(side, device=centre.device)
    return (pixel >= low) & (pixel <= high)


def _whole(uniform: Tensor, count: int) -> Tensor:
    """Return int64 draws in 0 to count - 1 from uniform ones in [0, 1)."""
    return (uniform * count).floor().long().clamp_max(count - 1)


_GROUPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}
