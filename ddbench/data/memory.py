"""A dataset from arrays in memory, for tests, the conformance kit and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.api.dataset import DatasetFacts
from ddbench.data.identity import MomentSums, digest_arrays, identity
from ddbench.data.prepared import ArraySplit, Prepared
from ddbench.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def in_memory(
    train: tuple[Tensor | Any, Tensor | Any],
    test: tuple[Tensor | Any, Tensor | Any],
    *,
    name: str = "toy",
    classes: Sequence[str] = (),
) -> Prepared:
    """Return a dataset whose images never touch a disk; it has the identity it would have in prepared form.

    Args:
        train: Images, uint8 (N, C, H, W), and labels, int64 (N,): torch tensors on the CPU or numpy arrays.
        test: The same for the test split.
        name: What the dataset is called.
        classes: Names of the classes; the numbers 0, 1, … unless given.

    Raises:
        BadRequest: Images are not uint8 of one shape, or a label or a class's train images are missing.
    """
    splits = {"train": _split(*train), "test": _split(*test)}
    highest = max(int(split.labels.max()) for split in splits.values())
    names = tuple(classes) or tuple(str(label) for label in range(highest + 1))
    counts = np.bincount(splits["train"].labels, minlength=len(names))
    shapes = {split.images.shape[1:] for split in splits.values()}
    if len(shapes) != 1 or highest >= len(names) or (counts == 0).any():
        raise BadRequest(
            f"no dataset: images of {sorted(shapes)}, labels up to {highest}, {len(names)} classes, counts {counts.tolist()}"
        )
    return _opened(name, names, splits)


def _opened(name: str, classes: tuple[str, ...], splits: Mapping[str, ArraySplit]) -> Prepared:
    channels, height, width = splits["train"].images.shape[1:]
    sums = MomentSums(channels)
    digests = {
        "train": digest_arrays(splits["train"].images, splits["train"].labels, sums),
        "test": digest_arrays(splits["test"].images, splits["test"].labels),
    }
    shape = (channels, height, width)
    facts = DatasetFacts(
        name=name,
        classes=classes,
        shape=shape,
        mean=sums.moments().mean,
        std=sums.moments().std,
        counts=tuple(np.bincount(splits["train"].labels, minlength=len(classes)).tolist()),
        test_images=len(splits["test"]),
        sha256=identity(classes, shape, {split: digest.content for split, digest in digests.items()}),
        source="in memory",
    )
    return Prepared(facts, splits["train"], splits["test"], {split: digest.order for split, digest in digests.items()})


def _split(images: Tensor | Any, labels: Tensor | Any) -> ArraySplit:
    pixels, indices = np.asarray(images).copy(), np.asarray(labels).copy()
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or indices.shape != pixels.shape[:1] or not len(pixels):
        raise BadRequest(
            f"images are {pixels.dtype} {pixels.shape} and labels {indices.shape}; uint8 (N, C, H, W) and (N,) are meant"
        )
    if indices.dtype.kind not in "iu" or int(indices.min()) < 0:
        raise BadRequest(f"labels are {indices.dtype} from {indices.min()}; integers from 0 are meant")
    return ArraySplit(np.ascontiguousarray(pixels), indices.astype(np.int64))
