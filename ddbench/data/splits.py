"""What a stage sees of a dataset: the train split on the device, and a test split that is locked until training is over."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import torch

from ddbench.data.moving import moved
from ddbench.data.prepared import ArraySplit
from ddbench.errors import BadRequest, TestSplitTouched
from ddbench.seeding import generator_for

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.dataset import DatasetFacts, TrainSplit
from ddbench.data.prepared import Prepared, Split

BUDGET_BYTES = 2 * 2**30
"""A split up to this size is held on the device; a larger one is read when it is asked for."""


class _Images:
    """A split's images and labels for a device, held there where they fit."""

    def __init__(self, split: Split, device: torch.device, budget_bytes: int) -> None:
        self._split = split
        self._device = device
        mapped = isinstance(split, ArraySplit) and device.type == "cpu"  # shares the file's pages, so it takes no memory
        self.held = mapped or split.nbytes <= budget_bytes

    def __len__(self) -> int:
        return len(self._split)

    @cached_property
    def labels(self) -> Tensor:
        """int64 (N,), on the CPU."""
        return torch.from_numpy(self._split.labels)

    @cached_property
    def whole(self) -> Tensor:
        """uint8 (N, C, H, W), on the device."""
        if isinstance(self._split, ArraySplit):
            return torch.from_numpy(self._split.images).to(self._device)
        return torch.from_numpy(self._split.gather(torch.arange(len(self)).numpy())).to(self._device)

    def take(self, index: Tensor) -> Tensor:
        """Return uint8 (N, C, H, W) on the device: the images at int64 (N,) positions, on any device."""
        if self.held:
            return self.whole[moved(index, self._device)]
        return torch.from_numpy(self._split.gather(index.cpu().numpy())).to(self._device)


class HeldSplit:
    """The train split, held on the device or gathered when asked for; a `TrainSplit`."""

    def __init__(self, prepared: Prepared, *, device: torch.device | None = None, budget_bytes: int = BUDGET_BYTES) -> None:
        """Hold a dataset's train split.

        Args:
            prepared: The dataset.
            device: Where images are wanted; the CPU unless given.
            budget_bytes: What the images may take there; larger splits are gathered or decoded on demand.
        """
        self.facts: DatasetFacts = prepared.facts
        self._images = _Images(prepared.train, device or torch.device("cpu"), budget_bytes)

    def __len__(self) -> int:
        return len(self._images)

    @property
    def held(self) -> bool:
        """Whether all images are held as one tensor."""
        return self._images.held

    def labels(self) -> Tensor:
        """Return int64 (N,), on the CPU: the class of every train image."""
        return self._images.labels

    def indices(self, label: int) -> Tensor:
        """Return int64 (n,), on the CPU: positions of the train images of one class, in the split's order."""
        return self._by_class[label]

    def images(self, index: Tensor) -> Tensor:
        """Return uint8 (N, C, H, W) on the device: the images at int64 (N,) positions."""
        return self._images.take(index)

    @cached_property
    def _by_class(self) -> tuple[Tensor, ...]:
        return _positions(self._images.labels, self.facts.num_classes)


class SubsetSplit:
    """Some images of a train split, by positions of their own; a `TrainSplit`."""

    def __init__(self, train: TrainSplit, chosen: Tensor, *, facts: DatasetFacts) -> None:
        """Show only the images at `chosen`, int64 (n,) positions in `train`; `facts` are the subset's own."""
        self.facts = facts
        self._train = train
        self._chosen = chosen
        labels = train_labels(train)[chosen]
        self._labels = labels
        self._by_class = _positions(labels, facts.num_classes)

    def __len__(self) -> int:
        return len(self._chosen)

    def labels(self) -> Tensor:
        """Return int64 (n,), on the CPU."""
        return self._labels

    def indices(self, label: int) -> Tensor:
        """Return int64 (n,), on the CPU: positions in this split."""
        return self._by_class[label]

    def images(self, index: Tensor) -> Tensor:
        """Return uint8 (N, C, H, W) on the device."""
        return self._train.images(self._chosen[index.cpu()])


