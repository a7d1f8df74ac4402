"""Opens what was made elsewhere, whatever it is, and makes distilled sets of it: shapes, labels, and how pixels are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from ddbench.api.synthesizer import JobResult
from ddbench.errors import BadRequest, DataMissing
from ddbench.exchange.imagefolder import read_imagefolder
from ddbench.exchange.manifests import has_manifest, read_own
from ddbench.exchange.raw import WHOLE, RawFile, RawSet
from ddbench.exchange.safety import most_bytes, refuse, shown
from ddbench.exchange.spaces import Asked, Reading, convert, reading
from ddbench.exchange.tensorfiles import TORCH, read_npz, read_safetensors, read_torch
from ddbench.external import labels_of
from ddbench.students import LEARNED_LR

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.dataset import DatasetFacts

BEST = "images_best.pt"
"""What trajectory matching leaves in its folder."""

SUM = 1e-3
"""How far a row of probabilities may be from one."""

SoftLabels = Literal["none", "probabilities", "logits"]


@dataclass(frozen=True)
class Telling:
    """What the user says of a file that it may not say itself."""

    pixels: Asked = field(default_factory=Asked)
    labels: Literal["by-class", "by-index"] | None = None
    """The order of images in a file that holds no labels."""
    soft_labels: Literal["probabilities", "logits"] | None = None


@dataclass(frozen=True)
class Opened:
    """Distilled sets made elsewhere, as students can learn from them."""

    raw: RawFile
    read: Reading
    soft_labels: SoftLabels
    ipc: int
    results: tuple[JobResult, ...]
    """One a set; the n-th is that of distill seed n."""

    @property
    def learned_lr(self) -> tuple[float, ...]:
        """The step size of each set; nothing where none has one."""
        found = [result.extras.get(LEARNED_LR) for result in self.results]
        return tuple(float(lr.double().mean()) for lr in found if lr is not None)


@dataclass(frozen=True)
class _About:
    """What every set of a file is held against."""

    facts: DatasetFacts
    telling: Telling
    where: Path


@dataclass(frozen=True)
class _Part:
    """A set whose shapes and labels are known to be right, its pixels as they were found."""

    images: Tensor
    labels: Tensor
    soft_labels: Tensor | None
    ipc: int


def open_elsewhere(path: Path, facts: DatasetFacts, telling: Telling) -> Opened:
    """Return the distilled sets of a file or a folder.

    Raises:
        DataMissing: There is nothing at `path`.
        UnsafeFile: It holds code, comes to too much, or names a place outside its folder.
        DataDamaged: It is cut short.
        ArtefactDamaged: It is a set of ours that does not match its checksums.
        BadSet: It is no distilled set of the dataset: shapes, classes, labels or numbers are wrong.
        BadRequest: It does not tell how it is to be read, and the flags do not either.
    """
    raw = read_file(path, facts)
    parts = [_part(one, _About(facts, telling, raw.path)) for one in raw.sets]
    sizes = sorted({part.ipc for part in parts})
    if len(sizes) > 1:
        raise refuse(raw.path, f"holds distilled sets with {sizes[0]} and with {sizes[-1]} images per class; bring them one by one")
    _refuse_unlike(raw, parts)
    read = reading([part.images for part in parts], facts, telling.pixels, raw.stated, raw.path)
    soft: SoftLabels = "none" if parts[0].soft_labels is None else telling.soft_labels or "probabilities"
    results = tuple(_result(one, part, read, facts, raw.path) for one, part in zip(raw.sets, parts, strict=True))
    return Opened(raw, read, soft, sizes[0], results)


def _refuse_unlike(raw: RawFile, parts: Sequence[_Part]) -> None:
    """Raise BadSet where students would not learn from all sets in one way: they are no draws of one method."""
    if len({part.soft_labels is None for part in parts}) > 1:
        raise refuse(raw.path, "holds distilled sets with soft labels and without; bring them one by one")
    if len({one.lr is None for one in raw.sets}) > 1:
        raise refuse(raw.path, "holds distilled sets with a learned step size and without; bring them one by one")


def read_file(path: Path, facts: DatasetFacts) -> RawFile:
    """Return what a file or a folder holds.

    Raises:
        DataMissing: There is none, or it is of no format that is read.
    """
    if not path.exists():
        raise DataMissing(f"there is no {shown(path)}; give a file, or a folder of images for each class")
    most = most_bytes(facts)
    if path.is_dir():
        if has_manifest(path):
            return read_own(path, facts, most)
        return read_torch(path / BEST, most) if (path / BEST).is_file() else read_imagefolder(path, facts, most)
    suffix = path.suffix.lower()
    if suffix in TORCH:
        return read_torch(path, most)
    if suffix == ".safetensors":
        return read_safetensors(path, most)
    if suffix == ".npz":
        return read_npz(path, most)
    known = ", ".join((*TORCH, ".safetensors", ".npz"))
    raise DataMissing(
        f"{shown(path)} is no distilled set that is read: give a folder of images for each class, a set's folder, or {known}"
    )


def _part(raw: RawSet, about: _About) -> _Part:
    facts, where = about.facts, about.where
    images = _shaped(raw.images, facts, where)
    soft = _probabilities(raw, len(images), about)
    labels = _labels(raw, soft, len(images), about)
    counts = torch.bincount(labels, minlength=facts.num_classes)
    if int(counts.amin()) == 0:
        missing = facts.classes[int(counts.argmin())]
        raise refuse(
            where, f"class {missing!r} has no images, {int((counts == 0).sum())} of {facts.num_classes} classes are missing"
        )
    if int(counts.amin()) != int(counts.amax()):
        few, many = facts.classes[int(counts.argmin())], facts.classes[int(counts.argmax())]
        raise refuse(
            where, f"class {few!r} has {int(counts.amin())} images and {many!r} has {int(counts.amax())}; ipc is one number for all"
        )
    return _Part(images, labels, soft, int(counts[0]))


def _shaped(images: Tensor, facts: DatasetFacts, where: Path) -> Tensor:
    """Return images as (N, C, H, W).

    Raises:
        BadSet: They are of another size than the dataset's, or not finite.
    """
    channels, height, width = facts.shape
    own = tuple(images.shape[1:])
    if own == (height, width, channels) and own != facts.shape:
        images = images.movedim(-1, 1)
    elif own == (height, width) and channels == 1:
        images = images.unsqueeze(1)
    elif own != facts.shape or not len(images):
        size = "×".join(str(number) for number in images.shape) or "a single number"
        expected = f"N×{channels}×{height}×{width}"
        raise refuse(where, f"images are {size}; those of {facts.name} are {expected}, and sets of another size are not compared")
    if images.is_floating_point() and not bool(images.isfinite().all()):
        raise refuse(where, f"{int((~images.isfinite()).sum())} pixels are NaN or infinite, so no student can learn from it")
    return images.contiguous()


def _probabilities(raw: RawSet, count: int, about: _About) -> Tensor | None:
    """Return float32 (N, classes) soft labels, rows summing to one, or None where only classes came."""
    facts, telling, where = about.facts, about.telling, about.where
    rows = raw.soft_labels if raw.soft_labels is not None else raw.labels
    if rows is None or (raw.soft_labels is None and rows.ndim < 2):
        return None
    if tuple(rows.shape) != (count, facts.num_classes):
        size = "×".join(map(str, rows.shape))
        raise refuse(where, f"soft labels are {size}, not {count}×{facts.num_classes}: a number for each image and class")
    values = rows.double()
    if not bool(values.isfinite().all()):
        raise refuse(where, "soft labels hold NaN or infinity")
    if telling.soft_labels == "logits":
        return values.softmax(dim=1).float()
    if bool((values < 0).any()) or float((values.sum(dim=1) - 1).abs().amax()) > SUM:
        raise BadRequest(f"{shown(where)}: rows of soft labels are no probabilities; say --soft-labels logits if they are logits")
    return rows.float()


def _labels(raw: RawSet, soft: Tensor | None, count: int, about: _About) -> Tensor:
    """Return int64 (N,): the class of each image; of soft labels alone, the likeliest."""
    facts, where = about.facts, about.where
    labels = raw.labels if raw.labels is not None and raw.labels.ndim < 2 else None
    if labels is None and soft is not None:
        return soft.argmax(dim=1)
    if labels is None:
        return _ordered(count, about)
    if labels.dtype not in WHOLE and not (bool(labels.isfinite().all()) and torch.equal(labels, labels.round())):
        raise refuse(where, f"labels are {labels.dtype} and no whole numbers; give the number of each image's class")
    if labels.ndim != 1 or len(labels) != count:
        raise refuse(where, f"there are {labels.numel()} labels for {count} images; each image needs one")
    least, most = int(labels.amin()), int(labels.amax())
    if least < 0 or most >= facts.num_classes:
        raise refuse(where, f"labels go from {least} to {most}; the {facts.num_classes} classes of {facts.name} are counted from 0")
    return labels.long()


def _ordered(count: int, about: _About) -> Tensor:
    facts, telling, where = about.facts, about.telling, about.where
    if telling.labels is None:
        raise BadRequest(
            f"{shown(where)} holds no labels; say --labels by-class or --labels by-index, whichever order its images have"
        )
    if count % facts.num_classes:
        raise refuse(where, f"{count} images without labels cannot be shared out among {facts.num_classes} classes")
    return torch.tensor(labels_of(telling.labels, facts.num_classes, count // facts.num_classes))


def _result(raw: RawSet, part: _Part, read: Reading, facts: DatasetFacts, where: Path) -> JobResult:
    extras = dict(raw.extras)
    if raw.lr is not None:
        extras[LEARNED_LR] = torch.tensor([raw.lr], dtype=torch.float64)
    return JobResult(convert(part.images, read, facts, where), part.labels, read.space, part.soft_labels, extras)


def notes_on(opened: Opened, facts: DatasetFacts) -> Sequence[str]:
    """Return what a person should know of how a file was read, a sentence each."""
    read, raw = opened.read, opened.raw
    told = {"values": "as its values tell", "flag": "as asked", "manifest": "as its manifest says"}[read.told_by]
    scale = {
        "uint8": "pixels from 0 to 255",
        "unit": "pixels from 0 to 1",
        "normalised": f"normalised by {facts.name}'s own mean and std",
        "zca": "whitened (ZCA)",
    }[read.space]
    if read.figures:
        mean, std = (",".join(f"{number:.4g}" for number in numbers) for numbers in read.figures)
        scale = f"normalised by mean {mean} and std {std}, and normalised anew by {facts.name}'s own"
    sets = f"{len(opened.results)} distilled sets" if len(opened.results) > 1 else "a distilled set"
    return (f"{sets} with {opened.ipc} images per class, {scale}, {told}", *raw.notes)
