"""An opened dataset: its facts, and its train and test images, mapped into memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ddbench.api.dataset import DatasetFacts
from ddbench.data.container import Shape, map_arrays, remedy
from ddbench.data.facts_cache import Measured, recall, remember
from ddbench.data.identity import MomentSums, digest_arrays, identity
from ddbench.data.index import IndexedSplit, View
from ddbench.errors import DataDamaged, DataMissing

if TYPE_CHECKING:
    from numpy.typing import NDArray

DESCRIPTION = "dataset.json"
INDEX = "train.index.json"
SPLITS = ("train", "test")

REMEMBERED_BYTES = 2**20
"""Below this a full pass takes milliseconds and leaves no file, so that a folder shipped with a plugin stays as it was."""


class Split(Protocol):
    """The images and labels of one split, wherever they are."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 (N,)."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of all images."""
        ...

    def __len__(self) -> int: ...

    def gather(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return uint8 (N, C, H, W): the images at int64 (N,) positions."""
        ...


@dataclass(frozen=True)
class ArraySplit:
    """A split held as arrays, usually mapped from a file."""

    images: NDArray[np.uint8]
    """uint8 (N, C, H, W); writable, so that torch shares it, though nobody writes to it."""
    labels: NDArray[np.int64]
    """int64 (N,)."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def nbytes(self) -> int:
        return self.images.nbytes

    def gather(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return uint8 (N, C, H, W): copies of the images at int64 (N,) positions."""
        return self.images[index]


@dataclass(frozen=True)
class Prepared:
    """A dataset that was opened and checked."""

    facts: DatasetFacts
    train: Split
    test: Split
    order_sha256: Mapping[str, str]
    """By split: hash of images and labels in their order; predictions are paired only where the test split's agree."""
    folder: Path | None = None
    """Where it lies; None for one that is in memory only."""
    view: View | None = None
    """How images were cut from larger originals, where they were."""
    notes: str = ""


@dataclass(frozen=True)
class Contents:
    """What `dataset.json` says."""

    classes: tuple[str, ...]
    shape: Shape
    sha256: Mapping[str, str]
    source: str
    notes: str
    view: View | None
    index: Mapping[str, Any] = field(default_factory=dict)
    """What was found when the files of an index were read: `counts`, `content`, `order`, `mean`, `std`."""


def open_prepared(folder: Path, *, name: str | None = None, cached: bool = True) -> Prepared:
    """Return the dataset in a folder in prepared form.

    The first time, all of its bytes are read: for its identity, its mean and std, and the checksums it declares. That
    is remembered by size and time stamp of its files.

    Args:
        folder: Holds `dataset.json`, `test.safetensors`, and `train.safetensors` or `train.index.json`.
        name: What the dataset is called; the folder's name unless given.
        cached: Whether an earlier pass is believed and this one remembered; never where all images are under a megabyte.

    Raises:
        DataMissing: The folder holds no `dataset.json`.
        DataDamaged: A file is missing, cut short, contradicts another, or does not match its checksum.
    """
    text = _read_description(folder)
    contents = _parse_description(text, folder)
    indexed = bool(contents.index)
    files = [INDEX if indexed else "train.safetensors", "test.safetensors"]
    test = _array_split(folder, "test", contents)
    train: Split = _indexed_split(folder, contents) if indexed else _array_split(folder, "train", contents)
    cached = cached and test.nbytes + train.nbytes >= REMEMBERED_BYTES
    measured = recall(folder, files, text) if cached else None
    if measured is None:
        measured = _measure(folder, contents, train, test)
        if cached:
            remember(measured, folder, files, text)
    facts = DatasetFacts(
        name=name or folder.name,
        classes=contents.classes,
        shape=contents.shape,
        mean=measured.mean,
        std=measured.std,
        counts=_counts(folder, contents, train),
        test_images=len(test),
        sha256=identity(contents.classes, contents.shape, measured.content),
        source=contents.source,
    )
    return Prepared(facts, train, test, measured.order, folder=folder, view=contents.view, notes=contents.notes)


def describe(folder: Path) -> Contents:
    """Return what a folder's `dataset.json` says, without looking at images.

    Raises:
        DataMissing: There is none.
        DataDamaged: It cannot be read, or what it says cannot be.
    """
    return _parse_description(_read_description(folder), folder)


def is_prepared(folder: Path) -> bool:
    """Return whether a folder claims to be a dataset in prepared form."""
    return (folder / DESCRIPTION).is_file()