class TestSplit:
    """The test split; until it is unlocked, reading it raises, which proves that nothing reads it early."""

    __test__: ClassVar[bool] = False  # pytest would take the name for a test class

    def __init__(
        self, prepared: Prepared, *, device: torch.device | None = None, budget_bytes: int = BUDGET_BYTES, locked: bool = False
    ) -> None:
        """Hold a dataset's test split.

        Args:
            prepared: The dataset.
            device: Where images are wanted; the CPU unless given.
            budget_bytes: What the images may take there.
            locked: Whether reading raises until `unlock` was called.
        """
        self.facts: DatasetFacts = prepared.facts
        self.order_sha256 = prepared.order_sha256["test"]
        self.locked = locked
        self._images = _Images(prepared.test, device or torch.device("cpu"), budget_bytes)

    def __len__(self) -> int:
        return len(self._images)

    def lock(self) -> None:
        """Make reading raise."""
        self.locked = True

    def unlock(self) -> None:
        """Allow reading; the harness calls this when a network's training is over."""
        self.locked = False

    def labels(self) -> Tensor:
        """Return int64 (N,), on the CPU.

        Raises:
            TestSplitTouched: The split is locked.
        """
        self._refuse_if_locked()
        return self._images.labels

    def images(self, index: Tensor) -> Tensor:
        """Return uint8 (N, C, H, W) on the device: the images at int64 (N,) positions.

        Raises:
            TestSplitTouched: The split is locked.
        """
        self._refuse_if_locked()
        return self._images.take(index)

    def _refuse_if_locked(self) -> None:
        if self.locked:
            raise TestSplitTouched(
                f"the test split of {self.facts.name} was read before training was over; choose on a validation cut of train"
            )


def validation_cut(train: TrainSplit, fraction: float, *, seed: int) -> tuple[SubsetSplit, Tensor]:
    """Return the train split without a validation part, and that part's int64 positions in `train`, ascending.

    The part takes `round(fraction * n)` images of each class, at least one and never the last one. The subset's
    identity tells of the cut; mean and std stay those of the whole split, as normalisation does.

    Raises:
        BadRequest: `fraction` is not between 0 and 1, or a class has a single image.
    """
    if not 0 < fraction < 1:
        raise BadRequest(f"a validation cut takes a fraction between 0 and 1 of train; given {fraction}")
    held_out = torch.cat([_drawn(train, label, fraction, seed) for label in range(train.facts.num_classes)]).sort().values
    keep = torch.ones(sum(train.facts.counts), dtype=torch.bool)
    keep[held_out] = False
    chosen = keep.nonzero().flatten()
    counts = tuple(int(keep[train.indices(label).cpu()].sum()) for label in range(train.facts.num_classes))
    mark = hashlib.sha256(f"{train.facts.sha256}/validation_cut/{fraction!r}/{seed}".encode()).hexdigest()
    return SubsetSplit(train, chosen, facts=replace(train.facts, counts=counts, sha256=mark)), held_out


def train_labels(train: TrainSplit) -> Tensor:
    """Return int64 (N,), on the CPU: the class of every image of any train split, from its positions by class."""
    labels = torch.empty(sum(train.facts.counts), dtype=torch.int64)
    for label in range(train.facts.num_classes):
        labels[train.indices(label).cpu()] = label
    return labels


def _drawn(train: TrainSplit, label: int, fraction: float, seed: int) -> Tensor:
    """Return the positions of one class that are held out; each class draws from its own generator."""
    positions = train.indices(label).cpu()
    if len(positions) < 2:
        raise BadRequest(f"class {train.facts.classes[label]!r} has {len(positions)} train image; a validation cut needs two")
    count = min(len(positions) - 1, max(1, round(fraction * len(positions))))
    order = torch.randperm(len(positions), generator=generator_for("validation cut", seed, label))
    return positions[order[:count]]


def _positions(labels: Tensor, num_classes: int) -> tuple[Tensor, ...]:
    """Return, for each class, its positions in ascending order."""
    order = labels.argsort(stable=True)
    return torch.split(order, torch.bincount(labels, minlength=num_classes).tolist())
