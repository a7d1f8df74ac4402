"""digits: 1797 images of 8×8 pixels, shipped in prepared form; made by `make_digits.py`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ddbench import DatasetDefaults

if TYPE_CHECKING:
    from ddbench.api.dataset import Report

FOLDER = Path(__file__).with_name("digits")

FILES = ("train.safetensors", "test.safetensors", "LICENSE", "dataset.json")
"""In the order they are copied: the description, which makes a folder a dataset, is last."""


@dataclass
class DigitsSource:
    """Handwritten digits that need neither network nor disk."""

    name: str = "digits"
    version: int = 1
    description: str = "handwritten digits, 10 classes, 1×8×8, 896 train and 901 test images"
    defaults: DatasetDefaults | None = DatasetDefaults(10, "convnet3-bn", ("convnet3", "test_resnet"), "quick-soft/1")  # noqa: RUF009 - frozen
    download_bytes: int = 0
    origin: str = "scikit-learn's copy of the UCI test set (Alpaydin and Kaynak 1998, CC BY 4.0), shipped with ddbench"
    folder: Path | None = FOLDER

    def prepare(self, out: Path, *, originals: Path | None, offline: bool, report: Report) -> None:
        """Copy the shipped files, for a data root that is to hold everything."""
        for name in FILES:
            shutil.copyfile(FOLDER / name, out / name)
