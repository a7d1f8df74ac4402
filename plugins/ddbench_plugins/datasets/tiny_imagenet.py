"""Tiny-ImageNet: 200 ImageNet classes at 64×64; its test split here is the labelled validation split."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddbench import Outline
from ddbench.data.defaults import TINY_SIZE
from ddbench.errors import DataDamaged, DataMissing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ddbench import DatasetDefaults
    from ddbench.api.dataset import Report
    from ddbench.data.folder import Listing

BASE = "tiny-imagenet-200"
URL = f"http://cs231n.stanford.edu/{BASE}.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
"""As avalanche and others state it; the publisher gives none."""

SCRATCH = ".originals"
"""Inside the folder being prepared, so that it goes with it when something fails."""


@dataclass
class TinyImageNetSource:
    """Stanford's 200-class subset of ImageNet."""

    name: str = "tiny-imagenet"
    version: int = 1
    description: str = "ImageNet photographs, 200 classes, 3×64×64, 100 000 train and 10 000 test images"
    defaults: DatasetDefaults | None = TINY_SIZE
    download_bytes: int = 248_100_043
    outline: Outline = Outline(200, (3, 64, 64), 100_000, 10_000)  # noqa: RUF009 - frozen
    origin: str = "Stanford CS231n, from ImageNet, cs231n.stanford.edu"
    folder: Path | None = None
    url: str = URL
    md5: str = MD5
    sizes: tuple[int, int, int] = (200, 100_000, 10_000)
    """Classes, train and test images of the whole dataset; fewer means that an archive was unpacked in part."""

    def prepare(self, out: Path, *, originals: Path | None, offline: bool, report: Report) -> None:
        """Write the images in prepared form.

        Raises:
            DataMissing: `originals` holds neither the archive nor its folder, or the download failed.
            DataDamaged: The archive has another checksum, or images are missing.
            Offline: A download would be needed.
        """
        from ddbench.data import Description, View, write_prepared
        from ddbench.data.folder import class_names, common_shape, image_splits, list_images

        root = self._unpacked(out / SCRATCH, originals=originals, offline=offline, report=report)
        classes = class_names(root / "train")
        listings = [list_images(root / "train", classes, inside="images"), list_validation(root / "val", classes)]
        found = (len(classes), *(len(listing.paths) for listing in listings))
        if found != self.sizes:
            raise DataDamaged(
                f"{root} holds {found} classes, train and validation images, not {self.sizes}; unpack the archive again"
            )
        splits = image_splits(listings, shape=(3, *common_shape(listings, None)[1:]), view=View(), on_demand=False)
        about = Description(self.name, classes, self.origin, "test is the labelled validation split; grey images as RGB")
        write_prepared(out, about, splits, report=report)
        shutil.rmtree(out / SCRATCH, ignore_errors=True)

    def _unpacked(self, scratch: Path, *, originals: Path | None, offline: bool, report: Report) -> Path:
        """Return the folder above `train` and `val`."""
        from ddbench.data.fetch import Remote, check_file, fetch

        archive = (originals or scratch) / f"{BASE}.zip"
        if originals is None:
            scratch.mkdir()
            fetch(Remote(self.url, self.md5, self.download_bytes), archive, offline=offline, report=report)
        else:
            for folder in (originals, originals / BASE):
                if (folder / "train").is_dir() and (folder / "val").is_dir():
                    return folder
            if not archive.is_file():
                raise DataMissing(f"{originals} holds neither {archive.name} nor {BASE}/; name the folder that does with --from")
            check_file(archive, self.md5)
        report(f"unpacking {archive.name}", 0, archive.stat().st_size)
        with zipfile.ZipFile(archive) as content:
            content.extractall(scratch)
        return scratch / BASE


def list_validation(folder: Path, classes: Sequence[str]) -> Listing:
    """Return the validation images by class and name: by `val_annotations.txt`, or by class folders where someone sorted them.

    Raises:
        DataDamaged: The annotations cannot be read or name an unknown class.
    """
    from ddbench.data.folder import Listing, list_images

    annotations = folder / "val_annotations.txt"
    if not annotations.is_file():
        inside = "images" if (folder / classes[0] / "images").is_dir() else ""
        return list_images(folder, classes, inside=inside)
    labels = {name: label for label, name in enumerate(classes)}
    rows: list[tuple[int, str]] = []
    for line in annotations.read_text("utf-8").splitlines():
        name, _, rest = line.partition("\t")
        label = labels.get(rest.partition("\t")[0])
        if label is None or "/" in name:
            raise DataDamaged(
                f"{annotations} has the line {line[:60]!r}, which names no image of a known class; unpack the archive again"
            )
        rows.append((label, f"images/{name}"))
    rows.sort()
    return Listing(folder, tuple(path for _, path in rows), tuple(label for label, _ in rows))
