"""One split's file: a safetensors container read memory-mapped and written as a stream, so that no split has to fit in memory."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ddbench.errors import DataDamaged

if TYPE_CHECKING:
    from numpy.typing import NDArray

TYPES = {"images": ("U8", 1), "labels": ("I64", 8)}
"""Tensors of a split: their safetensors type and bytes an item."""

LABELS = np.dtype(np.int64).newbyteorder("<")

Shape = tuple[int, int, int]
"""Channels, height, width."""

HEADER_LIMIT_BYTES = 100_000_000
"""The most a safetensors header may have by its own specification."""


@dataclass(frozen=True)
class Layout:
    """Where a tensor lies in its file."""

    offset: int
    end: int
    shape: tuple[int, ...]


def map_arrays(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return a split's images, uint8 (N, C, H, W), mapped copy-on-write, and its labels, int64 (N,), read.

    Only the header and the labels are read; the header is held against the file's size.

    Raises:
        DataDamaged: The file is missing, cut short, or holds something else.
    """
    try:
        layouts = _layouts(path)
        images = np.memmap(path, np.uint8, mode="c", offset=layouts["images"].offset, shape=layouts["images"].shape)
        labels = np.fromfile(path, LABELS, count=layouts["labels"].shape[0], offset=layouts["labels"].offset)
    except OSError as error:
        raise DataDamaged(f"{path} cannot be read ({error.strerror}); {remedy(path.parent)}") from error
    return np.asarray(images), labels


def write_arrays(path: Path, images: Iterable[NDArray[np.uint8]], *, labels: NDArray[np.int64], shape: Shape) -> dict[str, str]:
    """Write one split and return the sha256 of its `images` and `labels` bytes.

    Args:
        path: The file, replaced atomically.
        images: Blocks of uint8 (n, C, H, W) that together give as many images as there are labels.
        labels: int64 (N,).
        shape: Channels, height, width.

    Raises:
        ValueError: The blocks are not uint8 of that shape or not that many; the file is not written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            sums = _write_content(file, images, labels=labels, shape=shape)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return sums


def remedy(folder: Path) -> str:
    """Return what a user does about a damaged folder in prepared form."""
    return f"remove {folder} and run: ddbench data prepare {folder.name}"


def _write_content(
    file: BinaryIO, images: Iterable[NDArray[np.uint8]], *, labels: NDArray[np.int64], shape: Shape
) -> dict[str, str]:
    sums = {"images": hashlib.sha256(), "labels": hashlib.sha256()}
    written = 0
    content = np.ascontiguousarray(labels, LABELS).tobytes()
    sums["labels"].update(content)
    file.write(_header(len(labels), shape) + content)
    for block in images:
        if block.dtype != np.uint8 or block.shape[1:] != shape:
            raise ValueError(f"images are {block.dtype} {block.shape[1:]}, not uint8 {shape}")
        content = np.ascontiguousarray(block).tobytes()
        sums["images"].update(content)
        file.write(content)
        written += len(block)
    if written != len(labels):
        raise ValueError(f"there are {written} images and {len(labels)} labels")
    return {name: digest.hexdigest() for name, digest in sums.items()}


def _header(count: int, shape: Shape) -> bytes:
    """Return the container's header: labels first, so that images end the file and every tensor is aligned."""
    middle = 8 * count
    end = middle + count * math.prod(shape)
    content = {
        "labels": {"dtype": "I64", "shape": [count], "data_offsets": [0, middle]},
        "images": {"dtype": "U8", "shape": [count, *shape], "data_offsets": [middle, end]},
    }
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _layouts(path: Path) -> dict[str, Layout]:
    """Return where `images` and `labels` lie, after holding the header against the file's size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, HEADER_LIMIT_BYTES):
            raise DataDamaged(f"{path} is cut short or no safetensors file ({size} bytes); {remedy(path.parent)}")
        header = _parsed(file.read(length), path)
    layouts = {name: _layout(name, header, path, base=8 + length) for name in TYPES}
    end = max(layout.end for layout in layouts.values())
    if end != size:
        what = "is cut short" if size < end else "has bytes too many"
        raise DataDamaged(f"{path} {what}: {size} bytes, where its header says {end}; {remedy(path.parent)}")
    if len(layouts["images"].shape) != 4 or layouts["labels"].shape != layouts["images"].shape[:1] or 0 in layouts["images"].shape:
        shapes = {name: layout.shape for name, layout in layouts.items()}
        raise DataDamaged(f"{path} holds {shapes}, not images (N, C, H, W) and labels (N,); {remedy(path.parent)}")
    return layouts


def _parsed(text: bytes, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except ValueError as error:
        raise DataDamaged(f"{path} has a header that cannot be read; {remedy(path.parent)}") from error
    if not isinstance(header, dict) or set(header) - {"__metadata__"} != set(TYPES):
        raise DataDamaged(f"{path} does not hold just `images` and `labels`; {remedy(path.parent)}")
    return header


def _layout(name: str, header: dict[str, Any], path: Path, *, base: int) -> Layout:
    code, item_bytes = TYPES[name]
    try:
        entry = header[name]
        shape = tuple(int(size) for size in entry["shape"])
        begin, end = (int(offset) for offset in entry["data_offsets"])
        right = entry["dtype"] == code and end - begin == math.prod(shape) * item_bytes and min(begin, *shape) >= 0
    except (KeyError, TypeError, ValueError) as error:
        raise DataDamaged(f"{path} has a header that cannot be read; {remedy(path.parent)}") from error
    if not right:
        raise DataDamaged(
            f"{path} says that {name!r} is {entry['dtype']} {shape}, which its offsets contradict; {remedy(path.parent)}"
        )
    return Layout(base + begin, base + end, shape)
