"""ZCA whitening of images, fitted on the real train split as trajectory matching does (Cazenavette et al., 2022).

The released code hands pixels in [0, 1] (not normalised by mean and std) to kornia's `ZCAWhitening(eps=0.1)`. With x a flattened
image, mu the mean image and C = U diag(s) U^T the covariance over the train split, divided by N - 1:

    x -> (x - mu) W,    W = U diag(1 / sqrt(s + 0.1)) U^T

Covariances of float32 images lose digits and depend on the order of sums. Here sums are exact: pixels minus 128 are integers of
eight bits, so float32 products of up to 1024 images are whole numbers below 2**24, whatever the order or the device, and they
are added up in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from ddbench.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from ddbench.api.dataset import TrainSplit

EPS = 0.1
"""Added to the variance along each axis (released code)."""

EXACT_IMAGES = 1024
"""Images whose products, of at most 128 * 128 each, sum up to no more than 2**24, which float32 counts exactly."""

LARGEST = 3 * 64 * 64
"""Values of an image up to which its covariance, their square, is held and decomposed; minutes at this size, seconds at 3x32x32."""


@dataclass(frozen=True)
class Whitening:
    """What takes images to the space `zca`."""

    mean: Tensor
    """float32 (F,): the mean image of pixels in [0, 1], flattened."""
    matrix: Tensor
    """float32 (F, F), symmetric."""

    def apply(self, images: Tensor) -> Tensor:
        """Return float32 (N, C, H, W), whitened, from uint8 pixels or float32 pixels in [0, 1]; never in reduced precision."""
        with torch.autocast(device_type=images.device.type, enabled=False):
            unit = images.float() / 255.0 if images.dtype == torch.uint8 else images.float()
            return ((unit.flatten(1) - self.mean) @ self.matrix).view(images.shape)

    def undo(self, images: Tensor) -> Tensor:
        """Return float32 (N, C, H, W) pixels in the units of [0, 1], from whitened ones; solved in float64, on the CPU."""
        flat = images.flatten(1).double().cpu()
        pixels: Tensor = torch.linalg.solve(self.matrix.double().cpu(), flat.T).T + self.mean.double().cpu()
        return pixels.float().view(images.shape).to(images.device)

    def to(self, device: torch.device) -> Whitening:
        """Return the same on a device."""
        return Whitening(self.mean.to(device), self.matrix.to(device))


def fit_whitening(train: TrainSplit) -> Whitening:
    """Return the whitening of a train split, fitted in float64, on the CPU.

    Raises:
        BadRequest: Its images are too large for a matrix over all their values.
    """
    size = prod(train.facts.shape)
    if size > LARGEST:
        raise BadRequest(
            f"whitening (ZCA) needs a matrix over all {size} values of an image of {train.facts.name}, and {LARGEST} are the most; "
            "set zca=false, as the published settings for such images do"
        )
    count = sum(train.facts.counts)
    total = torch.zeros(size, dtype=torch.float64)
    products = torch.zeros(size, size, dtype=torch.float64)
    for whole in _whole_numbers(train, count):
        with torch.autocast(device_type=whole.device.type, enabled=False):
            total += whole.sum(dim=0).double().cpu()
            products += (whole.T @ whole).double().cpu()
    covariance = (products - torch.outer(total, total / count)) / (max(1, count - 1) * 255.0**2)
    variance, axes = torch.linalg.eigh(covariance)
    matrix = (axes * (variance.clamp_min(0.0) + EPS).rsqrt()) @ axes.T
    return Whitening(((total / count + 128.0) / 255.0).float(), matrix.float())


def whitening_of(train: TrainSplit) -> Whitening:
    """Return the whitening of a train split on the CPU; fitted once for as long as the split lives."""
    if train not in _FITTED:
        _FITTED[train] = fit_whitening(train)
    return _FITTED[train]


_FITTED: WeakKeyDictionary[TrainSplit, Whitening] = WeakKeyDictionary()


def _whole_numbers(train: TrainSplit, count: int) -> Iterator[Tensor]:
    """Give float32 (n, F) pixels from -128 to 127, on the device."""
    for place in torch.split(torch.arange(count), EXACT_IMAGES):
        yield train.images(place).flatten(1).float() - 128.0
