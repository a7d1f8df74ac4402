"""Refuses distilled sets that hold images of the test split: a score on images that were learnt by heart says nothing.

Distances are mean absolute differences of pixels. Blocks of pixels, averaged, are never further apart than the pixels themselves,
so that pairs whose blocks differ by more are passed over without being looked at whole.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F

from ddbench.distilled import to_pixels
from ddbench.errors import TestImagesInSet
from ddbench.training.zca import whitening_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from ddbench.api.dataset import TrainSplit
    from ddbench.data import TestSplit
    from ddbench.distilled import DistilledSet

NEAR = 1 / 255
"""Images that differ by less in the mean are the same: as much as rounding and a normalisation undone leave."""

BLOCKS = 4
"""Blocks along a side, at most."""

CHUNK = 1024
"""Images that are looked at together."""

NAMED = 5
"""Positions that a message names."""


def refuse_test_images(distilled: DistilledSet, train: TrainSplit, test: TestSplit) -> None:
    """Do nothing where no image of a set is one of the test split, which must be open.

    An image that stands in train as well is train's own: datasets repeat themselves.

    Raises:
        TestImagesInSet: Some are, within a difference of 1/255 in the mean over an image.
    """
    pixels = _pixels(distilled, train)
    found = _met(pixels, test.images, _blocks_of_test(test))
    if len(found):
        of_train = _met(pixels[found], train.images, _blocks_of(train.images, sum(train.facts.counts)))
        found = found[~torch.isin(torch.arange(len(found)), of_train)]
    if len(found):
        named = ", ".join(str(position) for position in found[:NAMED].tolist()) + (", …" if len(found) > NAMED else "")
        raise TestImagesInSet(
            f"{len(found)} of the {len(pixels)} images of the set (at {named}) are in the test split of {train.facts.name} and not "
            "in its train split, so that a score would say nothing; make the set from the train split alone"
        )


def _pixels(distilled: DistilledSet, train: TrainSplit) -> Tensor:
    """Return float32 (N, C, H, W) in [0, 1]; whitened images are taken back."""
    if distilled.space == "zca":
        return whitening_of(train).undo(distilled.images).clamp(0, 1)
    facts = train.facts
    return to_pixels(distilled.images, distilled.space, facts.mean, facts.std).float() / 255


def _met(pixels: Tensor, images_at: Callable[[Tensor], Tensor], blocks: Tensor) -> Tensor:
    """Return int64 (n,), on the CPU: positions in `pixels` of what is among a split's images, whose blocks are given."""
    pixels = pixels.to(blocks.device)
    own = _blocks(pixels)
    met = torch.zeros(len(pixels), dtype=torch.bool)
    for first in range(0, len(blocks), CHUNK):
        near = torch.cdist(own, blocks[first : first + CHUNK], p=1) <= NEAR * own.shape[1] * (1 + 1e-4)
        for place in near.any(dim=0).nonzero().flatten().tolist():
            image = images_at(torch.tensor([first + place])).float() / 255
            candidates = near[:, place].nonzero().flatten()
            same = (pixels[candidates] - image).abs().flatten(1).mean(dim=1) <= NEAR
            met[candidates[same].cpu()] = True
    return met.nonzero().flatten()


def _blocks(pixels: Tensor) -> Tensor:
    """Return float32 (N, C * blocks): means of equal blocks."""
    sides = pixels.shape[2:]
    return F.avg_pool2d(pixels, [side // gcd(side, BLOCKS) for side in sides]).flatten(1)


def _blocks_of(images_at: Callable[[Tensor], Tensor], count: int) -> Tensor:
    def parts() -> Iterator[Tensor]:
        for index in torch.split(torch.arange(count), CHUNK):
            yield _blocks(images_at(index).float() / 255)

    return torch.cat(list(parts()))


def _blocks_of_test(test: TestSplit) -> Tensor:
    """Return the blocks of the test split, found once for as long as it lives."""
    if test not in _FOUND:
        _FOUND[test] = _blocks_of(test.images, len(test))
    return _FOUND[test]


_FOUND: WeakKeyDictionary[TestSplit, Tensor] = WeakKeyDictionary()
