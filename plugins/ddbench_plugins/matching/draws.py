"""What objectives draw: real images, networks, augmentation.

Each draw has a generator of its own, seeded by what it is for, the distill seed, the job, the step and the class: the released code
draws from one global generator and seeds its augmentation by the clock. So a resume needs no state of generators, and the order in
which classes are computed moves nothing. Draws are made on the CPU and moved without making the host wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import torch

from ddbench.data.moving import moved
from ddbench.seeding import generator_for
from ddbench.training.dsa import PARAMETERS, draw_group, dsa_group
from ddbench.training.precision import placed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Generator, Tensor, nn

    from ddbench import Context, Job, Precision

CHUNK_PIXELS = {"cpu": 64 * 32 * 32}
"""Pixels of real images in one forward pass, by kind of device; on two CPU cores 64 images of 32 px were quicker than 256."""

OTHER_CHUNK_PIXELS = 2048 * 32 * 32


class Augmenting(Protocol):
    """Options that say how classes are augmented."""

    @property
    def augment(self) -> str: ...

    @property
    def strategy(self) -> str: ...


@dataclass(frozen=True)
class Draws:
    """All that an objective draws for one job."""

    ctx: Context
    job: Job
    objective: str
    """Its name, so that two objectives draw apart."""

    def generator(self, what: str, *parts: int) -> Generator:
        """Return a CPU generator for one purpose."""
        return generator_for(f"{self.objective} {what}", self.job.seed, self.job.index, *parts)

    def network(self, name: str, number: int) -> nn.Module:
        """Return the network of draw `number`, freshly initialised, on the device."""
        return self.ctx.network(name, self.generator("network", number))

    def real(self, label: int, step: int, count: int, *, what: str = "real") -> Tensor:
        """Return int64 (n,): positions of `count` real images of a class, drawn without replacement; all where it has fewer."""
        positions = self.ctx.train.indices(label).cpu()
        order = torch.randperm(len(positions), generator=self.generator(what, step, label))
        return positions[order[:count]]

    def alike(self, strategy: str, label: int, step: int) -> Augmented:
        """Return the augmentation of one class in one step: one group, one set of parameters for all its images."""
        generator = self.generator("augmentation", step, label)
        group = draw_group(strategy, generator)
        return Augmented(group, moved(torch.rand(1, PARAMETERS, generator=generator), self.ctx.device))


@dataclass(frozen=True)
class Augmented:
    """One group of DSA with its parameters drawn; siamese where these are a single row."""

    group: str
    uniform: Tensor
    """float32 (1, 3) for all images, or (N, 3)."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return float (N, C, H, W), normalised, differentiable in the images."""
        return dsa_group(images, self.group, self.uniform.to(images.dtype).expand(len(images), -1))


def views_of(group: Group, step: int, draws: Draws, o: Augmenting) -> Sequence[Callable[[Tensor], Tensor]]:
    """Return what the images of each of some classes go through in a step, real and synthetic ones alike."""
    if o.augment == "none":
        return [_untouched] * len(group.labels)
    return [draws.alike(o.strategy, label, step) for label in group.labels]


def augmented(images: Tensor, views: Sequence[Callable[[Tensor], Tensor]], sizes: Sequence[int]) -> Tensor:
    """Return the images, class by class through the class's view."""
    if all(view is _untouched for view in views):
        return images
    parts = torch.split(images, list(sizes))
    return torch.cat([view(part) for view, part in zip(views, parts, strict=True)])


def _untouched(images: Tensor) -> Tensor:
    return images


def one_by_one(images: Tensor, strategy: str, generator: Generator) -> Tensor:
    """Return the images after one group of DSA with parameters of its own for each: what networks in training are shown."""
    group = draw_group(strategy, generator)
    return Augmented(group, moved(torch.rand(len(images), PARAMETERS, generator=generator), images.device))(images)


@dataclass(frozen=True)
class Group:
    """Some classes of a set, and where their images are."""

    labels: tuple[int, ...]
    sizes: tuple[int, ...]
    """Images of each class."""
    rows: Tensor
    """int64 (sum of sizes,), on the device: class by class, each in the set's order."""


@dataclass
class ByClass:
    """Finds a set's classes; the host waits for the labels once, not in every step."""

    group: int
    """Classes of a group; 0: all."""
    _labels: Tensor | None = field(default=None, repr=False)
    _groups: list[Group] = field(default_factory=list)

    def groups(self, labels: Tensor) -> list[Group]:
        """Return the classes in ascending order, some at a time."""
        if labels is not self._labels:
            self._labels, self._groups = labels, list(_grouped(labels, self.group))
        return self._groups


def _grouped(labels: Tensor, size: int) -> Iterator[Group]:
    counts: list[int] = torch.bincount(labels).tolist()
    present = [label for label, count in enumerate(counts) if count]
    rows = torch.split(labels.argsort(stable=True), [count for count in counts if count])
    size = size or len(present)
    for start in range(0, len(present), size):
        part = slice(start, start + size)
        yield Group(tuple(present[part]), tuple(len(some) for some in rows[part]), torch.cat(rows[part]))


class Redrawn:
    """One network whose weights are drawn anew in place, so that what was compiled for it serves every draw."""

    def __init__(self, draws: Draws, name: str, precision: Precision) -> None:
        self._draws, self._name = draws, name
        module = draws.network(name, 0)
        self.module = placed(module, precision, next(module.parameters()).device).eval()
        self._tensors: dict[str, Tensor] = self.module.state_dict()

    def renew(self, number: int) -> None:
        """Take the weights and buffers of draw `number`."""
        self.load(self._draws.network(self._name, number).state_dict())

    def state(self) -> dict[str, Tensor]:
        """Return weights and buffers by name; later steps change them in place."""
        return dict(self._tensors)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take weights and buffers."""
        with torch.no_grad():
            for name, tensor in self._tensors.items():
                tensor.copy_(state[name])


def batch_norms(module: nn.Module) -> list[nn.Module]:
    """Return the parts that normalise by the statistics of a batch."""
    kinds = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.SyncBatchNorm)
    return [part for part in module.modules() if isinstance(part, kinds)]


def precision_of(ctx: Context) -> Precision:
    """Return how an objective computes: as the stage does, but with torch's kernels never channels last on a CPU.

    There it was measured slower for networks with instance norm: compiled by a tenth, uncompiled (as the second derivative of
    gradient matching is) by half.
    """
    last = ctx.precision.native or ctx.device.type != "cpu"
    return replace(ctx.precision, channels_last=ctx.precision.channels_last and last)


def chunk_rows(largest: int, shape: tuple[int, int, int], device: torch.device) -> int:
    """Return how many of `largest` images go through a network at once, in passes of almost equal size."""
    most = max(1, CHUNK_PIXELS.get(device.type, OTHER_CHUNK_PIXELS) // (shape[1] * shape[2]))
    return -(-largest // -(-largest // most))
