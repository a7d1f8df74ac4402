"""The C source of norms, as torch's tensors need it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ddbench.training.native import REALS, fits, library

if TYPE_CHECKING:
    from torch import nn

SOURCE = Path(__file__).with_suffix(".c")


class After(NamedTuple):
    """What follows a norm, and its epsilon."""

    eps: float
    rectify: bool = False
    halve: bool = False
    """Whether 2×2 pixels are averaged; the images' sides are even."""

    def plainly(self, normed: Tensor) -> Tensor:
        """Return what follows by torch's own layers."""
        found = F.relu(normed) if self.rectify else normed
        return F.avg_pool2d(found, 2) if self.halve else found

    def empty(self, images: Tensor) -> Tensor:
        """Return room for what follows of images (N, C, H, W), in channels-last."""
        count, channels, height, width = images.shape
        sides = (height // 2, width // 2) if self.halve else (height, width)
        return torch.empty((count, channels, *sides), dtype=images.dtype, memory_format=torch.channels_last)


class Joined(NamedTuple):
    """What a frozen norm does at once with what it gives."""

    rectify: bool = False
    added: Tensor | None = None
    """What is added before that; for `frozen` (N, C, H, W) in channels-last, of its images' dtype."""

    def plainly(self, normed: Tensor) -> Tensor:
        """Return the same by torch's own functions."""
        found = normed if self.added is None else normed + self.added
        return F.relu(found) if self.rectify else found


def suits(images: Tensor, weight: Tensor) -> bool:
    """Return whether images are normed here: float32 or float64 in channels-last, of a number of channels that fills vectors."""
    return fits(images, weight) and images.shape[1] % lanes(images.dtype) == 0


@lru_cache
def lanes(dtype: torch.dtype) -> int:
    """Return what the number of channels must be a multiple of.

    Raises:
        BadRequest: The library cannot be compiled here.
    """
    found: int = native_norms(dtype).norms_lanes()
    return found


@lru_cache
def native_norms(dtype: torch.dtype) -> ctypes.CDLL:
    """Return the library for a dtype.

    Raises:
        BadRequest: It cannot be compiled here.
    """
    native = library(SOURCE, f"-DREAL={REALS[dtype]}")
    pointer, long, number = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
    ends: list[Any] = [number, number, pointer, number]
    takes: dict[str, list[Any]] = {
        "instance_forward": [*[pointer] * 3, ctypes.c_double, *[pointer] * 4, *ends],
        "instance_backward": [*[pointer] * 10, *ends],
        "batch_moments": [*[pointer] * 4, number],
        "batch_forward": [*[pointer] * 5, number, number, number],
        "batch_sums": [*[pointer] * 8, number, number, number],
        "batch_backward": [*[pointer] * 9, number, number, number],
        "frozen_forward": [*[pointer] * 5, ctypes.c_double, *[pointer] * 6, number, long, pointer, number],
        "frozen_backward": [*[pointer] * 10, number, long, pointer, number],
    }
    for name, types in takes.items():
        function = getattr(native, name)
        function.argtypes, function.restype = types, None
    native.norms_lanes.restype, native.norms_room.restype, native.norms_room.argtypes = long, long, [long]
    native.frozen_room.restype, native.frozen_room.argtypes = long, [long, long]
    return native


def frozen(images: Tensor, norm: nn.BatchNorm2d, groups: int, joined: Joined) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Return what a frozen batch norm gives, (N, C, H, W) in channels-last; its slope and offset, (2, C); and the input's moments.

    These are mean and biased variance, (G, C) each, of each of G equal groups of images.

    Args:
        images: float32 or float64 (N, C, H, W), as `suits` has them.
        norm: The layer: affine, with running statistics.
        groups: G
        joined: What is done with what is returned first.

    Raises:
        ValueError: The images are no equal groups.
    """
    count, channels = images.shape[:2]
    if groups < 1 or count % groups:
        raise ValueError(f"{count} images are no {groups} equal groups")
    parts = norm.weight, norm.bias, norm.running_mean, norm.running_var
    given = [cast("Tensor", part).to(images.dtype).contiguous() for part in parts]
    outputs = torch.empty_like(images, memory_format=torch.channels_last)
    affine, mean, variance = (images.new_empty((rows, channels)) for rows in (2, groups, groups))
    native = native_norms(images.dtype)
    own = images.new_empty(native.frozen_room(count, channels))
    native.frozen_forward(
        images.data_ptr(),
        *(tensor.data_ptr() for tensor in given),
        norm.eps,
        None if joined.added is None else joined.added.data_ptr(),
        *(tensor.data_ptr() for tensor in (outputs, affine, mean, variance)),
        shape_of(images),
        int(joined.rectify),
        groups,
        own.data_ptr(),
        torch.get_num_threads(),
    )
    return outputs, affine, (mean, variance)


def frozen_gradient(
    kept: tuple[Tensor, Tensor, Tensor], gradients: Sequence[Tensor], *, rectify: bool = False, outputs: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return the gradient of the images, and that of what was added, if anything was: (N, C, H, W) each, in channels-last.

    Args:
        kept: The images, as `suits` has them; slope and offset, (2, C); and the mean of each group, (G, C).
        gradients: Of what the norm gave, in any layout, and of each group's mean and variance, (G, C).
        rectify: Whether what it gave was rectified.
        outputs: What it gave, where something was added.
    """
    (images, affine, mean), (outer, *of_moments) = kept, gradients
    outer = outer.contiguous(memory_format=torch.channels_last)
    of_mean, of_variance = (values.contiguous() for values in of_moments)
    found = torch.empty_like(images, memory_format=torch.channels_last)
    passed = None if outputs is None else torch.empty_like(found)
    native = native_norms(images.dtype)
    own = images.new_empty(native.frozen_room(*mean.shape))
    native.frozen_backward(
        *(tensor.data_ptr() for tensor in (images, outer, affine, mean, of_mean, of_variance)),
        *(None if tensor is None else tensor.data_ptr() for tensor in (outputs, passed)),
        found.data_ptr(),
        shape_of(images),
        int(rectify),
        len(mean),
        own.data_ptr(),
        torch.get_num_threads(),
    )
    return found, passed


def rooms(images: Tensor) -> tuple[Tensor, int]:
    """Return room for what each thread keeps of an image, and how many threads there are."""
    threads = torch.get_num_threads()
    return images.new_empty(threads * native_norms(images.dtype).norms_room(images.shape[1])), threads


def shape_of(images: Tensor) -> Any:
    """Return N, H, W, C."""
    count, channels, height, width = images.shape
    return (ctypes.c_long * 4)(count, height, width, channels)
