"""Convolutions with 3×3 kernels on a CPU by Winograd's minimal filtering: a quarter of the multiplications, the same sums.

Lavin & Gray, 2016 (arXiv:1509.09308). The arithmetic is in `winograd.c`; here is what torch needs of it: values, and gradients of
any order. A convolution, the one that takes gradients back through it, and the gradient of its kernels are each bilinear, and each
one's gradients are the two others.

Rounded to bf16, images and kernels keep eight bits, and filtering makes more of the rounding than the sum as written does: of
normal values the outputs are 1.2 % off by root mean square, against 0.3 % of a convolution in bf16; sums, and all that is between
convolutions, stay in float32 (`tests/training/test_winograd.py`).
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ddbench.training.native import REALS, asked, library, of_weight

if TYPE_CHECKING:
    from torch import Tensor

SOURCE = Path(__file__).with_suffix(".c")

TILE = 4
"""Rows and columns of outputs that are computed together."""

POINTS = 36
"""Multiplications of a tile for each pair of channels."""

ROOM_BYTES = 4 * 2**20
"""Values of so many tiles as fill this much memory are computed together; they stay in the processor's cache."""

LEAST_TILES = 96
"""Tiles computed together at the least, where there are so many: kernels are read anew for every such part."""

ALONE_BYTES = 3 * 2**20
"""Up to this size of a kernel's values each thread reads all of them for tiles of its own, and waits for no other thread."""

ALONE_ROOM_BYTES = 384 * 2**10
"""As `ROOM_BYTES`, for a thread with tiles of its own: it has a cache of its own for them."""

ALONE_LEAST_TILES = 12
"""As `LEAST_TILES`."""

KERNELS_LEAST_TILES = 192
"""The same where gradients of kernels are summed: the sums so far, larger than many caches, are read and written for every part."""

FEW_TILES = 24
"""Below this, computing a kernel's 36 values takes longer than is saved."""

FEW_FROZEN = 8
"""The same where the values of a frozen kernel are kept, and have to be read alone."""

WORTH = 2
"""How many times fewer multiplications a convolution must take: small images fill their tiles badly."""


def suits(images: Tensor, weight: Tensor) -> bool:
    """Return whether a convolution of these shapes and dtypes is faster this way; it is the same for every batch alike."""
    if images.dtype not in REALS or weight.dtype != images.dtype or images.ndim != 4:
        return False
    count, _, height, width = images.shape
    tiles = _tiles(height, width)
    enough = FEW_TILES if weight.requires_grad else FEW_FROZEN
    return count * tiles >= enough and 9 * height * width >= WORTH * POINTS * tiles


@lru_cache
def panel(dtype: torch.dtype, *, half: bool = False) -> int:
    """Return what both numbers of channels must be a multiple of.

    Raises:
        BadRequest: The library cannot be compiled here.
    """
    found: int = _native(dtype, half=half).winograd_panel()
    return found


def convolved(images: Tensor, weight: Tensor, bias: Tensor | None = None, *, turned: bool = False, half: bool = False) -> Tensor:
    """Return (N, K, H, W) in channels-last: a convolution with stride 1 and padding 1.

    Args:
        images: float32 or float64 (N, C, H, W), in any layout; C and K multiples of `panel`.
        weight: (K, C, 3, 3), or (C, K, 3, 3) where it is turned.
        bias: (K,), or None.
        turned: Whether kernels are turned by 180° and seen from the other side, as where gradients are taken back.
        half: Whether what is multiplied, here and in gradients, is rounded to bf16; of float32 alone.
    """
    found: Tensor = _Convolved.apply(images, weight, bias, _How(turned, half))
    return found


class _How(NamedTuple):
    turned: bool
    half: bool


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, how: _How) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.how, ctx.has_bias = how, bias is not None
        return _convolve(images, weight, bias, how)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """dL/dx is the gradient convolved with the kernels seen from the other side."""
        images, weight = ctx.saved_tensors
        (grad,), (of_images, of_weight, of_bias, _) = grads, asked(ctx, (True, True, ctx.has_bias, False))
        turned, half = ctx.how
        pair = (grad, images) if turned else (images, grad)
        return (
            convolved(grad, weight, turned=not turned, half=half) if of_images else None,
            _KernelGradient.apply(*pair, half) if of_weight else None,
            grad.sum((0, 2, 3)) if of_bias else None,
            None,
        )


