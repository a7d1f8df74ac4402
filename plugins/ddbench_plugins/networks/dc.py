"""The cross-architecture pool of Dataset Condensation, DM, MTT and GLaD: MLP, LeNet, AlexNet, VGG11, ResNet18.

Small builds with PyTorch's default initialisation. `vgg11` and `resnet18-in` use instance norm (one group norm group a
channel, affine), `-bn` their batch-norm twins. Instance norm of a 1×1 map is zero whatever the image, so a reduction that
would leave 1×1 before a norm is left out on very small images; the fitting says which.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddbench.errors import UnfitNetwork

if TYPE_CHECKING:
    from ddbench import NetworkSpec

Shape = tuple[int, int, int]
VGG11 = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Filters of the convolutions before each pooling (Simonyan & Zisserman, table 1, column A)."""


def fit_mlp(_shape: Shape) -> dict[str, object]:
    """Return nothing to fit: the first layer takes the flattened image."""
    return {}


def build_mlp(spec: NetworkSpec) -> nn.Module:
    """Return three linear layers, 128 wide."""
    first = nn.Linear(math.prod(spec.shape), 128)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, spec.num_classes))


def fit_lenet(shape: Shape) -> dict[str, object]:
    """Return the paddings: none at 32 pixels, 2 in the first layer at 28 (DC); 2 in both below 20 (ours)."""
    side = min(shape[1:])
    paddings = [2, 2] if side < 20 else [2, 0] if side == 28 else [0, 0]
    last = [((s + 2 * paddings[0] - 4) // 2 + 2 * paddings[1] - 4) // 2 for s in shape[1:]]
    if min(last) < 1:
        raise UnfitNetwork("two poolings leave nothing; at least 4 pixels a side are needed")
    return {"paddings": paddings, "last_map": last}


def build_lenet(spec: NetworkSpec) -> nn.Module:
    """Return LeNet with ReLU and max pooling."""
    (first, second), last = _ints(spec, "paddings"), _ints(spec, "last_map")
    convs = [nn.Conv2d(spec.shape[0], 6, 5, padding=first), nn.ReLU(), nn.MaxPool2d(2)]
    convs += [nn.Conv2d(6, 16, 5, padding=second), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    head = [nn.Linear(16 * math.prod(last), 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, spec.num_classes)]
    return nn.Sequential(*convs, *head)


def fit_alexnet(shape: Shape) -> dict[str, object]:
    """Return the first padding, which takes one-channel 28×28 to 32×32 (DC), and the last map."""
    padding = 4 if shape == (1, 28, 28) else 2
    last = [(side + 2 * padding - 4) // 8 for side in shape[1:]]
    if min(last) < 1:
        raise UnfitNetwork("three poolings leave nothing; at least 8 pixels a side are needed")
    return {"first_padding": padding, "last_map": last}


def build_alexnet(spec: NetworkSpec) -> nn.Module:
    """Return five convolutions, three of them pooled, and one linear layer; `alexnet-bn` norms each convolution."""
    padding, last = int(str(spec.fitting["first_padding"])), _ints(spec, "last_map")
    layers: list[nn.Module] = []
    channels = spec.shape[0]
    for width, kernel, pad, pooled in (
        (128, 5, padding, True),
        (192, 5, 2, True),
        (256, 3, 1, False),
        (192, 3, 1, False),
        (192, 3, 1, True),
    ):
        layers.append(nn.Conv2d(channels, width, kernel, padding=pad))
        layers += [nn.BatchNorm2d(width)] if spec.name.endswith("-bn") else []
        layers += [nn.ReLU(), nn.MaxPool2d(2)] if pooled else [nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(192 * math.prod(last), spec.num_classes))


def fit_vgg11(shape: Shape) -> dict[str, object]:
    """Return the first padding, which of the five poolings are kept, and the head's pooling.

    A pooling that would leave 1×1 before another norm is left out (below 32 pixels). From 128 pixels on the last map is
    max-pooled to 7×7 (GLaD's ImageNet build); below, it is flattened as it is (1×1 at 32 pixels, as in DC).
    """
    padding = 3 if shape == (1, 28, 28) else 1
    sides, kept = [side + 2 * padding - 2 for side in shape[1:]], []
    for stage in range(len(VGG11)):
        smallest = 2 if stage == len(VGG11) - 1 else 4
        kept.append(min(sides) >= smallest)
        sides = [side // 2 for side in sides] if kept[-1] else sides
    if min(sides) < 1 or not kept[0]:
        raise UnfitNetwork("at least 4 pixels a side are needed")
    head = 7 if min(shape[1:]) >= 128 else 0
    return {"first_padding": padding, "pools": kept, "last_map": [head, head] if head else sides, "head_pool": head}


def build_vgg11(spec: NetworkSpec) -> nn.Module:
    """Return VGG11 with one linear layer on its last map."""
    padding, pools, last = int(str(spec.fitting["first_padding"])), _ints(spec, "pools"), _ints(spec, "last_map")
    layers: list[nn.Module] = []
    channels = spec.shape[0]
    for widths, pooled in zip(VGG11, pools, strict=True):
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1 if layers else padding), _norm(spec, width), nn.ReLU()]
            channels = width
        layers += [nn.MaxPool2d(2)] if pooled else []
    layers += [nn.AdaptiveMaxPool2d(7)] if spec.fitting["head_pool"] else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * math.prod(last), spec.num_classes))


def fit_resnet18(shape: Shape) -> dict[str, object]:
    """Return the strides of the four stages: 1, 2, 2, 2, less those that would leave a 1×1 map to be normed."""
    sides, strides = list(shape[1:]), [1]
    for _ in range(3):
        strides.append(2 if min(sides) > 2 else 1)
        sides = [math.ceil(side / strides[-1]) for side in sides]
    if min(sides) < 2:
        raise UnfitNetwork("at least 2 pixels a side are needed")
    return {"strides": strides}


def build_resnet18(spec: NetworkSpec) -> nn.Module:
    """Return ResNet-18 with a 3×3 stem of stride 1 and no stem pooling."""
    return ResNet18(spec)


class ResNet18(nn.Module):
    """Stem, four stages of two basic blocks, global average, one linear layer."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(spec.shape[0], 64, 3, padding=1, bias=False), _norm(spec, 64), nn.ReLU())
        blocks, channels = [], 64
        for width, stride in zip((64, 128, 256, 512), _ints(spec, "strides"), strict=True):
            blocks += [BasicBlock(spec, channels, width=width, stride=stride), BasicBlock(spec, width, width=width, stride=1)]
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(512, spec.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.blocks(self.stem(images)).mean((2, 3)))
        return logits


class BasicBlock(nn.Module):
    """Two normed 3×3 convolutions around which the input is added, through a normed 1×1 one where shapes differ."""

    def __init__(self, spec: NetworkSpec, channels: int, *, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, width, 3, stride, 1, bias=False), _norm(spec, width))
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), _norm(spec, width))
        shortcut = [nn.Conv2d(channels, width, 1, stride, bias=False), _norm(spec, width)]
        self.shortcut = nn.Sequential(*(shortcut if stride != 1 or channels != width else []))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


def _norm(spec: NetworkSpec, width: int) -> nn.Module:
    return nn.BatchNorm2d(width) if spec.name.endswith("-bn") else nn.GroupNorm(width, width)


def _ints(spec: NetworkSpec, key: str) -> list[int]:
    values = spec.fitting[key]
    return [int(value) for value in values] if isinstance(values, list | tuple) else []
