"""Views: what of an image the teacher is shown in one step. One draw holds for all images of a group.

A view rolls the image, or first crops, resizes and flips it. Parameters are drawn ahead, for all steps, from a group's own
generator; applying them is tensor code of fixed shapes with no synchronisation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Generator, Tensor

TRIES = 10
"""Crops drawn before falling back, as in torchvision's `RandomResizedCrop.get_params`."""

RATIO = (3 / 4, 4 / 3)
"""Aspect ratio of a crop."""

ViewKind = Literal["roll", "rrc_flip_roll"]


@dataclass(frozen=True)
class ViewRule:
    """From what views are drawn."""

    kind: ViewKind = "roll"
    """`roll`, or `rrc_flip_roll`: random resized crop, then horizontal flip, then roll."""
    roll: tuple[int, int] = (0, 4)
    """Lowest and highest offset along each axis, both included."""
    scale: tuple[float, float] = (0.08, 1.0)
    """Area of the crop."""
    annealing: float = 0.0
    """Fraction of the steps over which the lowest area falls from the highest by a cosine (CDA); 0: it is constant."""


def draw_views(rule: ViewRule, steps: int, size: tuple[int, int], generator: Generator) -> Tensor:
    """Return int64 (steps, P): the parameters of one group's views.

    P is 2 for `roll` (offsets along height and width), and 7 for `rrc_flip_roll` (top, left, height and width of the crop,
    flip, and the two offsets). For `rrc_flip_roll` all crops are drawn first, then all flips, then all rolls.
    """
    columns = []
    if rule.kind == "rrc_flip_roll":
        columns.append(_draw_crops(rule, steps, size, generator))
        columns.append(torch.randint(2, (steps, 1), generator=generator))
    low, high = rule.roll
    columns.append(torch.randint(low, high + 1, (steps, 2), generator=generator))
    return torch.cat(columns, dim=1)


def _draw_crops(rule: ViewRule, steps: int, size: tuple[int, int], generator: Generator) -> Tensor:
    """Return int64 (steps, 4): top, left, height, width, by the rule of torchvision's `RandomResizedCrop.get_params`.

    Ten areas and aspect ratios are drawn for every step at once; the first that fits holds, else the largest central crop.
    """
    height, width = size
    uniform = torch.rand(4, steps, TRIES, generator=generator, dtype=torch.float64)
    lowest = _lowest_area(rule, steps)[:, None]
    area = height * width * (lowest + (rule.scale[1] - lowest) * uniform[0])
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    ratio = torch.exp(low + (high - low) * uniform[1])
    h, w = torch.sqrt(area / ratio).round().long(), torch.sqrt(area * ratio).round().long()
    fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
    top, left = ((height - h + 1) * uniform[2]).long(), ((width - w + 1) * uniform[3]).long()
    first = fits.int().argmax(dim=1, keepdim=True)
    drawn = torch.stack([top, left, h, w], dim=2).gather(1, first[:, :, None].expand(-1, -1, 4)).squeeze(1)
    return torch.where(fits.any(dim=1, keepdim=True), drawn, torch.tensor(_central(size)))


def _lowest_area(rule: ViewRule, steps: int) -> Tensor:
    """Return float64 (steps,): the lowest area of a crop at each step."""
    low, high = rule.scale
    if rule.annealing == 0:
        return torch.full((steps,), low, dtype=torch.float64)
    done = (torch.arange(steps, dtype=torch.float64) / max(1.0, rule.annealing * steps)).clamp(max=1)
    return low + (high - low) * 0.5 * (1 + torch.cos(math.pi * done))


def _central(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the largest central crop whose aspect ratio is allowed."""
    height, width = size
    h = min(height, round(width / RATIO[0]))
    w = min(width, round(height * RATIO[1]))
    return (height - h) // 2, (width - w) // 2, h, w


def apply_views(images: Tensor, parameters: Tensor) -> Tensor:
    """Return the views (G * B, C, H, W) of images of that shape, group after group.

    Args:
        images: float (G * B, C, H, W).
        parameters: int64 (G, P) on the images' device: one row of `draw_views` for each group.
    """
    groups, kind = parameters.shape
    if kind == 2:
        down, right = parameters[:, :1], parameters[:, 1:]
        rolled: Tensor = _Roll.apply(images, _rolled(images, down, right), _rolled(images, -down, -right))
        return rolled
    top, left, height, width, flip, down, right = parameters[:, :, None].unbind(dim=1)
    y = (torch.arange(images.shape[2], device=images.device) - down) % images.shape[2]
    x = (torch.arange(images.shape[3], device=images.device) - right) % images.shape[3]
    x = torch.where(flip == 1, images.shape[3] - 1 - x, x)
    a_y = _resizing(y, top, height, images.dtype)
    a_x = _resizing(x, left, width, images.dtype)
    planes = images.reshape(groups, -1, *images.shape[2:])
    with torch.autocast(images.device.type, enabled=False):
        return _along_width(_along_width(planes, a_x).mT, a_y).mT.reshape(images.shape)


def _along_width(planes: Tensor, matrix: Tensor) -> Tensor:
    """Return (G, M, H, W): each group's planes with a group's matrix (G, W, W) applied to every row."""
    return (planes.reshape(len(planes), -1, planes.shape[3]) @ matrix.mT).view(planes.shape)


def _rolled(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Return int64 (G, 1, H * W): for every pixel of a rolled image, the pixel it comes from."""
    height, width = images.shape[2:]
    y = (torch.arange(height, device=images.device) - down) % height
    x = (torch.arange(width, device=images.device) - right) % width
    return (y[:, :, None] * width + x[:, None, :]).flatten(1)[:, None]


class _Roll(torch.autograd.Function):
    """Moves pixels; its gradient moves them back, by gathering both times."""

    @staticmethod
    def forward(images: Tensor, there: Tensor, _back: Tensor) -> Tensor:
        return _gathered(images, there)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG004 - torch's signature
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _gathered(grads[0], ctx.saved_tensors[0]), None, None


def _gathered(images: Tensor, index: Tensor) -> Tensor:
    planes = images.reshape(len(index), -1, index.shape[2])
    return planes.gather(2, index.expand(-1, planes.shape[1], -1)).view(images.shape)


def _resizing(positions: Tensor, start: Tensor, length: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (G, size, size): the matrix that crops and resizes one axis bilinearly; two weights in each row.

    A row's source is start + clamp((d + 1/2) length / size - 1/2, 0, length - 1) with d its position: never outside of the
    crop, and with length <= size the same as antialiased resizing.

    Args:
        positions: int64 (G, size): each row's position d in the resized image, before flip and roll moved it.
        start: int64 (G, 1): first pixel of the crop.
        length: int64 (G, 1): pixels of the crop, at most `size`.
        dtype: Of the matrix; sources are rounded once in it.
    """
    size = positions.shape[1]
    inside = ((2 * positions + 1) * length).to(dtype) / (2 * size) - 0.5
    source = inside.clamp(min=0).minimum(length.to(dtype) - 1) + start
    return (1 - (source[:, :, None] - torch.arange(size, device=positions.device)).abs()).clamp(min=0)


def views_of(rule: ViewRule, steps: int, size: tuple[int, int], generators: Sequence[Generator]) -> Tensor:
    """Return int64 (steps, G, P): every group's view parameters, each group's from its own generator."""
    return torch.stack([draw_views(rule, steps, size, generator) for generator in generators], dim=1)
