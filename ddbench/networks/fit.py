"""Fitting a network drawn for large images to small ones: what families of foreign networks share.

Networks drawn for ImageNet divide the image's side by 32. At 32 pixels nothing would be left, so their first reductions
(the stem's strides and pooling) are taken out: `plan` finds them by watching one forward pass on the meta device, where it
costs no memory and almost no time, and `apply` makes the change on any copy of the network. A plan is JSON, so that it can
stand in a `NetworkSpec` and be made again elsewhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ddbench.errors import UnfitNetwork
from ddbench.seeding import seeded_globally

FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, UserWarning, ValueError)
"""What a foreign network raises when it is given arguments or images it was not drawn for."""


@dataclass(frozen=True)
class Reduction:
    """A layer that makes the feature map smaller."""

    path: str
    stride: int
    level: float
    """Side of the map it is given, divided by the image's side: 1 for the stem's first convolution."""
    weighted: bool
    """False for pooling."""


def removal_for(shape: tuple[int, int, int]) -> int:
    """Return by how much the reduction of a network drawn for 224 pixels is cut for smaller images: 4, 2 or 1.

    A network that divides the side by 32 then ends on 4×4 positions at 32, 64 and 128 pixels alike; for residual
    networks it is the usual small-image stem (stride 1 and no pooling at 32 pixels).
    """
    side = min(shape[1:])
    if side <= 36:
        return 4
    return 2 if side <= 96 else 1


def token_patch(shape: tuple[int, int, int], own: int) -> int:
    """Return the patch size of a transformer whose own is `own`: eight patches a side where that divides the image.

    The smallest divisor of both sides that is at least an eighth of the image and at least 2, and no larger than `own`;
    where there is none, the largest divisor up to `own`.
    """
    height, width = shape[1:]
    divisors = [p for p in range(2, own + 1) if height % p == 0 and width % p == 0]
    wanted = [p for p in divisors if p * 8 >= min(height, width)]
    return wanted[0] if wanted else divisors[-1] if divisors else own


def fitting_window(grid: int, own: int) -> int:
    """Return the largest attention window up to `own` that divides a grid of `grid` tokens a side."""
    return max(w for w in range(1, own + 1) if grid % w == 0)


@contextmanager
def on_meta() -> Iterator[None]:
    """Build and run networks without memory inside the block; torch's global generator is left as it was.

    Foreign networks' warnings are not shown, but a weight of no elements is an error: it means no tokens or no positions.
    """
    with seeded_globally(0), torch.device("meta"), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="Initializing zero-element")
        yield


def built_on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Return what `build` returns, on the meta device.

    A network that computes with tensors while it is built cannot be built there: it is built on the CPU and moved.
    """
    try:
        with on_meta():
            return build()
    except NotImplementedError:
        with seeded_globally(0):
            return build().to("meta")


def with_zeros(network: nn.Module) -> nn.Module:
    """Return a network from the meta device on the CPU, in place: its parameters and buffers zero."""
    zeros = {name: torch.zeros(values.shape, dtype=values.dtype) for name, values in network.state_dict().items()}
    network.load_state_dict(zeros, assign=True)
    return network


def reductions(network: nn.Module, shape: tuple[int, int, int]) -> list[Reduction]:
    """Return the layers of a network on the meta device that make the map smaller, in the order in which they run.

    Raises:
        UnfitNetwork: The network cannot take images of `shape`.
    """
    found: dict[str, Reduction] = {}

    def watch(path: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def hook(layer: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            before, after = _side(inputs[0] if inputs else None), _side(output)
            if before and after and after < before and _stride(layer) > 1:
                weighted = any(True for _ in layer.parameters())
                found.setdefault(path, Reduction(path, _stride(layer), before / shape[1], weighted))

        return hook

    strided = [(path, layer) for path, layer in network.named_modules() if _stride(layer) > 1 and not list(layer.children())]
    handles = [layer.register_forward_hook(watch(path)) for path, layer in strided]
    try:
        run_on_meta(network, shape)
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())


def plan(found: list[Reduction], removal: int) -> dict[str, int]:
    """Return the new stride of each layer that must change for the network to reduce the image `removal` times less.

    The first layers are changed, every branch alike: a layer that sees a map of `level` takes out its share of what
    is still to be removed there. Where one halving is enough and the stem ends in pooling, the pooling goes and the
    convolution keeps its stride.
    """
    second = [layer for layer in found if 0.4 < layer.level < 0.6]
    if removal == 2 and second and not any(layer.weighted for layer in second):
        return {layer.path: 1 for layer in second}
    strides = {}
    for layer in found:
        share = min(layer.stride, round(removal * layer.level))
        if share > 1:
            strides[layer.path] = max(1, round(layer.stride / share))
    return strides


def apply(network: nn.Module, strides: Mapping[str, int]) -> None:
    """Give the layers named in a plan their new strides, in place; pooling with stride 1 becomes the identity.

    A convolution that cuts the image into patches keeps cutting it without gap or overlap, with a smaller kernel that
    is drawn anew by PyTorch's default; other kernels keep their weights, and padded ones keep the map's size.
    """
    for path, stride in strides.items():
        layer = network.get_submodule(path)
        if isinstance(layer, nn.Conv2d):
            replace(network, path, _restrided(layer, stride))
        elif stride == 1 and not list(layer.parameters()):
            replace(network, path, nn.Identity())
        else:
            vars(layer)["stride"] = stride if isinstance(layer.stride, int) else (stride, stride)


def replace(network: nn.Module, path: str, layer: nn.Module) -> None:
    """Put `layer` in the place of the submodule at a dotted path."""
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, layer)


