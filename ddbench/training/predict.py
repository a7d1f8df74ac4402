"""A trained network's answers on a test split: one pass, in eval mode, through the protocol's test view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from ddbench.api.protocol import TestView
from ddbench.errors import BadRequest
from ddbench.training.loop import RunSettings
from ddbench.training.memory import Pieces
from ddbench.training.precision import at_least_float32, autocast, memory_format, suited
from ddbench.training.views import normalised
from ddbench.training.work import layers_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ddbench.api.context import Precision
    from ddbench.api.network import TrainedNetwork
    from ddbench.data import TestSplit
    from ddbench.training.zca import Whitening

BATCH = 500
"""Images per forward pass; in eval mode it decides nothing but speed."""


@dataclass(frozen=True)
class TestImages:
    """Images to be answered, and how a network sees them."""

    __test__ = False

    images: Callable[[Tensor], Tensor]
    """From int64 (n,) positions on the CPU to uint8 (n, C, H, W)."""
    count: int
    mean: Tensor
    """float32 (C,), of pixels in [0, 1]."""
    std: Tensor
    """float32 (C,)."""
    size: tuple[int, int] | None = None
    """Height and width that the network was trained at; None leaves it unchecked."""
    whitening: Whitening | None = None
    """How images are whitened for a network that learned from whitened ones, instead of being normalised."""


def logits(network: nn.Module, test: TestImages, view: TestView, run: RunSettings, *, batch: int = BATCH) -> Tensor:
    """Return float32 (N, classes) on the device: a network's answers to every test image, in order.

    The network's mode is put back afterwards. Nothing is drawn and nothing compiled. Where memory does not suffice for `batch`
    images, fewer are answered at once, and `run.note` is told.

    Raises:
        BadRequest: The view gives images of another size than the network was trained at, or cannot be cut from them.
    """
    with torch.inference_mode(), _evaluating(network, run):
        answers = Pieces("test images at once", run.note).joined(
            lambda place: answered(network, test.images(torch.arange(place.start, place.stop)), test, view, run),
            test.count,
            at_once=batch,
        )
    return answers.clone()


def answered(network: nn.Module, pixels: Tensor, test: TestImages, view: TestView, run: RunSettings) -> Tensor:
    """Return float32 (N, classes) on the device: a network's answers to one batch, which is seen as test images are.

    Args:
        network: Its mode is put back afterwards.
        pixels: uint8 (N, C, H, W), or float32 in [0, 1]; where they carry a gradient, so do the answers.
        test: How the network sees images; which ones it holds does not matter.
        view: The protocol's test view.
        run: Device and precision.

    Raises:
        BadRequest: The view gives images of another size than the network was trained at, or cannot be cut from them.
    """
    shown = seen(pixels.to(run.device), view)
    _check_size(shown, test, view)
    if test.whitening:
        images = test.whitening.to(run.device).apply(shown)
    else:
        images = normalised(shown, test.mean.to(run.device), test.std.to(run.device))
    with _evaluating(network, run), autocast(run.precision, run.device):
        return at_least_float32(network(images.contiguous(memory_format=_layout(network, run))))


@contextmanager
def _evaluating(network: nn.Module, run: RunSettings) -> Iterator[None]:
    """Let a network be in eval mode inside the block, on a CPU with layers that suit one where it computes plainly."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with suited(network, run.precision, run.device):
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def seen(pixels: Tensor, view: TestView) -> Tensor:
    """Return images after the view: (N, C, H, W), uint8 or float32 in [0, 1] as they are, or float32 where they were resized.

    The short side is resized bilinearly with antialiasing, the long one in proportion, rounded down; values are not rounded.
    The centre crop begins at half the difference, a half rounded to even. Images that have the crop's size already are left alone.
    """
    if view.crop is not None and pixels.shape[2:] == (view.crop, view.crop):
        return pixels
    if view.resize is not None and min(pixels.shape[2:]) != view.resize:
        short = min(pixels.shape[2:])
        size = [view.resize * side // short for side in pixels.shape[2:]]
        unit = pixels.float() / 255.0 if pixels.dtype == torch.uint8 else pixels
        pixels = F.interpolate(unit, size, mode="bilinear", antialias=True, align_corners=False).clamp(0.0, 1.0)
    if view.crop is None:
        return pixels
    if min(pixels.shape[2:]) < view.crop:
        raise BadRequest(f"a centre crop of {view.crop} does not fit into test images of {pixels.shape[2]}x{pixels.shape[3]}")
    top, left = (round((side - view.crop) / 2) for side in pixels.shape[2:])
    return pixels[:, :, top : top + view.crop, left : left + view.crop]


def top1(answers: Tensor, labels: Tensor) -> float:
    """Return the fraction of (N, classes) answers whose largest is at the int64 (N,) label; of equal ones the first counts."""
    return float((answers.argmax(dim=1) == labels.to(answers.device)).double().mean())


def predict_top1(network: TrainedNetwork, test: TestSplit, *, precision: Precision, device: torch.device) -> float:
    """Return a trained network's top1 on a test split as it is."""
    images = TestImages(test.images, len(test), network.mean, network.std)
    return top1(logits(network.module, images, TestView(), RunSettings(device, precision)), test.labels())


def _layout(network: nn.Module, run: RunSettings) -> torch.memory_format:
    """Return the images' layout; nothing is compiled here, and torch's own group norm is slow in channels-last on a CPU."""
    slow = run.device.type == "cpu" and not run.precision.native and layers_of(network) == "group"
    return torch.contiguous_format if slow else memory_format(run.precision)


def _check_size(pixels: Tensor, test: TestImages, view: TestView) -> None:
    size = (pixels.shape[2], pixels.shape[3])
    if test.size is not None and size != test.size:
        raise BadRequest(
            f"the protocol's test view (resize {view.resize}, crop {view.crop}) gives images of {size[0]}x{size[1]}, but "
            f"the student was trained at {test.size[0]}x{test.size[1]}; use a protocol without a test view"
        )
