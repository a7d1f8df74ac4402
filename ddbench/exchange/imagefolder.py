"""A folder of images for each class, as SRe2L and RDED leave it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ddbench.data import View
from ddbench.data.folder import SUFFIXES
from ddbench.data.index import decoded
from ddbench.errors import DataDamaged
from ddbench.exchange.raw import RawFile, RawSet
from ddbench.exchange.safety import files_below, refuse, sha256_of, shown

if TYPE_CHECKING:
    from ddbench.api.dataset import DatasetFacts

NUMBERED = re.compile(r"(?:new|class|cls|label)?[_-]?(\d{1,6})", re.IGNORECASE)
"""Folders named by the number of their class, from 0: `3`, `00003`, `new003` (SRe2L), `class_3`."""

FORMATS = ("JPEG", "PNG", "WEBP")
"""What is decoded; other formats, some of which call other programs, are refused whatever a file is called."""

LOSSY = {"JPEG", "WEBP"}


def read_imagefolder(path: Path, facts: DatasetFacts, most: int) -> RawFile:
    """Return the images of a folder with a folder for each class, image 0 of every class first, then image 1.

    Raises:
        UnsafeFile: A link leads out of the folder, or its files come to too much.
        DataDamaged: A file cannot be decoded.
        BadSet: A class has no folder or no images, or images have another size than the dataset's.
    """
    files = [file for file in files_below(path, most) if file.suffix.lower() in SUFFIXES]
    by_class = _by_class(path, files, facts.classes)
    order = [(image, label) for label, images in enumerate(by_class) for image in enumerate(images)]
    order.sort(key=lambda item: (item[0][0], item[1]))
    images, notes = read_images([image for (_, image), _ in order], facts)
    labels = torch.tensor([label for _, label in order])
    return RawFile(path, "imagefolder", sha256_of(files, path), (RawSet(images, labels),), notes=notes)


def read_images(paths: Sequence[Path], facts: DatasetFacts) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Return uint8 (N, C, H, W) of image files in order, and a note where some of them are of a lossy format.

    Raises:
        DataDamaged: A file is no image, or cannot be decoded.
        BadSet: One has another size than the dataset's images.
    """
    lossy = sum(_checked_format(path, facts) in LOSSY for path in paths)
    array = np.stack(list(decoded(paths, shape=facts.shape, view=View())))
    note = f"{lossy} of {len(paths)} images are JPEG or WebP, which round pixels; the random control's images are exact"
    return torch.from_numpy(array), (note,) if lossy else ()


def _by_class(root: Path, files: Sequence[Path], classes: Sequence[str]) -> list[list[Path]]:
    """Return the image files by class, each class's sorted by name."""
    found: dict[str, list[Path]] = {}
    for file in files:
        below = file.relative_to(root)
        if len(below.parts) == 1:
            raise refuse(file, "lies beside the class folders; each image belongs into the folder of its class")
        found.setdefault(below.parts[0], []).append(file)
    if not found:
        raise refuse(root, f"holds no images ({', '.join(sorted(SUFFIXES))}) in class folders, nor a file of tensors")
    label_of = _labels(root, list(found), classes)
    by_class: list[list[Path]] = [[] for _ in classes]
    for name, images in found.items():
        by_class[label_of[name]] = sorted(images)
    missing = [name for name, images in zip(classes, by_class, strict=True) if not images]
    if missing:
        raise refuse(root, f"class {missing[0]!r} has no images, {len(missing)} of {len(classes)} classes are missing")
    return by_class


def _labels(root: Path, names: Sequence[str], classes: Sequence[str]) -> Mapping[str, int]:
    """Return the class each folder stands for, by its name or its number from 0.

    Raises:
        BadSet: A name is neither, or two folders stand for one class.
    """
    by_name = {name: label for label, name in enumerate(classes)}
    if set(names) <= set(by_name):
        return by_name
    numbers = {name: int(match[1]) for name in names if (match := NUMBERED.fullmatch(name))}
    strange = [name for name in names if numbers.get(name, len(classes)) >= len(classes)]
    if strange:
        raise refuse(
            root,
            f"folder {shown(strange[0])!r} is neither a class's name ({', '.join(classes[:3])}, …) nor its number from 0 to "
            f"{len(classes) - 1}; rename the folders",
        )
    if len(set(numbers.values())) != len(names):
        raise refuse(root, "two folders stand for one class by their numbers; keep one of them")
    return numbers


def _checked_format(path: Path, facts: DatasetFacts) -> str:
    """Return an image file's format; its size is looked at before it is decoded.

    Raises:
        DataDamaged: It is no image of a format that is read.
        BadSet: It has another size than the dataset's images, or more than 8 bits a channel.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on images of great size, which are refused below
            with Image.open(path, formats=FORMATS) as file:
                name, size, mode = str(file.format), file.size, file.mode
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataDamaged(f"{shown(path)} cannot be read as {', '.join(FORMATS)} ({shown(error)})") from error
    return _fitting(path, (name, size, mode), facts)


def _fitting(path: Path, header: tuple[str, tuple[int, int], str], facts: DatasetFacts) -> str:
    name, (width, height), mode = header
    if (height, width) != facts.shape[1:]:
        expected = f"{facts.shape[2]}×{facts.shape[1]}"
        raise refuse(path, f"is {width}×{height}; images of {facts.name} are {expected}, and sets of another size are not compared")
    if mode.startswith("I") or mode == "F":
        raise refuse(path, f"has more than 8 bits a channel (mode {mode}); save it with 8, or bring tensors")
    return name


def save_image(array: np.ndarray[Any, np.dtype[np.uint8]], path: Path) -> None:
    """Write uint8 (C, H, W) as a PNG, which keeps every pixel."""
    from PIL import Image

    Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0))).save(path, "PNG")
