"""Writes `digits/` from scikit-learn's copy of the UCI test set; run once, and equal bytes come out again.

    python make_digits.py [OUT]

Values 0..16 become round(v * 255 / 16). Half of each class, the smaller half where its count is odd, is train; which
half is decided by a hash of the image's number, so that no random generator's history matters.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from ddbench.data import Arrays, Description, write_prepared

SOURCE = (
    "UCI Optical Recognition of Handwritten Digits, Alpaydin and Kaynak 1998 (CC BY 4.0), the test set as copied in scikit-learn"
)

NOTES = "values 0..16 scaled to 0..255; a fixed half of each class is train; each split in the original order"


def split_of_train(labels: np.ndarray) -> np.ndarray:
    """Return bool (N,): which images are train."""
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        numbers = np.flatnonzero(labels == label)
        shuffled = sorted(numbers.tolist(), key=lambda number: hashlib.sha256(f"ddbench digits/1: {number}".encode()).digest())
        chosen[shuffled[: len(numbers) // 2]] = True
    return chosen


def make(out: Path) -> None:
    """Write the two splits and their description into `out`."""
    digits = load_digits()
    images = np.rint(digits.images * 255 / 16).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    train = split_of_train(labels)
    splits = {"train": Arrays(images[train], labels[train]), "test": Arrays(images[~train], labels[~train])}
    write_prepared(out, Description("digits", [str(digit) for digit in range(10)], SOURCE, NOTES), splits)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("digits"))
