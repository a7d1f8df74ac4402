"""How the pixels of a set made elsewhere are to be read: told by their values where these leave no doubt, else asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from ddbench.errors import BadRequest
from ddbench.exchange.raw import WHOLE
from ddbench.exchange.safety import refuse, shown

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from ddbench.api.dataset import DatasetFacts
    from ddbench.api.synthesizer import Space
    from ddbench.exchange.raw import Stated

DARKEST_OF_255 = 20.0
"""Floats that are never negative and go above this are on the scale 0-255; normalised pixels stay far below."""

EDGE = 2e-3
"""How near to black and to white, in pixels from 0 to 1, a channel must come for its normalisation to be known by its ends."""

Figures = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation by channel."""

USUAL: tuple[Figures, ...] = (
    ((0.5,), (0.5,)),  # from -1 to 1
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ((0.2861,), (0.3530,)),  # Fashion-MNIST, as the released code of DC, DSA and DM normalises it
    ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),  # CIFAR-10, in the same
    ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),  # CIFAR-100
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # ImageNet
)
"""What images are normalised by, besides the dataset's own figures."""

WHITENED_STD = 0.6
"""Below this, images are more likely whitened: real ones have 1 normalised, and 0.26 (CIFAR-10) to 0.49 (digits) whitened."""

TOPS = {"uint8": 255, "unit": 1}
"""By space that begins at 0, where it ends."""


@dataclass(frozen=True)
class Asked:
    """What the user says of the pixels; None leaves it to the values or the manifest."""

    space: Space | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Reading:
    """How pixels are read."""

    space: Space
    told_by: Literal["values", "flag", "manifest"]
    figures: Figures | None = None
    """What they are normalised by, where not by the dataset's own figures."""


def reading(images: Sequence[Tensor], facts: DatasetFacts, asked: Asked, stated: Stated | None, where: Path) -> Reading:
    """Return how the images of all sets of a file are read.

    Args:
        images: (N, C, H, W) of each set, finite.
        facts: Of the dataset.
        asked: What the flags say.
        stated: What a manifest says; flags that say otherwise are refused.
        where: For messages.

    Raises:
        BadRequest: The values leave a doubt, or contradict what was asked.
    """
    if stated is not None:
        if asked != Asked():
            raise BadRequest(
                f"{shown(where)} has a manifest that says how its pixels are read; leave out --space, --zca, --mean and --std"
            )
        own = (facts.mean, facts.std)
        figures = (stated.mean, stated.std)
        return Reading(stated.space, "manifest", figures if stated.space == "normalised" and not _same(figures, own) else None)
    figures_asked = _figures(asked, facts)
    if asked.space == "uint8":
        return _of_255(images, facts, "flag", where)
    if asked.space or figures_asked:
        return Reading(asked.space or "normalised", "flag", figures_asked)
    return _told(images, facts, where)


def convert(images: Tensor, read: Reading, facts: DatasetFacts, where: Path) -> Tensor:
    """Return images as a set holds them: uint8, or float32 in `read.space`, normalised by the dataset's own figures.

    Raises:
        BadSet: The values are not of the space.
    """
    if read.space in TOPS:
        _refuse_outside(images, TOPS[read.space], where)
    if read.space == "uint8":
        return images.to(torch.uint8)
    values = images.double()
    if read.figures:
        mean, std, own_mean, own_std = (_column(numbers) for numbers in (*read.figures, facts.mean, facts.std))
        values = (values * std + mean - own_mean) / own_std
    return values.float()


def _refuse_outside(images: Tensor, top: int, where: Path) -> None:
    low, high = (float(end) for end in images.double().aminmax())
    if not 0 <= low <= high <= top:
        raise refuse(
            where, f"pixels from 0 to {top} were meant, and these go from {low:.4g} to {high:.4g}; --mean 0 --std 1 keeps them"
        )


