"""What a dataset is, apart from where it lies and in which order: hashes of its images, and the moments of its pixels."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

IDENTITY_VERSION = 1
"""Bumped when the definition of the identity below changes."""

BLOCK_BYTES = 16 * 2**20
"""Pixels looked at together during a full pass."""


@dataclass(frozen=True)
class SplitDigest:
    """Hashes of one split."""

    content: str
    """Of its sorted (image hash, label) rows: independent of the order of images."""
    order: str
    """Of the same rows as they stand."""
    images: str = ""
    """Of the raw bytes of `images`, as `dataset.json` declares it."""
    labels: str = ""
    """The same of `labels`."""


@dataclass(frozen=True)
class Moments:
    """Per-channel mean and standard deviation (of the whole population) of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class MomentSums:
    """Sums over uint8 pixels as exact integers, so that neither order nor block size moves a bit of the result."""

    def __init__(self, channels: int) -> None:
        self._count = 0
        self._sums = [0] * channels
        self._squares = [0] * channels

    def add(self, images: NDArray[np.uint8]) -> None:
        """Add uint8 (N, C, H, W) images."""
        self._count += images.shape[0] * images.shape[2] * images.shape[3]
        squares = np.square(images, dtype=np.uint16)
        for channel in range(len(self._sums)):
            self._sums[channel] += int(images[:, channel].sum(dtype=np.uint64))
            self._squares[channel] += int(squares[:, channel].sum(dtype=np.uint64))

    def moments(self) -> Moments:
        """Return mean and standard deviation of all pixels added, each rounded once."""
        n = self._count
        pairs = list(zip(self._sums, self._squares, strict=True))
        mean = tuple(total / (255 * n) for total, _ in pairs)
        std = tuple(math.sqrt(n * squares - total * total) / (255 * n) for total, squares in pairs)
        return Moments(mean, std)


def digest_arrays(images: NDArray[np.uint8], labels: NDArray[np.int64], sums: MomentSums | None = None) -> SplitDigest:
    """Return a split's hashes in one pass over uint8 (N, C, H, W) images, which also adds them to `sums`."""
    whole = hashlib.sha256()
    rows: list[bytes] = []
    for block in blocks(images):
        whole.update(block.data)
        rows.extend(hashlib.sha256(image).digest() for image in block)
        if sums is not None:
            sums.add(block)
    content, order = digest_rows(rows, labels)
    little_endian = np.ascontiguousarray(labels, "<i8").tobytes()
    return SplitDigest(content, order, whole.hexdigest(), hashlib.sha256(little_endian).hexdigest())


def digest_rows(hashes: Sequence[bytes], labels: NDArray[np.int64], view: Mapping[str, object] | None = None) -> tuple[str, str]:
    """Return the hash of sorted (image hash, label) rows and of the rows as they stand.

    `view` is how images come from files where `hashes` are of the files, so that another view is another dataset.
    """
    start = hashlib.sha256(b"" if view is None else json.dumps(view, sort_keys=True).encode())
    rows = [digest + int(label).to_bytes(8, "big") for digest, label in zip(hashes, labels, strict=True)]
    content, order = start.copy(), start.copy()
    content.update(b"".join(sorted(rows)))
    order.update(b"".join(rows))
    return content.hexdigest(), order.hexdigest()


def identity(classes: Sequence[str], shape: Sequence[int], splits: Mapping[str, str]) -> str:
    """Return a dataset's sha256 from its class list in order, its image shape and each split's content hash."""
    parts = {"identity": IDENTITY_VERSION, "classes": list(classes), "shape": list(shape), "splits": dict(splits)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def blocks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Give contiguous blocks of images that together are all of them."""
    step = max(1, BLOCK_BYTES // max(1, images[0].nbytes))
    for start in range(0, len(images), step):
        yield np.ascontiguousarray(images[start : start + step])
