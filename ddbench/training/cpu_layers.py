"""Layers that a CPU computes two or three times as fast as torch's own kernels do; what they give is the same.

In the usual layout two are matrix products: averaging 2×2 pixels, and the first convolution of a network, whose three channels or
one leave a kernel for many channels idle. Where a stage's precision says so, in channels-last, native layers run: first
convolutions (`ddbench.training.few_channels`), those of many channels with 3×3 kernels (`.winograd`), instance norm
(`.instance_norm`) and, in a sequence of layers, batch norm (`.batch_norm`). All are uncompiled and in float32; with bf16 all
convolutions but the first multiply in it, and those without tiles round what they give as well. Measured on two cores with AVX2,
and on two with AVX-512 and its bf16, with 10 to 256 images of 8 to 64 pixels (`docs/performance.md`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import nn

from ddbench.training import batch_norm, few_channels, norms, winograd
from ddbench.training.batch_norm import followed
from ddbench.training.few_channels import Window
from ddbench.training.instance_norm import normed
from ddbench.training.native import REALS, layout_of, of_weight
from ddbench.training.norms import After
from ddbench.training.thinning import thinned
from ddbench.training.winograd import convolved

if TYPE_CHECKING:
    from torch import Tensor

WINDOW = (2, 2)

IMAGES_DIMS = 4

FEW_CHANNELS = 4

BEST_ROWS = 64
"""Pixels of a row of the product that halves: shorter ones waste vectors, longer ones multiply more zeros."""

FEW_PIXELS = 4
"""Of a map this small torch takes the gradient of weights half as fast in channels-last."""

COLUMNS_BYTES = 128 * 1024**2
"""Pixels laid out for a convolution's product take at most this much memory; a larger batch is left to torch."""


class Halving(nn.AvgPool2d):
    """`nn.AvgPool2d(2)`. Two rows of W pixels lie side by side; times a (2W, W/2) matrix of quarters they are one pooled row."""

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
        down, across = (int(pad) for pad in self.padding)
        windows = F.pad(images, (across, across, down, down))
        for axis, (size, stride) in enumerate(zip(self.kernel_size, self.stride, strict=True), start=2):
            windows = windows.unfold(axis, size, stride)
        if windows.numel() * windows.itemsize > COLUMNS_BYTES:
            return super().forward(images)
        return _product(windows, self.weight, self.bias)


class FewChannelsLast(nn.Conv2d):
    """The same in channels-last, by native code."""

    def forward(self, images: Tensor) -> Tensor:
        """Return float (N, K, H', W'): the convolution."""
        if not few_channels.suits(images, self.weight):
            return super().forward(images)
        down, across = (int(pad) for pad in self.padding)
        return few_channels.convolved(images, self.weight, self.bias, Window(_pair(self.stride), (down, across)))


class Half(nn.Conv2d):
    """`nn.Conv2d` whose images and weights are rounded to bf16; what it gives, rounded too, is in float32 again."""

    def forward(self, images: Tensor) -> Tensor:
        """Return float (N, K, H', W'): the convolution."""
        if images.device.type != "cpu" or not images.dtype == self.weight.dtype == torch.float32:
            return super().forward(images)
        weight = of_weight(self.weight, "bf16", self.weight.bfloat16)
        bias = None if self.bias is None else self.bias.bfloat16()
        if self.kernel_size == (1, 1) and self.padding == (0, 0) and images.ndim == IMAGES_DIMS:
            return F.conv2d(thinned(images, _pair(self.stride)), weight, bias).float()
        found: Tensor = self._conv_forward(images.bfloat16(), weight, bias)
        return found.float()


class Winograd(nn.Conv2d):
    """`nn.Conv2d` with 3×3 kernels, stride 1 and padding 1, tile by tile; what it gives is in channels-last where images are."""

    rounds = False
    """Whether what is multiplied is rounded to bf16."""

    def forward(self, images: Tensor) -> Tensor:
        """Return float (N, K, H, W): the convolution."""
        layout = layout_of(images)
        if images.device.type != "cpu" or not winograd.suits(images, self.weight):
            tiny = self.weight.requires_grad and images.shape[-2] * images.shape[-1] <= FEW_PIXELS
            return super().forward(images.contiguous()).contiguous(memory_format=layout) if tiny else super().forward(images)
        return convolved(images, self.weight, self.bias, half=self.rounds).contiguous(memory_format=layout)


