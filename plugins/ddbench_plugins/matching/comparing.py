"""Compares batches of real and of synthetic images, and says how to move the synthetic ones; recorded where the device records.

That is most of a step's work, and all that the host has to tell a device of it is the same in every step. What comes before it, the
draws and the augmentation that they choose, differs from step to step and stays outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from ddbench.training.graphs import Replayed, recorder_of

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.training.graphs import Recorder

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
