"""Layers that a CPU computes about twice as fast as matrix products than by torch's own kernels; what they give is the same.

Two are worth it, in float32, uncompiled and in the usual layout: averaging 2×2 pixels, and the first convolution of a network,
whose three channels or one leave a kernel for many channels idle. Measured on two cores with AVX2, with 10 to 256 images of 8 to
64 pixels (`docs/performance.md`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

WINDOW = (2, 2)

FEW_CHANNELS = 4

COLUMNS_BYTES = 128 * 1024**2
"""Pixels laid out for a convolution's product take at most this much memory; a larger batch is left to torch."""


class Halving(nn.AvgPool2d):
    """`nn.AvgPool2d(2)`. Two rows of W pixels lie side by side; times (2W, W/2) quarters they are one pooled row."""

    def forward(self, images: Tensor) -> Tensor:
        """Return float (N, C, H // 2, W // 2): the means of 2×2 pixels."""
        even = _suits(images) and images.shape[2] % 2 == images.shape[3] % 2 == 0
        return _halved(images) if even else super().forward(images)


class FewChannels(nn.Conv2d):
    """`nn.Conv2d` on images that no gradient is asked of: the pixels under the kernel, laid out once, times the weights."""

    def forward(self, images: Tensor) -> Tensor:
        """Return float (N, K, H', W'): the convolution."""
        if images.requires_grad or not _suits(images):
            return super().forward(images)
        height, width = (self._reached(side, axis) for axis, side in enumerate(images.shape[2:]))
        if len(images) * self.weight[0].numel() * height * width * images.itemsize > COLUMNS_BYTES:
            return super().forward(images)
        columns = F.unfold(images, self.kernel_size, padding=self.padding, stride=self.stride)  # type: ignore[arg-type]  # no word
        weights = self.weight.flatten(1).expand(len(images), -1, -1)
        found = torch.bmm(weights, columns) if self.bias is None else torch.baddbmm(self.bias[:, None], weights, columns)
        return found.unflatten(2, (height, width))

    def _reached(self, side: int, axis: int) -> int:
        """Return how many places the kernel has along an axis."""
        return (side + 2 * int(self.padding[axis]) - self.kernel_size[axis]) // self.stride[axis] + 1


def with_cpu_layers(network: nn.Module) -> nn.Module:
    """Let the layers of a network that can be products be such, in place, and return it; parameters, hooks and modes stay."""
    for layer in network.modules():
        if type(layer) is nn.AvgPool2d and _halves(layer):
            layer.__class__ = Halving
        elif type(layer) is nn.Conv2d and _has_few_channels(layer):
            layer.__class__ = FewChannels
    return network


def _halves(layer: nn.AvgPool2d) -> bool:
    sizes = ((2, 2) if size == 2 else size for size in (layer.kernel_size, layer.stride))
    plain = layer.padding in {0, (0, 0)} and layer.divisor_override is None and not layer.ceil_mode
    return plain and all(size == WINDOW for size in sizes)


def _has_few_channels(layer: nn.Conv2d) -> bool:
    plain = layer.padding_mode == "zeros" and not isinstance(layer.padding, str) and layer.dilation == (1, 1)
    return plain and layer.groups == 1 and layer.in_channels <= FEW_CHANNELS and layer.kernel_size != (1, 1)


def _suits(images: Tensor) -> bool:
    usual = images.device.type == "cpu" and images.dtype in {torch.float32, torch.float64}
    return usual and images.ndim == 4 and len(images) > 0 and images.is_contiguous()


def _halved(images: Tensor) -> Tensor:
    count, channels, height, width = images.shape
    rows = images.view(-1, 2 * width) @ _quarters(width, images.dtype)
    return rows.view(count, channels, height // 2, width // 2)


@lru_cache
def _quarters(width: int, dtype: torch.dtype) -> Tensor:
    """Return (2W, W/2): a quarter where a pixel of two rows belongs to the pooled one."""
    with torch.inference_mode(mode=False):
        of_row = torch.eye(width // 2, dtype=dtype).repeat_interleave(2, dim=0) / 4
        return of_row.repeat(2, 1)
