"""Datasets: their facts, the train split a plugin sees, and sources that write the prepared form."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    Report = Callable[[str, int, int], None]
    """Called as `report(what, done_bytes, total_bytes)` during long work."""


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a dataset without looking at an image."""

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    """Channels, height, width."""
    mean: tuple[float, ...]
    """Per-channel mean of the train pixels, in [0, 1]."""
    std: tuple[float, ...]
    """Per-channel standard deviation of the train pixels, in [0, 1]."""
    counts: tuple[int, ...]
    """Train images of each class."""
    test_images: int
    sha256: str
    """Identity: hash of the images' sorted hashes and labels by split; independent of the order of images."""
    source: str = ""

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def classes_sha256(self) -> str:
        """Hash of the class list in its order; dataset, teacher and distilled set must agree on it."""
        return hashlib.sha256("\n".join(self.classes).encode()).hexdigest()


@dataclass(frozen=True)
class Outline:
    """What is known of a dataset before its images are there: enough to plan and price cells, never to run them."""

    num_classes: int
    shape: tuple[int, int, int]
    """Channels, height, width."""
    train_images: int
    test_images: int


class TrainSplit(Protocol):
    """The only images a teacher or a synthesizer is shown."""

    facts: DatasetFacts

    def indices(self, label: int) -> Tensor:
        """Return int64 (n,): positions of the train images of one class, in the split's order."""
        ...

    def images(self, index: Tensor) -> Tensor:
        """Return uint8 (N, C, H, W) on the device: the images at int64 (N,) positions."""
        ...


@dataclass(frozen=True)
class DatasetDefaults:
    """What `ddbench run` uses for a dataset when the command line says nothing."""

    ipc: int
    teacher: str
    students: tuple[str, ...]
    protocol: str
    distill_seeds: int = 1
    eval_seeds: int = 3
    derived: bool = False
    """True where the defaults come from the resolution alone, because the dataset brings none."""


@runtime_checkable
class DatasetSource(Protocol):
    """Knows where a dataset's original files are and writes them in the prepared form once.

    A source may also have `outline: Outline`: then suites can be planned and priced before its images are there.
    """

    name: str
    version: int
    description: str
    defaults: DatasetDefaults | None
    download_bytes: int
    """Size of what would be downloaded; 0 when nothing is."""
    origin: str
    """Where the files come from, as a person would say it."""
    folder: Path | None
    """A folder in prepared form that the plugin ships, opened where it is; None where files must be prepared."""

    def prepare(self, out: Path, *, originals: Path | None, offline: bool, report: Report) -> None:
        """Write `train.safetensors`, `test.safetensors` (or indices of files) and `dataset.json` into `out`.

        Args:
            out: An empty directory; the harness renames it to its final name afterwards.
            originals: A directory that already holds the original files, or None to look nowhere but the source.
            offline: When true nothing may be downloaded.
            report: Called now and then with what is being done and how far it is.

        Raises:
            DataMissing: The original files are not there and cannot be downloaded.
            DataDamaged: A file is cut short or has the wrong checksum.
            Offline: A download would be needed.
        """
        ...
