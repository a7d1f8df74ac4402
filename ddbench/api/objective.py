"""Objectives: what images are optimised for, whatever they are rendered from (pixels, or a generator's latents)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.context import Context, Need
    from ddbench.api.dataset import DatasetFacts
    from ddbench.api.synthesizer import Job
    from ddbench.options import Options


@dataclass(frozen=True)
class Work:
    """What one step of an objective asks of a network, so that a stage's work is known before it starts."""

    network: str = ""
    """The network's name; empty where none is used."""
    passes: float = 0.0
    """Forward passes of one image; a backward pass counts two."""


class Matching(Protocol):
    """An objective at work on one job. All it draws comes from the job and the step, so that a resume draws it again."""

    space: str
    """What images `loss_and_grad` is given: `normalised` by the dataset's mean and std, or `zca`, whitened."""

    def loss_and_grad(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the loss, a float32 scalar on the device, and its gradient with respect to the images, shaped like them.

        Steps are counted from 0 over the whole job and come in order. Nothing here may wait for the device.

        Args:
            images: float32 (N, C, H, W) in `space`; no gradient is recorded outside.
            labels: int64 (N,).
            step: Its number.
        """
        ...

    def state(self) -> Mapping[str, Tensor]:
        """Return what a resume needs besides images and the step: networks in training, a learned step size."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        ...

    def extras(self) -> Mapping[str, Tensor]:
        """Return what must be kept with the distilled set: `lr`, a learned step size, float32 (1,)."""
        ...


@runtime_checkable
class Objective(Protocol):
    """A matching objective: gradients, feature distributions, training trajectories."""

    name: str
    version: int
    """Bump when a change moves a number."""
    options: type[Options]

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        """Return what must be made before, merged into the synthesizer's own needs."""
        ...

    def work(self, o: Options, facts: DatasetFacts, images: int) -> Work:  # noqa: ARG002 - for those that override it
        """Return what one step asks for with `images` synthetic images; nothing known unless overridden."""
        return Work()

    def start(self, ctx: Context, o: Options, job: Job) -> Matching:
        """Return the objective at work on the images of one job; draws derive from `job.seed` and `job.index`."""
        ...