def _of_255(images: Sequence[Tensor], facts: DatasetFacts, told_by: Literal["values", "flag"], where: Path) -> Reading:
    """Return how pixels from 0 to 255 are read: as uint8 where they are whole, else as if normalised by 0 and 1/255."""
    for each in images:
        _refuse_outside(each, TOPS["uint8"], where)
    if all(each.dtype in WHOLE or torch.equal(each, each.round()) for each in images):
        return Reading("uint8", told_by)
    channels = facts.shape[0]
    return Reading("normalised", told_by, ((0.0,) * channels, (1 / 255,) * channels))


def _told(images: Sequence[Tensor], facts: DatasetFacts, where: Path) -> Reading:
    """Return what the values alone say, or raise BadRequest with the flags that would."""
    ends = [each.transpose(0, 1).flatten(1).double().aminmax(dim=1) for each in images]
    low, high = torch.stack([end.min for end in ends]).amin(0), torch.stack([end.max for end in ends]).amax(0)
    least, most = float(low.amin()), float(high.amax())
    whole = images[0].dtype in WHOLE
    if whole and most <= DARKEST_OF_255:
        raise BadRequest(
            f"{shown(where)}: pixels are whole numbers from {least:.0f} to {most:.0f}, which is no scale from 0 to 255: divide "
            "them by what white is and bring floats from 0 to 1, or say --space uint8 where they are of 255 and that dark"
        )
    if whole or (least >= 0 and most > DARKEST_OF_255):
        return _of_255(images, facts, "values", where)
    if least >= 0 and most <= 1:
        return Reading("unit", "values")
    own: Figures = (facts.mean, facts.std)
    for figures in (own, *(one for one in USUAL if len(one[0]) == facts.shape[0])):
        if _ends_at_black_and_white(low, high, figures):
            return Reading("normalised", "values", None if figures == own else figures)
    its_own = f"{_text(facts.mean)}; {_text(facts.std)}"
    spread = float(torch.cat([each.flatten().double() for each in images]).std())
    raise BadRequest(
        f"{shown(where)}: pixels go from {least:.3g} to {most:.3g} and vary by {spread:.2g}, which tells no scale "
        f"({'whitened?' if spread < WHITENED_STD else 'normalised?'}): say --zca for whitened ones, --mean M,… --std S,… with what "
        f"they were normalised by, or --space normalised where that is {facts.name}'s own ({its_own}); "
        "of another scale from 0 up, divide by what white is"
    )


def _ends_at_black_and_white(low: Tensor, high: Tensor, figures: Figures) -> bool:
    """Return whether every channel, normalisation undone, goes from black to white and no further."""
    mean, std = (torch.tensor(numbers, dtype=torch.float64) for numbers in figures)
    black, white = low * std + mean, high * std + mean
    return bool((black.abs() < EDGE).all() and ((white - 1).abs() < EDGE).all())


def _figures(asked: Asked, facts: DatasetFacts) -> Figures | None:
    """Return mean and standard deviation by channel as asked, None where they are the dataset's own or not asked."""
    if asked.mean is None and asked.std is None:
        return None
    if asked.mean is None or asked.std is None or asked.space not in {None, "normalised"}:
        raise BadRequest("--mean and --std go together, and with --space normalised or none")
    channels = facts.shape[0]
    mean, std = (numbers * channels if len(numbers) == 1 else numbers for numbers in (asked.mean, asked.std))
    if len(mean) != channels or len(std) != channels or min(std) <= 0:
        raise BadRequest(f"--mean and --std take one number, or one for each of {channels} channels, of pixels from 0 to 1")
    return mean, std


def _same(one: Figures, other: Figures) -> bool:
    return all(abs(a - b) < 1e-6 for mine, its in zip(one, other, strict=True) for a, b in zip(mine, its, strict=True))


def _column(numbers: Sequence[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64).view(1, -1, 1, 1)


def _text(numbers: Sequence[float]) -> str:
    return ",".join(f"{number:.4g}" for number in numbers)
