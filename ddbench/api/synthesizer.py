"""Synthesizers: distillation methods, cut into jobs that can be resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.context import Context, Need, PartKind, Use
    from ddbench.api.dataset import DatasetFacts
    from ddbench.options import Options

Space = Literal["uint8", "unit", "normalised", "zca"]


@dataclass(frozen=True)
class Job:
    """The unit of resume; planned from options alone, never from what is already done."""

    index: int
    """Position in the plan; for methods that make one image of each class per job, the image index."""
    labels: tuple[int, ...]
    """Class of each image the job makes, in order."""
    seed: int
    """The distill seed of the whole set. What must differ between jobs is derived from it and `index`."""


@dataclass(frozen=True)
class JobResult:
    """What one job leaves."""

    images: Tensor
    """(N, C, H, W): uint8, or float32 in the space named."""
    labels: Tensor
    """int64 (N,)."""
    space: Space = "uint8"
    """`uint8` in 0..255, `unit` in [0, 1], `normalised` by the dataset's mean and std, `zca` whitened."""
    soft_labels: Tensor | None = None
    """float32 (N, classes), rows summing to one, where the method learns labels."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """Whatever else must be kept: a learned step size, latents, indices of real images."""


@runtime_checkable
class Synthesizer(Protocol):
    """A distillation method."""

    name: str
    version: int
    """Bump when a change moves a number."""
    options: type[Options]

    def start(self, o: Options) -> Literal["real", "noise", "prior"]:
        """Return what the images start from; those that start from real images share `random` as their control."""
        ...

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:
        """Return what must be made before the first job, by the name under which `ctx.needs` gives it."""
        ...

    def uses(self, o: Options) -> Mapping[PartKind, Use]:  # noqa: ARG002 - for those that override it
        """Return the objective and the selector that `run` works with; none unless overridden."""
        return {}

    def jobs(self, o: Options, facts: DatasetFacts, ipc: int, seed: int) -> Sequence[Job]:
        """Return the plan of a distilled set with `ipc` images of each class.

        Raises:
            NotEnoughImages: A class cannot give `ipc` images.
        """
        ...

    def stack(self, o: Options, facts: DatasetFacts) -> int:  # noqa: ARG002 - for those that override it
        """Return how many consecutive jobs `run` is given as one group; 1, the default, gives them one by one."""
        return 1

    def run(self, ctx: Context, o: Options, group: Sequence[Job]) -> Sequence[JobResult]:
        """Return one result per job of a fixed group, in order; a group may be computed stacked."""
        ...


def one_job(facts: DatasetFacts, ipc: int, seed: int) -> list[Job]:
    """Return a single job with all images, image index by image index: for methods whose images depend on one another."""
    return [Job(index=0, labels=tuple(range(facts.num_classes)) * ipc, seed=seed)]


def jobs_per_image_index(facts: DatasetFacts, ipc: int, seed: int) -> list[Job]:
    """Return `ipc` jobs, each holding every class once, so that a smaller set is a prefix of a larger one."""
    return [Job(index=i, labels=tuple(range(facts.num_classes)), seed=seed) for i in range(ipc)]
