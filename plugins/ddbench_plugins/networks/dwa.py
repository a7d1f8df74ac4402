"""DWA's other CIFAR students: MobileNetV2, EfficientNet-B0, ShuffleNet (two groups) and VGG16 in their small-image form.

Written from the papers' architecture tables, with what the well-known CIFAR builds change: stems of stride 1, MobileNetV2's
second stage without stride, no pooling in ShuffleNet's stem, no 1280-wide head in EfficientNet, one linear layer in VGG16.
PyTorch's default initialisation. At 32 pixels MobileNetV2 and ShuffleNet end on 4×4 positions, EfficientNet on 2×2, VGG16 on 1×1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ddbench.errors import UnfitNetwork

if TYPE_CHECKING:
    from ddbench import NetworkSpec

MOBILENET = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, width, blocks, stride (Sandler et al. 2018, table 2); the second stage's stride is 2 there."""
EFFICIENTNET = (
    *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)),
    *((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)),
)
"""Expansion, width, blocks, stride, kernel (Tan & Le 2019, table 1)."""
SHUFFLENET = ((200, 4), (400, 8), (800, 4))
"""Width and blocks of each stage for two groups (Zhang et al. 2018, table 1)."""
VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Filters of the convolutions before each pooling (Simonyan & Zisserman 2015, table 1, column D)."""


def fit_any(_shape: tuple[int, int, int]) -> dict[str, object]:
    """Return nothing to fit: padded strides leave at least one position of any image."""
    return {}


def build_mobilenetv2(spec: NetworkSpec) -> nn.Module:
    """Return MobileNetV2 with plain ReLU and, as the CIFAR build has it, a 1×1 shortcut where a stage widens without stride."""
    layers: list[nn.Module] = [_conv(spec.shape[0], 32, 3), nn.ReLU()]
    channels = 32
    for expansion, width, blocks, stride in MOBILENET:
        for block in range(blocks):
            layers.append(InvertedResidual(channels, width, expansion=expansion, stride=1 if block else stride))
            channels = width
    return _with_head([*layers, _conv(320, 1280, 1), nn.ReLU()], nn.Linear(1280, spec.num_classes))


def build_efficientnetb0(spec: NetworkSpec) -> nn.Module:
    """Return EfficientNet-B0 with dropout 0.2 and stochastic depth growing linearly to 0.2."""
    layers: list[nn.Module] = [_conv(spec.shape[0], 32, 3), nn.SiLU()]
    channels, total, done = 32, sum(stage[2] for stage in EFFICIENTNET), 0
    for expansion, width, blocks, stride, kernel in EFFICIENTNET:
        for block in range(blocks):
            inner = _mbconv(channels, width, expansion=expansion, kernel=kernel, stride=1 if block else stride)
            layers.append(Residual(inner, drop=0.2 * done / total) if block else inner)
            channels, done = width, done + 1
    return _with_head(layers, nn.Dropout(0.2), nn.Linear(320, spec.num_classes))


def build_shufflenetg2(spec: NetworkSpec) -> nn.Module:
    """Return ShuffleNet with two groups and a 1×1 stem."""
    layers: list[nn.Module] = [_conv(spec.shape[0], 24, 1), nn.ReLU()]
    channels = 24
    for width, blocks in SHUFFLENET:
        for block in range(blocks):
            layers.append(ShuffleUnit(channels, width, stride=1 if block else 2))
            channels = width
    return _with_head(layers, nn.Linear(800, spec.num_classes))


def fit_vgg16(shape: tuple[int, int, int]) -> dict[str, object]:
    """Return how many of the five poolings are kept: those that still find 2×2 positions."""
    pools = min(5, min(shape[1:]).bit_length() - 1)
    if pools < 1:
        raise UnfitNetwork("at least 2 pixels a side are needed")
    return {"pools": pools}


def build_vgg16(spec: NetworkSpec) -> nn.Module:
    """Return VGG16 with batch norm and one linear layer on its averaged last map."""
    pools = int(str(spec.fitting["pools"]))
    layers: list[nn.Module] = []
    channels = spec.shape[0]
    for stage, widths in enumerate(VGG16):
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers += [nn.MaxPool2d(2)] if stage < pools else []
    return _with_head(layers, nn.Linear(512, spec.num_classes))


class InvertedResidual(nn.Module):
    """Expand by 1×1, filter each channel by 3×3, project by 1×1 without activation; add the input where there is no stride."""

    def __init__(self, channels: int, width: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        inner = expansion * channels
        middle = _conv(inner, inner, 3, stride=stride, groups=inner)
        self.inner = nn.Sequential(_conv(channels, inner, 1), nn.ReLU(), middle, nn.ReLU(), _conv(inner, width, 1))
        self.shortcut = _conv(channels, width, 1) if channels != width and stride == 1 else nn.Identity()
        self.adds = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out + self.shortcut(x) if self.adds else out


class SqueezeExcite(nn.Module):
    """Scale each channel by what two 1×1 convolutions make of the averaged map."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Conv2d(channels, squeezed, 1), nn.SiLU(), nn.Conv2d(squeezed, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.gate(x.mean((2, 3), keepdim=True))
        return x * gate


class Residual(nn.Module):
    """x + inner(x); in training `inner` is left out for each image with probability `drop` and scaled up otherwise."""

    def __init__(self, inner: nn.Module, *, drop: float) -> None:
        super().__init__()
        self.inner = inner
        self.keep = 1.0 - drop

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.inner(x)
        if self.training and self.keep < 1:
            kept = torch.empty(len(x), 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(self.keep)
            change = change * kept / self.keep
        return x + change


class ShuffleUnit(nn.Module):
    """Grouped 1×1, channel shuffle, 3×3 by channel, grouped 1×1; added to the input, or set beside its average under stride 2."""

    def __init__(self, channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        # The first unit sees 24 channels, too few to be grouped; middle widths are a quarter of what the unit adds.
        out = width - channels if stride == 2 else width
        middle, groups = out // 4, 1 if channels == 24 else 2
        shuffle = nn.ChannelShuffle(groups) if groups > 1 else nn.Identity()
        by_channel = _conv(middle, middle, 3, stride=stride, groups=middle)
        self.inner = nn.Sequential(
            *(_conv(channels, middle, 1, groups=groups), nn.ReLU(), shuffle),
            *(by_channel, nn.ReLU(), _conv(middle, out, 1, groups=2)),
        )
        self.pool = nn.AvgPool2d(3, 2, 1) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is None:
            return torch.relu(self.inner(x) + x)
        return torch.relu(torch.cat([self.inner(x), self.pool(x)], dim=1))


def _mbconv(channels: int, width: int, *, expansion: int, kernel: int, stride: int) -> nn.Module:
    """Return EfficientNet's block: expand, filter each channel, squeeze and excite, project."""
    inner = expansion * channels
    expand = [_conv(channels, inner, 1), nn.SiLU()] if expansion > 1 else []
    middle = [_conv(inner, inner, kernel, stride=stride, groups=inner), nn.SiLU(), SqueezeExcite(inner, channels // 4)]
    return nn.Sequential(*expand, *middle, _conv(inner, width, 1))


def _conv(channels: int, width: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a padded convolution without bias, then batch norm."""
    conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width))


def _with_head(layers: list[nn.Module], *head: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head)
