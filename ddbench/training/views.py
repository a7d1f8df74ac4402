"""What a network is shown: batch order, augmentation and mixing of one epoch, drawn ahead on the CPU and moved once.

An epoch's draws come from one generator, seeded by what it is for and the epoch's number alone: any epoch can be drawn again
without the ones before it (stored labels, resumed teachers), and two students of equal seed on sets of equal size share
order, augmentation and mixing, whatever their images are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ddbench.api.protocol import batch_sizes
from ddbench.data.moving import moved
from ddbench.seeding import generator_for
from ddbench.training.augment import augmented, draw
from ddbench.training.dsa import draw_group
from ddbench.training.mix import MixDraw, draw_mix, mixed

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ddbench.training.recipe import Recipe


@dataclass(frozen=True)
class BatchDraw:
    """What one batch drew."""

    index: Tensor
    """int64 (n,), on the device: positions in the set, in the batch's order."""
    host_index: Tensor
    """The same on the CPU, for images that are decoded there."""
    augment: tuple[Tensor, ...]
    """For each augmentation of the recipe, what its images drew, on the device."""
    groups: tuple[str | None, ...]
    """For each augmentation, the group that `dsa` drew for the batch."""
    mix: MixDraw | None


@dataclass(frozen=True)
class Source:
    """Where a network's images come from."""

    count: int
    size: tuple[int, int]
    fetch: Callable[[Tensor], Tensor]
    """Return float32 (n, C, H, W), normalised, on the device: the images at int64 (n,) positions, as they are."""
    fill: Tensor
    """float32 (C,), on the device: black, normalised; zero for whitened images, which have no black."""
    host: bool = False
    """True where `fetch` takes positions on the CPU, because images are decoded there."""


def draw_epoch(recipe: Recipe, source: Source, *, seed: tuple[str, int], epoch: int) -> list[BatchDraw]:
    """Return the draws of every batch of one epoch, moved to the device of `source.fill`.

    Args:
        recipe: Its batch size, augmentation and mixing.
        source: Its number of images and their size.
        seed: What the draws are for, and the seed: `("student views", 3)`.
        epoch: Counted from 0.
    """
    generator = generator_for(seed[0], seed[1], epoch)
    order = torch.randperm(source.count, generator=generator)
    sizes = batch_sizes(source.count, recipe.batch)
    by_step = [draw(step, source.count, size=source.size, generator=generator) for step in recipe.augment]
    groups = [_groups(recipe, generator) for _ in sizes]
    mixes = [draw_mix(recipe.mix, size, size=source.size, generator=generator) if recipe.mix else None for size in sizes]
    device = source.fill.device
    indices, hosts = torch.split(moved(order, device), sizes), torch.split(order, sizes)
    pieces = [torch.split(moved(drawn, device), sizes) for drawn in by_step]
    return [
        BatchDraw(indices[i], hosts[i], tuple(piece[i] for piece in pieces), groups[i], mix)
        for i, mix in enumerate(_moved(mixes, device))
    ]


def view(source: Source, recipe: Recipe, drawn: BatchDraw) -> Tensor:
    """Return float32 (n, C, H, W), normalised: a batch's images, augmented in the recipe's order, then mixed."""
    images = source.fetch(drawn.host_index if source.host else drawn.index)
    for step, parameters, group in zip(recipe.augment, drawn.augment, drawn.groups, strict=True):
        images = augmented(images, step, parameters, fill=source.fill, group=group)
    return images if drawn.mix is None else mixed(images, drawn.mix)


def normalised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return (x - mean) / std per channel, float32, from uint8 in 0..255 or float32 in [0, 1], (N, C, H, W)."""
    unit = pixels.float() / 255.0 if pixels.dtype == torch.uint8 else pixels
    return (unit - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)


def _groups(recipe: Recipe, generator: Generator) -> tuple[str | None, ...]:
    return tuple(draw_group(step.strategy, generator) if step.name == "dsa" else None for step in recipe.augment)


def _moved(mixes: list[MixDraw | None], device: torch.device) -> list[MixDraw | None]:
    """Return the mixes with all partners moved in one transfer."""
    drawn = [mix for mix in mixes if mix is not None]
    if not drawn:
        return mixes
    partners = torch.split(moved(torch.cat([mix.partner for mix in drawn]), device), [len(mix.partner) for mix in drawn])
    return [replace(mix, partner=partner) for mix, partner in zip(drawn, partners, strict=True)]