class WinogradHalf(Winograd, Half):
    """The same with what is multiplied rounded to bf16; where tiles do not pay, as `Half`."""

    rounds = True


class InstanceNorm(nn.GroupNorm):
    """`nn.GroupNorm` with a group a channel."""

    def forward(self, images: Tensor) -> Tensor:
        """Return float (N, C, H, W): each channel of each image normed."""
        if not norms.suits(images, self.weight):
            return super().forward(images)
        return normed(images, self.weight, self.bias, After(self.eps))


class Chain(nn.Sequential):
    """`nn.Sequential` that takes a norm, a rectifier and a halving that follow each other together."""

    def forward(self, images: Tensor) -> Tensor:
        """Return what the last layer gives."""
        layers = list(self)
        while layers:
            layer = layers.pop(0)
            if not _norms_here(layer, images):
                images = layer(images)
                continue
            rectify = bool(layers) and type(layers[0]) is nn.ReLU and not has_hooks(layers[0])
            rest = layers[1:] if rectify else layers
            even = images.shape[2] % 2 == images.shape[3] % 2 == 0
            halve = bool(rest) and even and type(rest[0]) is Halving and not has_hooks(rest[0])
            layers, after = rest[1:] if halve else rest, After(layer.eps, rectify, halve)
            if isinstance(layer, nn.BatchNorm2d):
                images = followed(layer, images, after)
            else:
                images = normed(images, layer.weight, layer.bias, after)
        return images


OF_TORCH: dict[type[nn.Module], type[nn.Module]] = {
    Halving: nn.AvgPool2d,
    FewChannels: nn.Conv2d,
    FewChannelsLast: nn.Conv2d,
    Half: nn.Conv2d,
    Winograd: nn.Conv2d,
    WinogradHalf: nn.Conv2d,
    InstanceNorm: nn.GroupNorm,
    Chain: nn.Sequential,
}


def ready(*, half: bool = False) -> None:
    """Compile the kernels that layers need in float32, and with `half` in bf16, unless that was done before.

    Raises:
        BadRequest: They cannot be compiled here.
    """
    for compiled in (winograd.panel, norms.lanes, few_channels.panel):
        compiled(torch.float32)
    if half:
        winograd.panel(torch.float32, half=True)


def with_cpu_layers(network: nn.Module, *, native: bool = False, half: bool = False) -> nn.Module:
    """Let the layers of a network that suit a CPU be such, in place, and return it; parameters, hooks and modes stay.

    Args:
        network: Any.
        native: Whether those with native layers are among them.
        half: Whether, with native layers, convolutions multiply in bf16.

    Raises:
        BadRequest: They are to be, and cannot be compiled here.
    """
    for layer in network.modules():
        layer.__class__ = _kind_of(layer, OF_TORCH.get(type(layer), type(layer)), native=native, half=half)
    return network


def as_built(network: nn.Module) -> nn.Module:
    """Give a network its own layers back, in place, and return it: stored and loaded again, it then answers alike bit for bit."""
    for layer in network.modules():
        layer.__class__ = OF_TORCH.get(type(layer), type(layer))
    return network


@contextmanager
def cpu_layers_in(network: nn.Module, *, native: bool = False, half: bool = False) -> Iterator[None]:
    """Let a network have such layers inside the block, and be as it was afterwards."""
    before = {layer: type(layer) for layer in network.modules()}
    with_cpu_layers(network, native=native, half=half)
    try:
        yield
    finally:
        for layer, kind in before.items():
            layer.__class__ = kind


def _kind_of(layer: nn.Module, built: type[nn.Module], *, native: bool, half: bool) -> type[nn.Module]:
    """Return what a layer that was built as one of torch's can be, or that where there is nothing else; subclasses stay."""
    if built is nn.AvgPool2d and _halves(cast("nn.AvgPool2d", layer)):
        return Halving
    if built is nn.Conv2d:
        return _kind_of_convolution(cast("nn.Conv2d", layer), native=native, half=half)
    if native and built is nn.GroupNorm and layer.num_groups == layer.num_channels and layer.affine:
        return InstanceNorm
    return Chain if native and built is nn.Sequential else built


