"""Every second pixel and the like, rounded to bf16: what a convolution of one pixel with strides reads.

Torch's own slicing gives its gradient in the usual layout, whatever the images are in, and all that is added to it and masked with
it afterwards walks through two layouts at once: ten times as slow.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ddbench.training.native import layout_of


def thinned(images: Tensor, strides: tuple[int, int]) -> Tensor:
    """Return bf16 (N, C, H', W'), in the layout of the images: one pixel of each `strides`, down and across.

    Args:
        images: Any float (N, C, H, W).
        strides: Of rows and of columns.
    """
    found: Tensor = _Thinned.apply(images, strides)
    return found


class _Thinned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, strides: tuple[int, int]) -> Tensor:
        ctx.strides, ctx.like = strides, (images.shape, images.dtype, layout_of(images))
        return images[..., :: strides[0], :: strides[1]].to(torch.bfloat16, memory_format=layout_of(images))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """The gradient in the images' layout, zero between."""
        return _Spread.apply(grads[0], ctx.strides, ctx.like), None


class _Spread(torch.autograd.Function):
    """Pixels in their places among zeros."""

    @staticmethod
    def forward(
        ctx: Any, pixels: Tensor, strides: tuple[int, int], like: tuple[torch.Size, torch.dtype, torch.memory_format]
    ) -> Tensor:
        ctx.strides = strides
        shape, dtype, layout = like
        if strides == (1, 1):
            return pixels.to(dtype, memory_format=layout)
        found = torch.empty(shape, dtype=dtype, device=pixels.device, memory_format=layout).zero_()
        found[..., :: strides[0], :: strides[1]] = pixels
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Of what lies between nothing is asked."""
        return thinned(grads[0], ctx.strides), None, None
