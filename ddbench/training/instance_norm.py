"""Instance norm on a CPU, with the rectifier and the 2×2 average pooling that may follow it, in one pass over each image.

Wu & He, 2018 (arXiv:1803.08494), with one group a channel. The arithmetic is in `instance_norm.c`. Torch's three layers read and
write an activation a dozen times, forward and backward; here it is read from memory twice and written once.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F

from ddbench.training.native import REALS, library

if TYPE_CHECKING:
    from torch import Tensor

SOURCE = Path(__file__).with_suffix(".c")


class After(NamedTuple):
    """What follows the norm, and its epsilon."""

    eps: float
    rectify: bool = False
    halve: bool = False
    """Whether 2×2 pixels are averaged; the images' sides are even."""


def suits(images: Tensor, weight: Tensor) -> bool:
    """Return whether images are normed here: float32 or float64 in channels-last, of a number of channels that fills vectors."""
    known = images.device.type == "cpu" and images.dtype in REALS and weight.dtype == images.dtype
    if not known or images.ndim != 4 or len(images) == 0:
        return False
    return images.is_contiguous(memory_format=torch.channels_last) and images.shape[1] % lanes(images.dtype) == 0


@lru_cache
def lanes(dtype: torch.dtype) -> int:
    """Return what the number of channels must be a multiple of.

    Raises:
        BadRequest: The library cannot be compiled here.
    """
    found: int = _native(dtype).norm_lanes()
    return found


def normed(images: Tensor, weight: Tensor, bias: Tensor, after: After) -> Tensor:
    """Return (N, C, H, W), or half the sides, in channels-last: images normed channel by channel, and what follows.

    Args:
        images: float32 or float64 (N, C, H, W), as `suits` has them.
        weight: (C,), of the affine map.
        bias: (C,)
        after: What follows.
    """
    found: Tensor = _Normed.apply(images, weight, bias, after)
    return found


def plainly(images: Tensor, weight: Tensor, bias: Tensor, after: After) -> Tensor:
    """Return the same by torch's own layers."""
    found = F.group_norm(images, len(weight), weight, bias, after.eps)
    found = F.relu(found) if after.rectify else found
    return F.avg_pool2d(found, 2) if after.halve else found


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, after: After) -> Tensor:
        outputs, mean, scale = _forward(images, weight, bias, after)
        ctx.save_for_backward(images, weight, bias, mean, scale)
        ctx.after = after
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """With s = 1 / sqrt(var + eps): dL/dx = w s (g - mean(g) - (x - mean) s mean(g (x - mean) s)), channel by channel."""
        images, weight, bias, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # gradients of gradients are asked for
            inputs = [tensor for tensor, asked in zip((images, weight, bias), ctx.needs_input_grad, strict=False) if asked]
            found = iter(torch.autograd.grad(plainly(images, weight, bias, ctx.after), inputs, grads, create_graph=True))
            of_images, of_weight, of_bias = (next(found) if asked else None for asked in ctx.needs_input_grad[:3])
            return of_images, of_weight, of_bias, None
        of_images, of_weight, of_bias = _backward((images, weight, bias), (mean, scale), grads[0], ctx.after)
        return of_images, of_weight.sum(0), of_bias.sum(0), None


def _forward(images: Tensor, weight: Tensor, bias: Tensor, after: After) -> tuple[Tensor, Tensor, Tensor]:
    native, (count, channels, height, width) = _native(images.dtype), images.shape
    sides = (height // 2, width // 2) if after.halve else (height, width)
    outputs = torch.empty((count, channels, *sides), dtype=images.dtype, memory_format=torch.channels_last)
    mean, scale = images.new_empty((2, count, channels))
    threads = torch.get_num_threads()
    room = images.new_empty(threads * native.norm_room(channels))
    native.norm_forward(
        *(tensor.data_ptr() for tensor in (images, weight, bias)),
        after.eps,
        *(tensor.data_ptr() for tensor in (outputs, mean, scale)),
        _shape(images),
        int(after.rectify),
        int(after.halve),
        room.data_ptr(),
        threads,
    )
    return outputs, mean, scale


def _backward(
    inputs: tuple[Tensor, Tensor, Tensor], moments: tuple[Tensor, Tensor], gradient: Tensor, after: After
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of images, and of weight and bias image by image (N, C)."""
    images, _, _ = inputs
    native, (count, channels) = _native(images.dtype), images.shape[:2]
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    of_images = torch.empty_like(images, memory_format=torch.channels_last)
    of_weight, of_bias = images.new_empty((2, count, channels))
    threads = torch.get_num_threads()
    room = images.new_empty(threads * native.norm_room(channels))
    native.norm_backward(
        *(tensor.data_ptr() for tensor in (*inputs, *moments, gradient, of_images, of_weight, of_bias)),
        _shape(images),
        int(after.rectify),
        int(after.halve),
        room.data_ptr(),
        threads,
    )
    return of_images, of_weight, of_bias


@lru_cache
def _native(dtype: torch.dtype) -> ctypes.CDLL:
    native = library(SOURCE, f"-DREAL={REALS[dtype]}")
    pointer, number = ctypes.c_void_p, ctypes.c_int
    ends: list[Any] = [number, number, pointer, number]
    native.norm_lanes.argtypes, native.norm_lanes.restype = [], ctypes.c_long
    native.norm_room.argtypes, native.norm_room.restype = [ctypes.c_long], ctypes.c_long
    native.norm_forward.argtypes = [*[pointer] * 3, ctypes.c_double, *[pointer] * 4, *ends]
    native.norm_backward.argtypes = [*[pointer] * 10, *ends]
    native.norm_forward.restype = native.norm_backward.restype = None
    return native


def _shape(images: Tensor) -> Any:
    count, channels, height, width = images.shape
    return (ctypes.c_long * 4)(count, height, width, channels)
