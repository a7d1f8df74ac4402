"""Native layers against torch's own, one by one, on a hundred images: forward, and each gradient."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from pairs import Pair, Ratio, Side, compare
from torch import Tensor, nn

from ddbench.kit.statistics import norm_with_statistics
from ddbench.training import native
from ddbench.training.cpu_layers import with_cpu_layers
from ddbench.training.precision import device_abilities

DEVICE = torch.device("cpu")
IMAGES = 100
RESNET = ((64, 32), (128, 16), (256, 8), (512, 4))
"""Channels and sides of ResNet-18's convolutions on images of 32×32."""

CONVNET = (128, 32)
"""Of a ConvNet's first norm, and the largest."""

MULTIPLY_ADD = 2

Sides = list[tuple[nn.Module, Tensor]]
"""A layer of torch's and one of ours, each with images."""


def layers() -> list[Ratio]:
    """Compare layer by layer; nothing where there are no native layers."""
    if DEVICE.type != "cpu" or native.compiler() is None:
        return []
    return [*_convolutions(), *_norms(), _frozen()]


PARTS: dict[str, Callable[[], list[Ratio]]] = {"native-layers": layers}


def _convolutions() -> Iterator[Ratio]:
    for channels, side in RESNET:
        name = f"3×3 convolution, {channels} channels of {side}×{side}"
        layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        flops = MULTIPLY_ADD * IMAGES * channels**2 * 9 * side**2
        yield from _of_layer(name, _sides(layer, channels, side), flops)
        if device_abilities(DEVICE).bf16:
            yield from _of_layer(f"{name}, both in bf16", _sides(layer, channels, side, half=True), flops)
    width, side = CONVNET
    first = nn.Conv2d(3, width, 3, padding=1)
    flops = MULTIPLY_ADD * IMAGES * 3 * width * 9 * side**2
    yield from _of_layer("first 3×3 convolution, 3 to 128 channels of 32×32", _sides(first, 3, side), flops)


def _norms() -> Iterator[Ratio]:
    width, _ = CONVNET
    for name, norm in (("instance", nn.GroupNorm(width, width)), ("batch", nn.BatchNorm2d(width))):
        chain = nn.Sequential(norm, nn.ReLU(), nn.AvgPool2d(2))
        yield from _of_layer(
            f"{name} norm, rectifier and 2×2 pooling, 128 channels of 32×32", _sides(chain, *CONVNET), None, only="all"
        )


def _of_layer(name: str, sides: Sides, flops: int | None, *, only: str = "") -> Iterator[Ratio]:
    """Compare a layer with its like of ours: forward without gradients, and the gradients of images, of weights or of `all`."""
    yield _compared(f"{name}, forward", [_forward(*side) for side in sides], flops)
    for what in [only] if only else ["images", "weights"]:
        asked = "all" if what == "all" else f"the {what}"
        yield _compared(f"{name}, gradient of {asked}", [_backward(*side, what) for side in sides], flops)


def _sides(layer: nn.Module, channels: int, side: int, *, half: bool = False) -> Sides:
    """Return a layer and its like of ours with images for each, in the layout that suits it: of torch's bf16, channels-last."""
    images = torch.randn(IMAGES, channels, side, side)
    last, ours = images.to(memory_format=torch.channels_last), with_cpu_layers(_like(layer), native=True, half=half)
    return [(Autocast(layer), last) if half else (layer, images), (ours, last)]


def _frozen() -> Ratio:
    """Compare a frozen batch norm that tells its input's statistics, and their gradient together, in ten groups of ten images."""
    channels, side = RESNET[0]
    layer = nn.BatchNorm2d(channels).eval().requires_grad_(requires_grad=False)
    calls = []
    for ours in (False, True):
        images = torch.randn(IMAGES, channels, side, side).to(memory_format=torch.channels_last).requires_grad_()

        def step(images: Tensor = images, ours: bool = ours) -> None:  # noqa: FBT001 - bound, not passed
            found, (mean, var) = norm_with_statistics(layer, images, 10, native=ours)
            torch.autograd.grad((found, mean, var), images, (found, mean, var))

        calls.append(step)
    return _compared("frozen batch norm with statistics and gradient, 64 channels of 32×32", calls, None)


class Autocast(nn.Sequential):
    """Layers of torch's that multiply in bf16."""

    def forward(self, images: Tensor) -> Tensor:
        """Return bf16."""
        with torch.autocast(DEVICE.type, torch.bfloat16):
            found: Tensor = super().forward(images)
        return found


def _like(layer: nn.Module) -> nn.Module:
    """Return a copy, in a sequence where it is one layer alone."""
    copied = copy.deepcopy(layer)
    return copied if isinstance(copied, nn.Sequential) else nn.Sequential(copied)


def _forward(layer: nn.Module, images: Tensor) -> Callable[[], object]:
    def call() -> None:
        with torch.no_grad():
            layer(images)

    return call


def _backward(layer: nn.Module, images: Tensor, what: str) -> Callable[[], object]:
    """Return what takes a gradient, its forward pass done before."""
    images = images.detach().requires_grad_(what != "weights")
    given = layer(images)
    upstream = torch.randn_like(given)
    asked = [images] if what == "images" else list(layer.parameters()) if what == "weights" else [images, *layer.parameters()]
    return lambda: torch.autograd.grad(given, asked, upstream, retain_graph=True)


def _compared(name: str, calls: list[Callable[[], object]], flops: int | None) -> Ratio:
    plain, ours = (Side(call, quick=True) for call in calls)
    return compare(Pair(name, plain, ours, 1.0, 1.0, flops=flops, rounds=11, device=DEVICE))
