"""Writes a dataset in prepared form; `dataset.json` comes last, so that a half-written folder is no dataset."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.data.container import Shape, write_arrays
from ddbench.data.identity import MomentSums, blocks, digest_rows
from ddbench.data.index import FileEntry, FileIndex, View, decoded, write_index
from ddbench.data.prepared import DESCRIPTION, INDEX, SPLITS
from ddbench.errors import BadRequest, DataDamaged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ddbench.api.dataset import Report

MOMENT_SAMPLES = 10_000
"""Images of an index that mean and std are taken from, evenly spaced: decoding a million for two numbers costs hours."""


@dataclass(frozen=True)
class Description:
    """What is told of a dataset besides its images."""

    name: str
    classes: Sequence[str]
    source: str = ""
    """Who made it, and where it comes from."""
    notes: str = ""
    """How these images differ from the originals."""


@dataclass(frozen=True)
class Arrays:
    """A split in memory."""

    images: NDArray[np.uint8]
    """uint8 (N, C, H, W)."""
    labels: NDArray[np.int64]
    """int64 (N,)."""


@dataclass(frozen=True)
class ImageFiles:
    """A split as image files."""

    root: Path
    paths: Sequence[str]
    """Relative to `root`, with `/`, in the split's order."""
    labels: Sequence[int]
    shape: Shape
    view: View = field(default_factory=View)
    on_demand: bool = False
    """Whether the files are only indexed, and decoded whenever an image is asked for; the train split only."""


def silent(what: str, done_bytes: int, total_bytes: int) -> None:
    """Report to nobody."""


def write_prepared(
    out: Path, description: Description, splits: Mapping[str, Arrays | ImageFiles], *, report: Report = silent
) -> None:
    """Write `train` and `test` and their description into `out`, each file whole or not at all.

    Raises:
        BadRequest: The splits are not `train` and `test`, of one shape, with labels of the classes listed.
        DataDamaged: An image file cannot be decoded.
    """
    shape = _check(description, splits)
    out.mkdir(parents=True, exist_ok=True)
    (out / DESCRIPTION).unlink(missing_ok=True)
    content: dict[str, Any] = {
        "name": description.name,
        "classes": list(description.classes),
        "shape": list(shape),
        "source": description.source,
        "notes": description.notes,
        "sha256": {},
    }
    for name in SPLITS:
        split = splits[name]
        if isinstance(split, ImageFiles) and split.view != View():
            content["view"] = asdict(split.view)
        if isinstance(split, ImageFiles) and split.on_demand:
            content["train"] = _write_index(out, split, len(description.classes), report)
            content["sha256"]["train.index"] = hashlib.sha256((out / INDEX).read_bytes()).hexdigest()
        else:
            sums = write_arrays(
                out / f"{name}.safetensors", _blocks(split, name, report), labels=np.asarray(split.labels, np.int64), shape=shape
            )
            content["sha256"] |= {f"{name}.{array}": value for array, value in sums.items()}
    _write_synced(out / DESCRIPTION, json.dumps(content, indent=1, ensure_ascii=False).encode())


def _check(description: Description, splits: Mapping[str, Arrays | ImageFiles]) -> Shape:
    """Return the shape both splits have, after checking that they can be one dataset."""
    classes = list(description.classes)
    if set(splits) != set(SPLITS):
        raise BadRequest(f"dataset {description.name!r} needs the splits train and test; given: {', '.join(splits) or 'none'}")
    if not classes or len(set(classes)) != len(classes):
        raise BadRequest(f"dataset {description.name!r} needs classes, each listed once; given {classes[:5]}")
    for name, split in splits.items():
        labels = np.asarray(split.labels)
        if len(labels) == 0 or int(labels.min()) < 0 or int(labels.max()) >= len(classes):
            raise BadRequest(f"dataset {description.name!r}: {name} has no images, or labels outside 0..{len(classes) - 1}")
    shapes = {name: _shape(split) for name, split in splits.items()}
    if shapes["train"] != shapes["test"]:
        raise BadRequest(
            f"dataset {description.name!r}: images of train and test differ in shape ({shapes['train']}, {shapes['test']})"
        )
    missing = sorted(set(range(len(classes))) - set(np.unique(np.asarray(splits["train"].labels)).tolist()))
    if missing:
        raise BadRequest(f"dataset {description.name!r}: class {classes[missing[0]]!r} has no train images")
    return shapes["train"]


def _shape(split: Arrays | ImageFiles) -> Shape:
    if isinstance(split, ImageFiles):
        return split.shape
    channels, height, width = split.images.shape[1:]
    return channels, height, width


def _blocks(split: Arrays | ImageFiles, name: str, report: Report) -> Iterator[NDArray[np.uint8]]:
    """Give a split's images as blocks, telling how far it is."""
    if isinstance(split, Arrays):
        yield from blocks(split.images)
        return
    size = int(np.prod(split.shape))
    images = decoded((split.root / path for path in split.paths), shape=split.shape, view=split.view)
    for number, image in enumerate(images, start=1):
        yield image[None]
        if number % 256 == 0 or number == len(split.paths):
            report(f"decoding {name}", number * size, len(split.paths) * size)


def _write_index(out: Path, split: ImageFiles, num_classes: int, report: Report) -> dict[str, Any]:
    """Write the index of a split's files and return what was found while reading them once."""
    entries: list[FileEntry] = []
    hashes: list[bytes] = []
    for number, (path, label) in enumerate(zip(split.paths, split.labels, strict=True), start=1):
        try:
            content = (split.root / path).read_bytes()
        except OSError as error:
            raise DataDamaged(f"{split.root / path} cannot be read ({error.strerror}); replace or remove the file") from error
        entries.append(FileEntry(path, int(label), len(content)))
        hashes.append(hashlib.sha256(content).digest())
        if number % 256 == 0 or number == len(split.paths):
            report("reading train files (images)", number, len(split.paths))
    write_index(out / INDEX, FileIndex(split.root.resolve(), split.view, tuple(entries)))
    labels = np.asarray(split.labels, np.int64)
    content_sha256, order = digest_rows(hashes, labels, view=asdict(split.view))
    sums = MomentSums(split.shape[0])
    chosen = np.unique(np.linspace(0, len(entries) - 1, min(len(entries), MOMENT_SAMPLES)).astype(int))
    for image in decoded((split.root / split.paths[i] for i in chosen), shape=split.shape, view=split.view):
        sums.add(image[None])
    return {
        "counts": np.bincount(labels, minlength=num_classes).tolist(),
        "content": content_sha256,
        "order": order,
        "mean": list(sums.moments().mean),
        "std": list(sums.moments().std),
        "moments_of": len(chosen),
    }


def _write_synced(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
