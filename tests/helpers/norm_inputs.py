"""What norms are tried on."""

from __future__ import annotations

import torch


def norm_inputs(shape: tuple[int, int, int], channels: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Return images (N, C, H, W) far from zero, in channels-last, and weight and bias (C,); `shape` is N, H, W."""
    count, height, width = shape
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, channels, height, width, dtype=dtype, generator=generator) * 2 + 3
    weight, bias = torch.randn(2, channels, dtype=dtype, generator=generator)
    return [images.to(memory_format=torch.channels_last), weight, bias]
