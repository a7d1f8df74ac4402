"""ImageNet-1k from its folders of images, and the ten-class subsets that generative methods are compared on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddbench import DatasetDefaults, Outline
from ddbench.data.defaults import IMAGENET_SIZE
from ddbench.errors import DataDamaged, DataMissing

from .subsets import SUBSETS

if TYPE_CHECKING:
    from pathlib import Path

    from ddbench.api.dataset import Report

ORIGIN = "ImageNet's train/<wnid>/ and val/<wnid>/ (Russakovsky et al. 2015; image-net.org, for research, after registration)"

SUBSET_SIZE = DatasetDefaults(10, "resnet18", ("convnet5",), "glad/1")
"""GLaD distils and tests ten classes at 128 px with ConvNet-5 (its README's commands)."""

NUM_CLASSES = 1000


@dataclass
class ImageNetSource:
    """All of ImageNet, or ten of its classes."""

    name: str
    description: str
    wnids: tuple[str, ...] = ()
    """Class folders in the order of labels; empty for all, in sorted order, which is ImageNet's class index."""
    resize: int = 256
    crop: int = 224
    num_classes: int = NUM_CLASSES
    version: int = 1
    defaults: DatasetDefaults | None = IMAGENET_SIZE
    download_bytes: int = 0
    origin: str = ORIGIN
    folder: Path | None = None

    @property
    def outline(self) -> Outline:
        """All of ImageNet exactly; a subset with a full class's 1300 train images each, which some classes lack."""
        train, test = (1_281_167, 50_000) if self.num_classes == NUM_CLASSES else (1300 * self.num_classes, 50 * self.num_classes)
        return Outline(self.num_classes, (3, self.crop, self.crop), train, test)

    def prepare(self, out: Path, *, originals: Path | None, offline: bool, report: Report) -> None:
        """Write the images in prepared form; all of ImageNet's train split as an index, decoded on demand.

        Raises:
            DataMissing: No folder with the originals was given, or a split or a class is not there.
            DataDamaged: A class folder is missing from ImageNet, or a file is no image.
        """
        from ddbench.data import Description, View, write_prepared
        from ddbench.data.folder import class_names, image_splits, list_images, resized_note

        if originals is None:
            raise DataMissing(f"dataset {self.name!r} cannot be downloaded; run: ddbench data prepare {self.name} --from DIR")
        root = _root(originals)
        classes = self.wnids or tuple(class_names(root / "train"))
        if len(classes) != self.num_classes:
            raise DataDamaged(
                f"{root / 'train'} holds {len(classes)} class folders, not {self.num_classes}; label numbers need all of them"
            )
        listings = [list_images(root / split, classes) for split in ("train", "val")]
        view = View(self.resize, self.crop)
        splits = image_splits(listings, shape=(3, self.crop, self.crop), view=view, on_demand=not self.wnids)
        notes = f"test is the validation split; {resized_note(self.resize)} to {self.crop} px"
        write_prepared(out, Description(self.name, classes, self.origin, notes), splits, report=report)


def imagenet_sources() -> list[ImageNetSource]:
    """Return ImageNet and its subsets."""
    whole = ImageNetSource("imagenet", "ImageNet-1k, 1000 classes, 3×224×224, train decoded on demand")
    return [whole, *(_subset(name) for name in SUBSETS)]


def _subset(name: str) -> ImageNetSource:
    title, wnids = SUBSETS[name]
    description = f"ten ImageNet classes ({title}), 3×128×128"
    return ImageNetSource(name, description, tuple(wnids.split()), 128, 128, num_classes=10, defaults=SUBSET_SIZE)


def _root(originals: Path) -> Path:
    """Return the folder above `train` and `val`, also inside the archive's own folders."""
    for folder in (originals, originals / "ILSVRC" / "Data" / "CLS-LOC"):
        if (folder / "train").is_dir() and (folder / "val").is_dir():
            return folder
    raise DataMissing(f"{originals} does not hold train/<wnid>/ and val/<wnid>/; name the folder above them with --from")
