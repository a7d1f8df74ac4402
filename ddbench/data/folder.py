"""Any folder of images, `train/<class>/*` and `test/<class>/*` (or `val/<class>/*`), as a dataset."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ddbench.data.index import View
from ddbench.data.writing import Description, ImageFiles, write_prepared
from ddbench.errors import BadRequest, DataDamaged, DataMissing

if TYPE_CHECKING:
    from ddbench.api.dataset import DatasetDefaults, Report
    from ddbench.data.container import Shape

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".webp"})

TEST_FOLDERS = ("test", "val")
"""Names under which the test split is looked for, in this order."""

ARRAY_BYTES = 16 * 2**30
"""A train split above this is indexed and decoded on demand instead of written as an array."""


@dataclass(frozen=True)
class Listing:
    """The image files of one split, by class and name."""

    root: Path
    paths: tuple[str, ...]
    """Relative to `root`, with `/`."""
    labels: tuple[int, ...]


@dataclass
class FolderSource:
    """A dataset source for a folder that the user has."""

    name: str
    originals: Path
    size: int | None = None
    """Side in pixels that every image is resized (short side) and centre-cropped to; None needs images of one size."""
    version: int = 1
    description: str = "a folder of images"
    defaults: DatasetDefaults | None = None
    download_bytes: int = 0
    origin: str = "a folder of yours"
    folder: Path | None = None

    def prepare(self, out: Path, *, originals: Path | None, offline: bool, report: Report) -> None:  # noqa: ARG002 - nothing to download
        """Write the folder in prepared form.

        Raises:
            DataMissing: A split or its images are not there.
            DataDamaged: A file is no image.
            BadRequest: Images differ in size and no size was given, or the test split has other classes.
        """
        root = originals or self.originals
        train_folder, test_folder = split_folders(root)
        classes = class_names(train_folder)
        unknown = sorted(set(class_names(test_folder)) - set(classes))
        if unknown:
            raise BadRequest(
                f"{test_folder} has class {unknown[0]!r}, which {train_folder} has not; both need the same class folders"
            )
        listings = [list_images(folder, classes) for folder in (train_folder, test_folder)]
        shape = common_shape(listings, self.size)
        view = View(self.size, self.size)
        about = Description(self.name, classes, f"image folder {root.name}", resized_note(self.size))
        splits = image_splits(listings, shape=shape, view=view, on_demand=len(listings[0].paths) * math.prod(shape) > ARRAY_BYTES)
        write_prepared(out, about, splits, report=report)


def split_folders(root: Path) -> tuple[Path, Path]:
    """Return the folders of the train and the test split.

    Raises:
        DataMissing: One is not there.
    """
    found = [root / name for name in TEST_FOLDERS if (root / name).is_dir()]
    if not (root / "train").is_dir() or not found:
        raise DataMissing(
            f"{root} does not hold train/<class>/ and test/<class>/ (or val/<class>/); name the folder above them with --from"
        )
    return root / "train", found[0]


def class_names(folder: Path) -> list[str]:
    """Return the class folders' names, sorted; hidden ones are ignored.

    Raises:
        DataMissing: There are none.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataMissing(f"{folder} cannot be listed ({error.strerror})") from error
    if not names:
        raise DataMissing(f"{folder} holds no class folders; each class is a folder of images")
    return names


def list_images(folder: Path, classes: Sequence[str], *, inside: str = "") -> Listing:
    """Return the image files of `folder/<class>/<inside>`, sorted by class and name; hidden and other files are ignored.

    Raises:
        DataMissing: A class has no folder or no images.
    """
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        prefix = f"{name}/{inside}" if inside else name
        found = _image_names(folder / prefix)
        paths.extend(f"{prefix}/{image}" for image in found)
        labels.extend([label] * len(found))
    return Listing(folder, tuple(paths), tuple(labels))


def image_splits(listings: Sequence[Listing], *, shape: Shape, view: View, on_demand: bool) -> dict[str, ImageFiles]:
    """Return the train and the test listing as what `write_prepared` takes; only train may be decoded on demand."""
    train, test = listings
    return {
        "train": ImageFiles(train.root, train.paths, train.labels, shape, view, on_demand),
        "test": ImageFiles(test.root, test.paths, test.labels, shape, view),
    }


def common_shape(listings: Sequence[Listing], size: int | None) -> Shape:
    """Return the shape all images get: one channel where all are grey, else three; `size`, or the one size they have.

    Raises:
        BadRequest: They differ in size and none was given.
        DataDamaged: A file is no image.
    """
    if size is not None and size < 1:
        raise BadRequest(f"--size {size} is no image size; give the side in pixels, for example --size 64")
    grey, first, first_path = True, (0, 0), Path()
    for path in (listing.root / name for listing in listings for name in listing.paths):
        mode, pixels = _header(path)
        grey = grey and mode in {"1", "L"}
        if first == (0, 0):
            first, first_path = pixels, path
        if size is None and pixels != first:
            raise BadRequest(
                f"images differ in size: {first_path} is {first[0]}×{first[1]}, {path} is {pixels[0]}×{pixels[1]}; give --size"
            )
    width, height = first if size is None else (size, size)
    return 1 if grey else 3, height, width


def resized_note(size: int | None) -> str:
    """Return what is said of images that were cut from larger ones."""
    return "as the files are" if size is None else f"short side resized to {size} px (bilinear, antialiased), centre-cropped"


def _image_names(folder: Path) -> list[str]:
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith(".")]
    except OSError as error:
        raise DataMissing(f"{folder} cannot be listed ({error.strerror}); every class needs a folder of images") from error
    images = sorted(name for name in names if Path(name).suffix.lower() in SUFFIXES)
    if not images:
        raise DataMissing(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))}); add some or remove the class folder")
    return images


def _header(path: Path) -> tuple[str, tuple[int, int]]:
    """Return an image file's mode and (width, height), without decoding it."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            mode, size = file.mode, file.size
    except (OSError, SyntaxError, ValueError) as error:
        raise DataDamaged(f"{path} cannot be read as an image ({error}); replace or remove the file") from error
    if mode == "F" or mode.startswith("I"):
        raise DataDamaged(
            f"{path} has more than 8 bits a channel (mode {mode}), which is not supported; convert the file to 8 bits"
        )
    return mode, size
