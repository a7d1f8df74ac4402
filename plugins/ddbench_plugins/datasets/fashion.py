"""Fashion-MNIST as torchvision reads it, after its checksums."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddbench import DatasetDefaults, Outline
from ddbench.errors import DataMissing

if TYPE_CHECKING:
    from pathlib import Path

    from ddbench.api.dataset import Report

SCRATCH = ".originals"
"""Inside the folder being prepared, so that it goes with it when something fails."""


@dataclass
class FashionMnistSource:
    """Zalando's articles of clothing."""

    name: str = "fashion-mnist"
    version: int = 1
    description: str = "grey pictures of clothing, 10 classes, 1×28×28, 60 000 train and 10 000 test images"
    defaults: DatasetDefaults | None = DatasetDefaults(10, "convnet3-bn", ("convnet3",), "dc-hard/1")  # noqa: RUF009 - frozen
    download_bytes: int = 30_878_645
    outline: Outline = Outline(10, (1, 28, 28), 60_000, 10_000)  # noqa: RUF009 - frozen
    origin: str = "Xiao, Rasul and Vollgraf 2017, Zalando (MIT), github.com/zalandoresearch/fashion-mnist"
    folder: Path | None = None

    def prepare(self, out: Path, *, originals: Path | None, offline: bool, report: Report) -> None:
        """Write the four files' content in prepared form.

        Raises:
            DataMissing: `originals` lacks one of the four `.gz` files, or the download failed.
            DataDamaged: A file has another checksum than torchvision's.
            Offline: A download would be needed.
        """
        import numpy as np
        from torchvision.datasets import FashionMNIST

        from ddbench.data import Arrays, Description, write_prepared

        scratch = out / SCRATCH
        raw = scratch / FashionMNIST.__name__ / "raw"
        raw.mkdir(parents=True)
        _provide(FashionMNIST, raw, originals=originals, offline=offline, report=report)
        splits = {}
        for split in ("train", "test"):
            data = FashionMNIST(scratch, train=split == "train", download=True)  # all is there: this only unpacks
            splits[split] = Arrays(data.data[:, None].numpy(), data.targets.numpy().astype(np.int64))
        shutil.rmtree(scratch)
        about = Description(self.name, FashionMNIST.classes, self.origin, "exact, in the original order")
        write_prepared(out, about, splits, report=report)


def _provide(kind: Any, raw: Path, *, originals: Path | None, offline: bool, report: Report) -> None:
    """Put the four `.gz` files where torchvision looks for them, each with its checksum."""
    from ddbench.data.fetch import Remote, check_file, fetch

    for name, md5 in kind.resources:
        if originals is None:
            fetch(Remote(f"{kind.mirrors[0]}{name}", md5), raw / name, offline=offline, report=report)
            continue
        places = [folder / name for folder in (originals, originals / "raw", originals / kind.__name__ / "raw")]
        found = next((path for path in places if path.is_file()), None)
        if found is None:
            raise DataMissing(f"{originals} does not hold {name}; name the folder with Fashion-MNIST's four .gz files with --from")
        check_file(found, md5)
        shutil.copyfile(found, raw / name)
