"""A classifier's feature maps, and how much each channel speaks for a class: CAM at a GAP head, Grad-CAM elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ddbench.errors import UnfitNetwork

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


@dataclass
class _Taken:
    """What one forward pass shows: maps in the order in which modules finish, and what a linear layer reads."""

    shapes: list[tuple[int, int]] = field(default_factory=list)
    convolved: list[bool] = field(default_factory=list)
    kept: dict[int, Tensor] = field(default_factory=dict)
    read: list[Tensor] = field(default_factory=list)


class Maps:
    """The feature maps of a frozen classifier: of each map size that it convolves at, the last one before the size changes.

    In a ConvNet these are what its blocks give before they are pooled, in a ResNet what its stages give.
    """

    def __init__(self, module: nn.Module, shape: tuple[int, int, int], device: torch.device) -> None:
        """Find the maps by one pass of an image of `shape`.

        Raises:
            UnfitNetwork: The network has no convolution, and so no maps.
        """
        self.module = module
        probe = torch.linspace(-1, 1, shape[0] * shape[1] * shape[2], device=device).view(1, *shape)
        with torch.no_grad():
            seen, logits = self._pass(probe, everything=True)
        self.places = _stages(seen)
        if not self.places:
            raise UnfitNetwork(f"{type(module).__name__} has no convolution, so it has no feature maps; take another classifier")
        self.head = _gap_head(module, seen, self.places[-1], logits)
        """float32 (classes, K): a linear classifier's weights, where it reads the means of the last map; else None."""

    def of(self, images: Tensor, wanted: Sequence[int]) -> list[Tensor]:
        """Return the wanted maps, float32 (N, K, h, w), without a graph; `wanted` are places among `places`."""
        with torch.no_grad():
            seen, _ = self._pass(images, wanted=wanted)
        return [seen.kept[place].detach() for place in wanted]

    def with_weights(self, images: Tensor, labels: Tensor, wanted: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Return the wanted maps and each channel's weight for the image's own class, (N, K), both without a graph.

        At a GAP head the weights are the classifier's (Zhou et al., 2016). Elsewhere they are the class logit's derivatives, summed
        over the map (Selvaraju et al., 2017, take their mean): at a GAP head that sum is the classifier's weight itself.
        """
        if self.head is not None and list(wanted) == self.places[-1:]:
            (last,) = self.of(images, wanted)
            return [(last, self.head[labels])]
        with torch.enable_grad():
            seen, logits = self._pass(images.detach().requires_grad_(), wanted=wanted)
            own = logits.gather(1, labels[:, None]).sum()  # in eval mode, images do not meet: the sum's gradient is each one's own
            maps = [seen.kept[place] for place in wanted]
            slopes = torch.autograd.grad(own, maps)
        return [(one.detach(), slope.sum((2, 3))) for one, slope in zip(maps, slopes, strict=True)]

    def _pass(self, images: Tensor, *, wanted: Sequence[int] = (), everything: bool = False) -> tuple[_Taken, Tensor]:
        seen = _Taken()
        with _watching(self.module, seen, frozenset(wanted), everything=everything):
            return seen, self.module(images)


@contextmanager
def _watching(module: nn.Module, seen: _Taken, wanted: frozenset[int], *, everything: bool) -> Iterator[None]:
    """Look at what every part of a network gives inside the block, and leave no hook behind."""
    handles: list[RemovableHandle] = []

    def finished(part: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        if everything and isinstance(part, nn.Linear):
            seen.read.append(inputs[0])
        if isinstance(output, Tensor) and output.dim() == 4:
            place = len(seen.shapes)
            seen.shapes.append((output.shape[2], output.shape[3]))
            seen.convolved.append(isinstance(part, nn.Conv2d))
            if everything or place in wanted:
                seen.kept[place] = output

    try:
        handles.extend(part.register_forward_hook(finished) for part in module.modules())
        yield
    finally:
        for handle in handles:
            handle.remove()


def _stages(seen: _Taken) -> list[int]:
    """Return the last place of every run of maps of one size with a convolution among them."""
    found, convolved = [], False
    for place, shape in enumerate(seen.shapes):
        convolved |= seen.convolved[place]
        if place + 1 == len(seen.shapes) or seen.shapes[place + 1] != shape:
            found += [place] if convolved else []
            convolved = False
    return found


def _gap_head(module: nn.Module, seen: _Taken, last: int, logits: Tensor) -> Tensor | None:
    """Return the last linear layer's weights where it gives the logits and reads the means of the last map, else None."""
    linear = [part for part in module.modules() if isinstance(part, nn.Linear)]
    if not linear or not seen.read:
        return None
    head, means = linear[-1], seen.kept[last].mean((2, 3))
    reads = seen.read[-1].shape == means.shape and torch.allclose(seen.read[-1], means, rtol=1e-4, atol=1e-6)
    answers = reads and logits.shape[1] == head.out_features and torch.allclose(head(means), logits, rtol=1e-4, atol=1e-5)
    return head.weight.detach() if answers else None