class _KernelGradient(torch.autograd.Function):
    """The gradient of a convolution's kernels, (K, C, 3, 3), from its images and the gradient of its outputs."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, gradient: Tensor, half: bool) -> Tensor:  # noqa: FBT001
        ctx.save_for_backward(images, gradient)
        ctx.half = half
        return _kernel_gradient(images, gradient, half=half)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """The kernel's gradient is linear in each of the two, with the other and this one's own gradient for kernels."""
        images, gradient = ctx.saved_tensors
        of_images, of_gradient, _ = asked(ctx, (True, True, False))
        return (
            convolved(gradient, grads[0], turned=True, half=ctx.half) if of_images else None,
            convolved(images, grads[0], half=ctx.half) if of_gradient else None,
            None,
        )


def _kernel_values(weight: Tensor, how: _How) -> Tensor:
    sides = (1, 0) if how.turned else (0, 1)
    strides = [*(weight.stride(side) for side in sides), weight.stride(2), weight.stride(3)]
    made, summed = (weight.shape[side] for side in sides)
    values = torch.empty(POINTS * made * summed, dtype=torch.bfloat16 if how.half else weight.dtype)
    _native(weight.dtype, half=how.half).winograd_kernels(
        weight.data_ptr(), _longs(*strides), made, summed, int(how.turned), values.data_ptr(), torch.get_num_threads()
    )
    return values


def _convolve(images: Tensor, weight: Tensor, bias: Tensor | None, how: _How) -> Tensor:
    native, images = _native(images.dtype, half=how.half), images.contiguous(memory_format=torch.channels_last)
    count, summed, height, width = images.shape
    made = weight.shape[1 if how.turned else 0]
    values, bias = of_weight(weight, how, lambda: _kernel_values(weight, how)), None if bias is None else bias.contiguous()
    threads, alone = torch.get_num_threads(), values.nbytes <= ALONE_BYTES
    numbers, tiles = (summed // 2 if how.half else summed) + made, count * _tiles(height, width)
    limits = (ALONE_ROOM_BYTES, ALONE_LEAST_TILES) if alone else (ROOM_BYTES, LEAST_TILES)
    at_once = _at_once(-(-tiles // threads) if alone else tiles, numbers * images.itemsize, *limits)
    room = images.new_empty((threads if alone else 1) * native.winograd_room(at_once, summed, made))
    outputs = torch.empty((count, made, height, width), dtype=images.dtype, memory_format=torch.channels_last)
    native.winograd_convolve(
        images.data_ptr(),
        values.data_ptr(),
        None if bias is None else bias.data_ptr(),
        outputs.data_ptr(),
        _longs(count, height, width),
        summed,
        made,
        at_once,
        int(alone),
        room.data_ptr(),
        threads,
    )
    return outputs


def _kernel_gradient(images: Tensor, gradient: Tensor, *, half: bool = False) -> Tensor:
    native = _native(images.dtype, half=half)
    images, gradient = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (images, gradient))
    count, summed, height, width = images.shape
    made, threads = gradient.shape[1], torch.get_num_threads()
    tiles, numbers = count * _tiles(height, width), summed + made
    at_once = _at_once(tiles, numbers * images.itemsize, ROOM_BYTES, KERNELS_LEAST_TILES)
    room, sums, packed = (
        images.new_empty(size)
        for size in (
            native.winograd_room(at_once, summed, made),
            POINTS * summed * made,
            threads * at_once * panel(images.dtype),
        )
    )
    kernels = images.new_empty((made, summed, 3, 3))
    native.winograd_kernel_gradient(
        images.data_ptr(),
        gradient.data_ptr(),
        kernels.data_ptr(),
        _longs(count, height, width),
        summed,
        made,
        at_once,
        room.data_ptr(),
        sums.data_ptr(),
        packed.data_ptr(),
        threads,
    )
    return kernels


def _at_once(tiles: int, tile_bytes: int, room: int, least: int) -> int:
    """Return how many of `tiles` are computed together, given the size of one's values at a point: what fills room, or `least`."""
    return min(tiles, max(least, room // (POINTS * tile_bytes) // 12 * 12))


def _tiles(height: int, width: int) -> int:
    return -(-height // TILE) * -(-width // TILE)


@lru_cache
def _native(dtype: torch.dtype, *, half: bool = False) -> ctypes.CDLL:
    if half and dtype != torch.float32:
        raise ValueError(f"what is rounded to bf16 is float32, given {dtype}")
    native = library(SOURCE, f"-DREAL={REALS[dtype]}", *(["-DHALF"] if half else []))
    pointer, long, number = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
    takes: dict[str, list[Any]] = {
        "winograd_panel": [],
        "winograd_room": [long] * 3,
        "winograd_kernels": [pointer, pointer, long, long, number, pointer, number],
        "winograd_convolve": [*[pointer] * 5, *[long] * 3, number, pointer, number],
        "winograd_kernel_gradient": [*[pointer] * 4, *[long] * 3, *[pointer] * 3, number],
    }
    for name, types in takes.items():
        function = getattr(native, name)
        function.argtypes, function.restype = types, long if len(types) in {0, 3} else None
    return native


def _longs(*values: int) -> Any:
    return (ctypes.c_long * len(values))(*values)
