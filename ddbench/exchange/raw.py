"""What a file holds, before it is known to be a distilled set: tensors as they were found, and what the file says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ddbench.exchange.safety import refuse, refuse_large

if TYPE_CHECKING:
    from pathlib import Path

    from ddbench.api.synthesizer import Space
    from ddbench.external import Format

IMAGES = ("images", "image_syn", "images_syn", "syn_images", "image", "imgs", "data_syn", "x")
LABELS = ("labels", "label_syn", "labels_syn", "syn_labels", "label", "targets", "y")
SOFT_LABELS = ("soft_labels",)
LR_NAMES = ("lr", "syn_lr", "lr_syn", "learned_lr", "step_size")
"""Names under which tensors are looked for, in this order."""

WHOLE = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}

NUMBERS = {*WHOLE, torch.float16, torch.bfloat16, torch.float32, torch.float64}
"""Types of tensors that are read."""

MOST_SETS = 1000
"""Distilled sets in one file, at most."""


@dataclass(frozen=True)
class RawSet:
    """One distilled set as it was found."""

    images: Tensor
    """Of any type of `NUMBERS` and any shape."""
    labels: Tensor | None = None
    """Numbers of classes, or a row of numbers per image."""
    soft_labels: Tensor | None = None
    lr: float | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Stated:
    """What a manifest of ours says that came with the files."""

    space: Space
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    made_by: str
    lossy: bool = False


@dataclass(frozen=True)
class RawFile:
    """A file or a folder that was read."""

    path: Path
    format: Format
    sha256: str
    sets: tuple[RawSet, ...]
    stated: Stated | None = None
    notes: tuple[str, ...] = ()
    """What a person should know of how it was read."""


def sets_in(content: object, where: Path, most: int) -> tuple[RawSet, ...]:
    """Return the distilled sets in what a file was loaded to.

    Known are a mapping with images, labels and a step size by their usual names; a pair (images, labels) or a triple with the
    step size; a list of such; a mapping whose `data` is such a list (DC, DSA, DM: one for each experiment); a tensor of images.

    Raises:
        BadSet: It is none of these, or a tensor is of a type that images and labels do not have.
        UnsafeFile: A tensor claims more bytes than a distilled set may have.
    """
    if isinstance(content, Mapping) and _named(content, IMAGES) is None and isinstance(content.get("data"), list | tuple):
        return sets_in(content["data"], where, most)
    if isinstance(content, list | tuple) and content and not isinstance(content[0], Tensor):
        if len(content) > MOST_SETS:
            raise refuse(where, f"a list of {len(content)} things is no list of distilled sets")
        return tuple(_one(item, where, most) for item in content)
    return (_one(content, where, most),)


def _one(content: object, where: Path, most: int) -> RawSet:
    if isinstance(content, Tensor):
        return RawSet(plain(content, where, most))
    if isinstance(content, Mapping):
        return _of_mapping(content, where, most)
    if isinstance(content, list | tuple) and 1 < len(content) <= 3:
        return _of_mapping(dict(zip(("images", "labels", "lr"), content, strict=False)), where, most)
    raise refuse(where, f"{_kind(content)} is no distilled set; {ACCEPTED}")


ACCEPTED = "give images and labels as tensors: by name in a mapping, as a pair, or a list of pairs"


def _of_mapping(content: Mapping[Any, object], where: Path, most: int) -> RawSet:
    images = _named(content, IMAGES)
    if not isinstance(images, Tensor):
        names = ", ".join(sorted(str(name)[:40] for name in list(content)[:8])) or "nothing"
        raise refuse(where, f"no images among {names}; {ACCEPTED} ({', '.join(IMAGES)} or {', '.join(LABELS)})")
    lr = _number(_named(content, LR_NAMES), where)
    labels, soft = (_tensor(content, names, where, most) for names in (LABELS, SOFT_LABELS))
    return RawSet(plain(images, where, most), labels, soft, lr)


def _tensor(content: Mapping[Any, object], names: Sequence[str], where: Path, most: int) -> Tensor | None:
    value = _named(content, names)
    if value is not None and not isinstance(value, Tensor):
        raise refuse(where, f"{names[0]} are {_kind(value)}, not a tensor")
    return None if value is None else plain(value, where, most)


def plain(tensor: Tensor, where: Path, most: int) -> Tensor:
    """Return an ordinary tensor on the CPU.

    Raises:
        BadSet: It is sparse, quantised, nowhere, or of a type that images and labels do not have.
        UnsafeFile: It claims more bytes than it may have; a few stored numbers can be repeated without end.
    """
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.dtype not in NUMBERS:
        raise refuse(where, f"a tensor is {tensor.layout}, {tensor.dtype}, on {tensor.device.type}; plain numbers are read only")
    refuse_large(where, tensor.numel() * tensor.element_size(), most)
    return tensor.detach()


def _named(content: Mapping[Any, object], names: Sequence[str]) -> object:
    return next((content[name] for name in names if name in content), None)


def _number(value: object, where: Path) -> float | None:
    """Return a step size from a number or a tensor with one, or of several their mean."""
    if value is None:
        return None
    if isinstance(value, Tensor) and 0 < value.numel() <= MOST_SETS and value.dtype in NUMBERS:
        value = float(value.detach().double().mean())
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise refuse(where, f"the learned step size is {str(value)[:40]!r}, not a number above 0")
    return float(value)


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"