def with_channels(conv: nn.Conv2d, channels: int) -> nn.Conv2d:
    """Return a convolution like `conv` for another number of input channels, drawn by PyTorch's default."""
    return _like(conv, in_channels=channels)


def first_conv(network: nn.Module) -> str:
    """Return the dotted path of the first convolution in module order.

    Raises:
        UnfitNetwork: There is none.
    """
    paths: list[str] = [path for path, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
    if not paths:
        raise UnfitNetwork("the network has no convolution whose input channels could be fitted")
    return paths[0]


def run_on_meta(network: nn.Module, shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the shape of what a network on the meta device answers to two images in train mode.

    Raises:
        UnfitNetwork: It raised, or its answer is no tensor; the message holds the network's own first line.
    """
    try:
        with on_meta():
            answer = network.train()(torch.empty(2, *shape))
    except FAILURES as error:
        raise UnfitNetwork(f"at {size_of(shape)} it fails: {first_line(error)}") from error
    if not isinstance(answer, Tensor):
        raise UnfitNetwork(f"it answers a {type(answer).__name__} in training, not one tensor of logits")
    return tuple(answer.shape)


def check_answer(network: nn.Module, shape: tuple[int, int, int], *, num_classes: int) -> None:
    """Check on the meta device that the network maps two images to (2, classes).

    Raises:
        UnfitNetwork: It does not.
    """
    answer = run_on_meta(network, shape)
    if answer != (2, num_classes):
        raise UnfitNetwork(f"it answers {answer} for two images, not (2, {num_classes})")


def size_of(shape: tuple[int, int, int]) -> str:
    """Return `3×32×32`."""
    return "×".join(str(side) for side in shape)


def first_line(error: BaseException) -> str:
    """Return an error's first line, shortened, or its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return str(lines[0])[:160] if lines else type(error).__name__


def _restrided(conv: nn.Conv2d, stride: int) -> nn.Conv2d:
    if conv.kernel_size == conv.stride and conv.kernel_size != (1, 1):
        return _like(conv, kernel_size=stride, stride=stride)
    conv.stride = (stride, stride)
    if not isinstance(conv.padding, str) and conv.dilation == (1, 1):
        conv.padding = tuple((k - 1) // 2 if p and k % 2 else p for k, p in zip(conv.kernel_size, conv.padding, strict=True))
    return conv


def _like(conv: nn.Conv2d, *, in_channels: int = 0, kernel_size: int = 0, stride: int = 0) -> nn.Conv2d:
    """Return a convolution like `conv` except for what is given."""
    new: type[Any] = nn.Conv2d  # its annotations want pairs where a convolution's own attributes are tuples
    like: nn.Conv2d = new(
        in_channels or conv.in_channels,
        conv.out_channels,
        kernel_size or conv.kernel_size,
        stride or conv.stride,
        conv.padding,
        groups=conv.groups,
        bias=conv.bias is not None,
        device=conv.weight.device,
    )
    return like


def _stride(layer: nn.Module) -> int:
    stride = getattr(layer, "stride", 1)
    stride = max(stride) if isinstance(stride, tuple | list) else stride
    return stride if isinstance(stride, int) else 1


def _side(value: object) -> int:
    """Return the height of a batch of maps (N, C, H, W), or 0 for anything else."""
    return int(value.shape[2]) if isinstance(value, Tensor) and value.dim() == 4 else 0
