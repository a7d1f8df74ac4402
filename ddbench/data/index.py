"""A split too large to be an array: an index of image files, decoded on demand."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.data.container import Shape, remedy
from ddbench.errors import DataDamaged, DataMissing

if TYPE_CHECKING:
    from numpy.typing import NDArray

INDEX_VERSION = 1

CACHE_BYTES = 256 * 2**20
"""Decoded images kept by default, the least recently used leaving first."""

BLOCK_IMAGES = 256
"""Images decoded together while a split is written."""


@dataclass(frozen=True)
class View:
    """How an image file becomes an array of the dataset's shape."""

    resize: int | None = None
    """Short side in pixels, bilinear with antialiasing; None leaves the image."""
    crop: int | None = None
    """Side of a centre crop; None leaves the image."""


@dataclass(frozen=True)
class FileEntry:
    """One image file of an index."""

    path: str
    """Relative to the originals, with `/`."""
    label: int
    size_bytes: int


@dataclass(frozen=True)
class FileIndex:
    """The content of `train.index.json`."""

    root: Path
    """Where the original files are."""
    view: View
    files: tuple[FileEntry, ...]


class IndexedSplit:
    """Images of a split that are decoded from their original files when they are asked for."""

    def __init__(self, path: Path, *, shape: Shape, count: int, cache_bytes: int = CACHE_BYTES) -> None:
        self.path = path
        self.shape = shape
        self._count = count
        self._kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._keep = cache_bytes // max(1, int(np.prod(shape)))

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of all images, decoded."""
        return self._count * int(np.prod(self.shape))

    @cached_property
    def index(self) -> FileIndex:
        """The files, read when the first image or label is asked for."""
        return read_index(self.path)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """int64 (N,)."""
        return np.array([entry.label for entry in self.index.files], np.int64)

    def gather(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return uint8 (N, C, H, W): the images at int64 (N,) positions.

        Raises:
            DataMissing: The folder with the originals is gone.
            DataDamaged: A file is gone, changed, or cannot be decoded.
        """
        out = np.empty((len(index), *self.shape), np.uint8)
        wanted: dict[int, list[int]] = {}
        for row, position in enumerate(index.tolist()):
            wanted.setdefault(position, []).append(row)
        absent = [position for position in wanted if position not in self._kept]
        fresh = zip(absent, decoded(map(self._file, absent), shape=self.shape, view=self.index.view), strict=True)
        for position in [position for position in wanted if position in self._kept]:
            self._kept.move_to_end(position)
            out[wanted[position]] = self._kept[position]
        for position, image in fresh:
            out[wanted[position]] = image
            self._remember(position, image)
        return out

    def _remember(self, position: int, image: NDArray[np.uint8]) -> None:
        self._kept[position] = image
        while len(self._kept) > self._keep:
            self._kept.popitem(last=False)

    def _file(self, position: int) -> Path:
        """Return an original file after holding its size against the index, which is cheap; hashing it is not."""
        entry, root = self.index.files[position], self.index.root
        path = root / entry.path
        size = path.stat().st_size if path.is_file() else -1
        if size != entry.size_bytes:
            if not root.is_dir():
                raise DataMissing(
                    f"{root} is gone, which held the originals of {self.path.parent}; bring it back or {_again(self.path)}"
                )
            raise DataDamaged(
                f"{path} is {'gone' if size < 0 else 'not the file it was'} since it was indexed; {_again(self.path)}"
            )
        return path


def read_index(path: Path) -> FileIndex:
    """Return the content of `train.index.json`.

    Raises:
        DataDamaged: It is missing, not an index, or names a file outside its root.
    """
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != INDEX_VERSION:
            raise ValueError(f"format {content['format']!r}")
        files = tuple(FileEntry(str(name), int(label), int(size)) for name, label, size in content["files"])
        index = FileIndex(Path(content["root"]), View(**content["view"]), files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataDamaged(f"{path} cannot be read as an index of files ({error}); {_again(path)}") from error
    for entry in files:
        if ".." in PurePosixPath(entry.path).parts or entry.path.startswith("/"):
            raise DataDamaged(f"{path} names {entry.path!r}, which is outside its root; {_again(path)}")
    return index


def write_index(path: Path, index: FileIndex) -> None:
    """Write `train.index.json`, replaced atomically."""
    content = {
        "format": INDEX_VERSION,
        "root": str(index.root),
        "view": asdict(index.view),
        "files": [[entry.path, entry.label, entry.size_bytes] for entry in index.files],
    }
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(content, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def decoded(paths: Iterable[Path], *, shape: Shape, view: View) -> Iterator[NDArray[np.uint8]]:
    """Give uint8 (C, H, W) images of files in order, decoded by threads, a bounded number ahead."""
    remaining = iter(paths)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        while block := list(islice(remaining, BLOCK_IMAGES)):
            yield from pool.map(lambda path: decode(path, shape=shape, view=view), block)


def decode(path: Path, *, shape: Shape, view: View) -> NDArray[np.uint8]:
    """Return one image file as uint8 (C, H, W): grey for one channel, else RGB.

    Raises:
        DataDamaged: The file cannot be decoded, or gives another size than `shape`.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            picture = _viewed(file.convert("L" if shape[0] == 1 else "RGB"), view)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataDamaged(f"{path} cannot be decoded as an image ({error}); replace or remove the file") from error
    array = np.asarray(picture, np.uint8)
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    if array.shape != shape:
        raise DataDamaged(f"{path} gives an image of shape {array.shape}, not {shape}; give --size so that all images become equal")
    return np.ascontiguousarray(array)


def _viewed(picture: Any, view: View) -> Any:
    """Return a PIL image resized and cropped with the roundings of torchvision's Resize and CenterCrop."""
    from PIL import Image

    if view.resize is not None and min(picture.size) != view.resize:
        short = min(picture.size)
        width, height = (view.resize if side == short else int(view.resize * side / short) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    if view.crop is not None:
        left, top = (round((side - view.crop) / 2) for side in picture.size)
        picture = picture.crop((left, top, left + view.crop, top + view.crop))
    return picture


def _again(path: Path) -> str:
    return f"{remedy(path.parent)} --from DIR"