def _kind_of_convolution(layer: nn.Conv2d, *, native: bool, half: bool) -> type[nn.Module]:
    if _has_few_channels(layer):
        return FewChannelsLast if native and _fills_panels(layer) else FewChannels
    half = half and native and layer.weight.dtype == torch.float32
    if native and _has_tiles(layer):
        return WinogradHalf if half else Winograd
    return Half if half and layer.groups == 1 else nn.Conv2d


def _norms_here(layer: nn.Module, images: Tensor) -> TypeGuard[nn.BatchNorm2d | InstanceNorm]:
    """Return whether a layer is a norm that native code takes together with what follows it."""
    if has_hooks(layer):
        return False
    if type(layer) is nn.BatchNorm2d:
        return batch_norm.suits(layer, images)
    return type(layer) is InstanceNorm and norms.suits(images, layer.weight)


def has_hooks(layer: nn.Module) -> bool:
    """Return whether somebody looks at what goes through a layer."""
    kinds = ("forward", "forward_pre", "backward", "backward_pre")
    return any(getattr(layer, f"_{kind}_hooks") for kind in kinds)


def _halves(layer: nn.AvgPool2d) -> bool:
    sizes = ((2, 2) if size == 2 else size for size in (layer.kernel_size, layer.stride))
    plain = layer.padding in {0, (0, 0)} and layer.divisor_override is None and not layer.ceil_mode
    return plain and all(size == WINDOW for size in sizes)


def _has_few_channels(layer: nn.Conv2d) -> bool:
    plain = layer.padding_mode == "zeros" and not isinstance(layer.padding, str) and layer.dilation == (1, 1)
    return plain and layer.groups == 1 and layer.in_channels <= FEW_CHANNELS and layer.kernel_size != (1, 1)


def _fills_panels(layer: nn.Conv2d) -> bool:
    """Return whether a convolution of few channels makes enough of them for native code."""
    dtype = layer.weight.dtype
    return (
        dtype in REALS
        and layer.out_channels % few_channels.panel(dtype) == 0
        and layer.weight[0].numel() <= few_channels.most_taps(dtype)
    )


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    first, second = values
    return first, second


def _has_tiles(layer: nn.Conv2d) -> bool:
    plain = layer.padding_mode == "zeros" and layer.groups == 1 and layer.dilation == layer.stride == (1, 1)
    if not plain or layer.kernel_size != (3, 3) or layer.padding not in {(1, 1), "same"} or layer.weight.dtype not in REALS:
        return False
    return all(channels % winograd.panel(layer.weight.dtype) == 0 for channels in (layer.in_channels, layer.out_channels))


def _suits(images: Tensor) -> bool:
    known = images.device.type == "cpu" and images.dtype in REALS
    return known and images.ndim == 4 and len(images) > 0 and images.is_contiguous()


def _product(windows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return float (N, K, H, W) from what the kernel sees at every place, (N, C, H, W, h, w), and its (K, C, h, w) weights."""
    place = windows.shape[2:4]
    columns = windows.permute(0, 1, 4, 5, 2, 3).reshape(len(windows), weight[0].numel(), -1)
    weights = weight.flatten(1).expand(len(windows), -1, -1)
    found = torch.bmm(weights, columns) if bias is None else torch.baddbmm(bias[:, None], weights, columns)
    return found.view(len(windows), -1, *place)


def _halved(images: Tensor) -> Tensor:
    """Return (N, C, H / 2, W / 2) from contiguous images of even sides; several pairs of rows at once where they are short."""
    count, channels, height, width = images.shape
    pairs = max(1, BEST_ROWS // (2 * width))
    together = pairs if images.numel() % (2 * width * pairs) == 0 else 1
    rows = images.view(-1, 2 * width * together) @ _quarters(width, together, images.dtype)
    return rows.view(count, channels, height // 2, width // 2)


@lru_cache
def _quarters(width: int, pairs: int, dtype: torch.dtype) -> Tensor:
    """Return (2WP, WP/2): a quarter where a pixel of P pairs of rows belongs to the pooled one."""
    with torch.inference_mode(mode=False):
        of_row = torch.eye(width // 2, dtype=dtype).repeat_interleave(2, dim=0) / 4
        return torch.kron(torch.eye(pairs, dtype=dtype), of_row.repeat(2, 1))