def _read_description(folder: Path) -> bytes:
    if not is_prepared(folder):
        raise DataMissing(f"{folder} holds no {DESCRIPTION}, so it is no dataset in prepared form; see: ddbench data list")
    try:
        return (folder / DESCRIPTION).read_bytes()
    except OSError as error:
        raise DataDamaged(f"{folder / DESCRIPTION} cannot be read ({error.strerror}); {remedy(folder)}") from error


def _parse_description(text: bytes, folder: Path) -> Contents:
    try:
        content = json.loads(text)
        classes = tuple(str(name) for name in content["classes"])
        channels, height, width = (int(size) for size in content["shape"])
        view = content.get("view")
        contents = Contents(
            classes=classes,
            shape=(channels, height, width),
            sha256={str(name): str(value) for name, value in content.get("sha256", {}).items()},
            source=str(content.get("source", "")),
            notes=str(content.get("notes", "")),
            view=View(**view) if view else None,
            index=content.get("train", {}),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataDamaged(
            f"{folder / DESCRIPTION} cannot be read as a dataset's description ({error!r}); {remedy(folder)}"
        ) from error
    if not classes or len(set(classes)) != len(classes):
        raise DataDamaged(f"{folder / DESCRIPTION} lists no classes, or one twice; {remedy(folder)}")
    return contents


def _array_split(folder: Path, split: str, contents: Contents) -> ArraySplit:
    path = folder / f"{split}.safetensors"
    if not path.is_file():
        raise DataDamaged(f"{path} is missing though {folder / DESCRIPTION} is there; {remedy(folder)}")
    images, labels = map_arrays(path)
    if images.shape[1:] != contents.shape:
        raise DataDamaged(f"{path} holds images of {images.shape[1:]}, where {DESCRIPTION} says {contents.shape}; {remedy(folder)}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(contents.classes):
        wrong = low if low < 0 else high
        raise DataDamaged(f"{path} holds label {wrong}, where {len(contents.classes)} classes are known; {remedy(folder)}")
    return ArraySplit(images, labels)


def _indexed_split(folder: Path, contents: Contents) -> IndexedSplit:
    if not (folder / INDEX).is_file():
        raise DataDamaged(f"{folder / INDEX} is missing though {folder / DESCRIPTION} is there; {remedy(folder)}")
    try:
        counts = [int(count) for count in contents.index["counts"]]
        complete = set(contents.index) >= {"content", "order", "mean", "std"}
    except (KeyError, TypeError, ValueError) as error:
        raise DataDamaged(f"{folder / DESCRIPTION} says nothing of the train files; {remedy(folder)}") from error
    if not complete or len(counts) != len(contents.classes):
        raise DataDamaged(f"{folder / DESCRIPTION} says too little of the train files; {remedy(folder)}")
    return IndexedSplit(folder / INDEX, shape=contents.shape, count=sum(counts))


def _counts(folder: Path, contents: Contents, train: Split) -> tuple[int, ...]:
    """Return train images by class; a class without any is an error here, before it is one in a method."""
    if isinstance(train, ArraySplit):
        counts = tuple(np.bincount(train.labels, minlength=len(contents.classes)).tolist())
    else:
        counts = tuple(int(count) for count in contents.index["counts"])
    if 0 in counts:
        raise DataDamaged(f"{folder}: class {contents.classes[counts.index(0)]!r} has no train images; {remedy(folder)}")
    return counts


def _measure(folder: Path, contents: Contents, train: Split, test: ArraySplit) -> Measured:
    """Return the result of a full pass, after holding every declared checksum against it."""
    sums = MomentSums(contents.shape[0])
    tested = digest_arrays(test.images, test.labels)
    found = {"test.images": tested.images, "test.labels": tested.labels}
    content, order = {"test": tested.content}, {"test": tested.order}
    if isinstance(train, ArraySplit):
        trained = digest_arrays(train.images, train.labels, sums)
        found |= {"train.images": trained.images, "train.labels": trained.labels}
        content["train"], order["train"] = trained.content, trained.order
        moments = sums.moments()
        mean, std = moments.mean, moments.std
    else:
        found["train.index"] = hashlib.sha256((folder / INDEX).read_bytes()).hexdigest()
        content["train"], order["train"] = (str(contents.index[key]) for key in ("content", "order"))
        mean, std = (tuple(float(value) for value in contents.index[key]) for key in ("mean", "std"))
    for array, declared in contents.sha256.items():
        if found.get(array) != declared:
            raise DataDamaged(f"{folder}: {array} does not match the checksum in {DESCRIPTION}; {remedy(folder)}")
    return Measured(content, order, mean, std)
