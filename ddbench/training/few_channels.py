"""Convolutions of images of few channels on a CPU, in channels-last; the arithmetic is in `few_channels.c`."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

from ddbench.training.native import REALS, asked, fits, library

if TYPE_CHECKING:
    from torch import Tensor

SOURCE = Path(__file__).with_suffix(".c")


class Window(NamedTuple):
    """How a kernel moves over images, down and across."""

    stride: tuple[int, int]
    padding: tuple[int, int]


def suits(images: Tensor, weight: Tensor) -> bool:
    """Return whether images are convolved here: float32 or float64 in channels-last."""
    return fits(images, weight)


@lru_cache
def panel(dtype: torch.dtype) -> int:
    """Return what the number of channels that are made must be a multiple of.

    Raises:
        BadRequest: The library cannot be compiled here.
    """
    found: int = _native(dtype).few_panel()
    return found


@lru_cache
def most_taps(dtype: torch.dtype) -> int:
    """Return how many values a kernel may have."""
    found: int = _native(dtype).few_most_taps()
    return found


def convolved(images: Tensor, weight: Tensor, bias: Tensor | None, window: Window) -> Tensor:
    """Return (N, K, H', W') in channels-last: the convolution.

    Args:
        images: float32 or float64 (N, C, H, W), as `suits` has them.
        weight: (K, C, h, w); K a multiple of `panel`, C h w at most `most_taps`.
        bias: (K,), or None.
        window: Strides and padding.
    """
    found: Tensor = _Convolved.apply(images, weight, bias, window)
    return found


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, window: Window) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.window, ctx.has_bias = window, bias is not None
        return _convolve(images, weight, bias, window)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """dL/dw is the sum over outputs of their gradient times what the kernel saw there; dL/dx that times the kernel."""
        (images, weight), (gradient,), window = ctx.saved_tensors, grads, ctx.window
        of_images, of_weight, of_bias, _ = asked(ctx, (True, True, ctx.has_bias, False))
        made = _plainly if torch.is_grad_enabled() else _natively  # where gradients of gradients are asked for, by torch
        return *made(images, weight, gradient, window, (of_images, of_weight)), gradient.sum((0, 2, 3)) if of_bias else None, None


Pair = tuple["Tensor | None", "Tensor | None"]


def _plainly(images: Tensor, weight: Tensor, gradient: Tensor, window: Window, wanted: tuple[bool, bool]) -> Pair:
    """Return the gradients of images and of weights, those that are wanted, by torch's own layers."""
    found = conv2d_input(images.shape, weight, gradient, *window) if wanted[0] else None  # type: ignore[no-untyped-call]  # torch's own
    return found, conv2d_weight(images, weight.shape, gradient, *window) if wanted[1] else None  # type: ignore[no-untyped-call]


def _natively(images: Tensor, weight: Tensor, gradient: Tensor, window: Window, wanted: tuple[bool, bool]) -> Pair:
    """Return the same by native code."""
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    found = _image_gradient(images, weight, gradient, window) if wanted[0] else None
    return found, _kernel_gradient(images, weight, gradient, window) if wanted[1] else None


def _image_gradient(images: Tensor, weight: Tensor, gradient: Tensor, window: Window) -> Tensor:
    native, taps = _native(images.dtype), weight[0].numel()
    columns = -(-taps // panel(images.dtype)) * panel(images.dtype)
    kernels = F.pad(weight.detach().permute(0, 2, 3, 1).reshape(len(weight), taps), (0, columns - taps)).contiguous()
    found = torch.empty_like(images, memory_format=torch.channels_last)
    shape, threads = _shape(images, weight, window), torch.get_num_threads()
    room = images.new_empty(threads * native.few_room(shape))
    native.few_image_gradient(
        *(tensor.data_ptr() for tensor in (gradient, kernels, found)), shape, columns, room.data_ptr(), threads
    )
    return found


def _convolve(images: Tensor, weight: Tensor, bias: Tensor | None, window: Window) -> Tensor:
    native, sides = _native(images.dtype), _sides(images, weight, window)
    kernels = weight.detach().permute(2, 3, 1, 0).contiguous()
    bias = None if bias is None else bias.contiguous()
    outputs = torch.empty((len(images), len(weight), *sides), dtype=images.dtype, memory_format=torch.channels_last)
    shape, threads = _shape(images, weight, window), torch.get_num_threads()
    room = images.new_empty(threads * native.few_room(shape))
    native.few_convolve(
        images.data_ptr(),
        kernels.data_ptr(),
        None if bias is None else bias.data_ptr(),
        outputs.data_ptr(),
        shape,
        room.data_ptr(),
        threads,
    )
    return outputs


def _kernel_gradient(images: Tensor, weight: Tensor, gradient: Tensor, window: Window) -> Tensor:
    native, (made, channels, down, across) = _native(images.dtype), weight.shape
    blocks = images.new_empty((native.few_blocks(), down, across, channels, made))
    shape, threads = _shape(images, weight, window), torch.get_num_threads()
    room = images.new_empty(threads * native.few_room(shape))
    native.few_kernel_gradient(*(tensor.data_ptr() for tensor in (images, gradient, blocks)), shape, room.data_ptr(), threads)
    return blocks.sum(0).permute(3, 2, 0, 1)


def _sides(images: Tensor, weight: Tensor, window: Window) -> tuple[int, int]:
    """Return height and width of the outputs."""
    (height, width), (down, across), (stride, padding) = images.shape[2:], weight.shape[2:], window
    return (height + 2 * padding[0] - down) // stride[0] + 1, (width + 2 * padding[1] - across) // stride[1] + 1


def _shape(images: Tensor, weight: Tensor, window: Window) -> Any:
    (count, channels, height, width), (made, _, down, across) = images.shape, weight.shape
    sizes = (count, height, width, channels, *_sides(images, weight, window), made, down, across, *window.stride, *window.padding)
    return (ctypes.c_long * len(sizes))(*sizes)


@lru_cache
def _native(dtype: torch.dtype) -> ctypes.CDLL:
    native = library(SOURCE, f"-DREAL={REALS[dtype]}")
    pointer, long, number = ctypes.c_void_p, ctypes.c_long, ctypes.c_int
    takes: dict[str, tuple[list[Any], Any]] = {
        "few_panel": ([], long),
        "few_blocks": ([], long),
        "few_most_taps": ([], long),
        "few_room": ([pointer], long),
        "few_convolve": ([*[pointer] * 6, number], None),
        "few_kernel_gradient": ([*[pointer] * 5, number], None),
        "few_image_gradient": ([*[pointer] * 4, long, pointer, number], None),
    }
    for name, (types, gives) in takes.items():
        function = getattr(native, name)
        function.argtypes, function.restype = types, gives
    return native
