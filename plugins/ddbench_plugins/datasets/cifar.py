"""CIFAR-10 and CIFAR-100 as torchvision reads them, after its checksums."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddbench.data.defaults import CIFAR_SIZE
from ddbench.errors import DataMissing

if TYPE_CHECKING:
    from pathlib import Path

    from ddbench import DatasetDefaults, Outline
    from ddbench.api.dataset import Report
    from ddbench.data import Arrays

SCRATCH = ".originals"
"""Inside the folder being prepared, so that it goes with it when something fails."""


@dataclass
class CifarSource:
    """One of the two CIFAR datasets."""

    name: str
    torchvision_name: str
    download_bytes: int
    version: int = 1
    description: str = "colour photographs, 3×32×32, 50 000 train and 10 000 test images"
    defaults: DatasetDefaults | None = CIFAR_SIZE
    origin: str = "Krizhevsky 2009, www.cs.toronto.edu/~kriz"
    folder: Path | None = None
    outline: Outline | None = None

    def prepare(self, out: Path, *, originals: Path | None, offline: bool, report: Report) -> None:
        """Write the train and the test batches in prepared form.

        Raises:
            DataMissing: `originals` holds neither the archive nor the unpacked batches, or the download failed.
            DataDamaged: A file has another checksum than torchvision's.
            Offline: A download would be needed.
        """
        import shutil

        from torchvision import datasets

        from ddbench.data import Description, write_prepared

        kind = getattr(datasets, self.torchvision_name)
        scratch = out / SCRATCH
        scratch.mkdir()
        root = _unpacked(kind, scratch, originals=originals, offline=offline, report=report)
        _check_batches(kind, root)
        classes, splits = _read(kind, root)
        shutil.rmtree(scratch)
        about = Description(self.name, classes, self.origin, "exact, in the original order")
        write_prepared(out, about, splits, report=report)


def _unpacked(kind: Any, scratch: Path, *, originals: Path | None, offline: bool, report: Report) -> Path:
    """Return the folder that holds torchvision's `base_folder`, unpacked from the archive where that is needed."""
    from torchvision.datasets.utils import extract_archive

    from ddbench.data.fetch import Remote, check_file, fetch

    if originals is not None and (originals / kind.base_folder).is_dir():
        return originals
    archive = scratch / kind.filename if originals is None else originals / kind.filename
    if originals is None:
        fetch(Remote(kind.url, kind.tgz_md5), archive, offline=offline, report=report)
    elif not archive.is_file():
        raise DataMissing(
            f"{originals} holds neither {kind.filename} nor {kind.base_folder}/; name the folder that does with --from"
        )
    check_file(archive, kind.tgz_md5)
    extract_archive(archive, scratch)
    return scratch


def _check_batches(kind: Any, root: Path) -> None:
    """Raise unless every batch has torchvision's checksum; they are pickles, and nothing else may be unpickled."""
    from ddbench.data.fetch import check_file

    for name, md5 in [*kind.train_list, *kind.test_list, [kind.meta["filename"], kind.meta["md5"]]]:
        path = root / kind.base_folder / name
        if not path.is_file():
            raise DataMissing(f"{path} is missing; unpack {kind.filename} again")
        check_file(path, md5)


def _read(kind: Any, root: Path) -> tuple[list[str], dict[str, Arrays]]:
    """Return the class names and the splits as torchvision reads them."""
    import numpy as np

    from ddbench.data import Arrays

    splits = {}
    classes: list[str] = []
    with warnings.catch_warnings():
        # The batches were pickled by a numpy that wrote `align` as an integer; newer ones say so on every read.
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        for split in ("train", "test"):
            data = kind(root, train=split == "train")
            splits[split] = Arrays(np.ascontiguousarray(data.data.transpose(0, 3, 1, 2)), np.array(data.targets, np.int64))
            classes = list(data.classes)
    return classes, splits
