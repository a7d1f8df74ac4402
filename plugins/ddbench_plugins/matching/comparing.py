"""Compares batches of real and of synthetic images, and says how to move the synthetic ones; recorded where the device records.

That is most of a step's work, and all that the host has to tell a device of it is the same in every step. What comes before it, the
draws and the augmentation that they choose, differs from step to step and stays outside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from ddbench.data.moving import moved
from ddbench.training.graphs import Replayed, recorder_of

from .draws import augmented, views_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ddbench import Context
    from ddbench.kit import Pixels
    from ddbench.training.graphs import Recorder

    from .distribution import DistributionOptions
    from .draws import Draws, Group
    from .gradient import GradientOptions

RECORDED = 8
"""Kinds of batches, by their sizes, that are recorded; each recording keeps the memory that it needs."""

Sizes = tuple[int, ...]
"""Images of each class."""

Distance = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]
"""From real images, synthetic ones and their labels to a scalar, differentiable in the synthetic images."""


class Comparison:
    """Compares batches of fixed sizes."""

    def __init__(self, distance: Distance, recorder: Recorder | None, note: Callable[[str], None]) -> None:
        """Take the distance, what records (None takes every step anew), and who is told why a step could not be recorded."""
        self.distance = distance
        self.places: tuple[Tensor, ...] = ()
        self._replayed = Replayed(self._compared, recorder, note)

    def __call__(self, real: Tensor, synthetic: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distance and its gradient in the synthetic images, which the next call may overwrite.

        Args:
            real: float (N, C, H, W), as the network sees them, class by class.
            synthetic: The same, float (M, C, H, W).
            labels: int64 (M,), of the synthetic images.
        """
        if self._replayed.recorded:
            for place, values in zip(self.places, (real, synthetic, labels), strict=True):
                place.copy_(values)
        else:
            self.places = (real, synthetic, labels)
        return self._replayed()

    def _compared(self) -> tuple[Tensor, Tensor]:
        real, images, labels = self.places
        synthetic = images.detach().requires_grad_()
        distance = self.distance(real, synthetic, labels)
        (gradient,) = torch.autograd.grad(distance, synthetic)
        return distance.detach(), gradient


class Comparisons:
    """One comparison for each kind of batches, by their sizes."""

    def __init__(self, device: torch.device, note: Callable[[str], None]) -> None:
        self.device, self.note = device, note
        self._by_sizes: dict[tuple[Sizes, Sizes], Comparison] = {}

    def of(self, real: Sizes, synthetic: Sizes, distance: Callable[[Sizes, Sizes], Distance]) -> Comparison:
        """Return what compares batches of these sizes by a distance that knows them."""
        sizes = (real, synthetic)
        if sizes not in self._by_sizes:
            recorder = recorder_of(self.device) if len(self._by_sizes) < RECORDED else None
            self._by_sizes[sizes] = Comparison(distance(*sizes), recorder, self.note)
        return self._by_sizes[sizes]


class ByClasses(ABC):
    """An objective at work that compares some classes at a time: real batches of them with all of their synthetic images."""

    ctx: Context
    o: GradientOptions | DistributionOptions
    draws: Draws
    pixels: Pixels
    comparisons: Comparisons

    @abstractmethod
    def _distance(self, of_real: Sizes, of_synthetic: Sizes) -> Distance:
        """Return the distance of batches of these sizes, of images as they are seen."""

    def _compared(self, groups: Sequence[Group], images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the distance summed over groups of classes, a scalar, and its gradient in the synthetic images."""
        gradient, loss = torch.empty_like(images), images.new_zeros(())
        for group in groups:
            views = views_of(group, step, self.draws, self.o)
            drawn = [self.draws.real(label, step, self.o.batch_real) for label in group.labels]
            sizes = tuple(len(positions) for positions in drawn)
            real = augmented(self._real(torch.cat(drawn), images.dtype), views, sizes)
            synthetic = images[group.rows].detach().requires_grad_()
            seen = augmented(synthetic, views, group.sizes)
            distance, towards = self.comparisons.of(sizes, group.sizes, self._distance)(real, seen.detach(), labels[group.rows])
            (gradient[group.rows],) = torch.autograd.grad(seen, synthetic, towards)
            loss += distance
        return loss, gradient

    def _real(self, drawn: Tensor, dtype: torch.dtype) -> Tensor:
        """Return float (N, C, H, W), normalised: real images at int64 (N,) positions."""
        return self.pixels.normalise(self.ctx.train.images(moved(drawn, self.ctx.device))).to(dtype)
