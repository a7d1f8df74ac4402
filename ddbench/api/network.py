"""Networks: a fitted specification, the families that build it, and a trained network with its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkSpec:
    """A network fitted to one image size and class count; all of it decides the network's identity."""

    name: str
    """Full name, family first: `ddbench/convnet3`, `timm/resnet10t`."""
    version: int
    """The family's version: bumped when the same name would build another function."""
    shape: tuple[int, int, int]
    """Channels, height, width of the images."""
    num_classes: int
    fitting: Mapping[str, object] = field(default_factory=dict)
    """JSON values: how the network was fitted (stem stride, pooling, `img_size`, depth)."""


@runtime_checkable
class NetworkFamily(Protocol):
    """A set of named architectures that can be fitted to an image size and channel count."""

    name: str
    """The prefix of full names: `ddbench`, `timm`, `torchvision`."""
    version: int

    def names(self) -> Sequence[str]:
        """Return the architectures' names without the prefix."""
        ...

    def fit(self, name: str, *, shape: tuple[int, int, int], num_classes: int) -> NetworkSpec:
        """Return how `name` is fitted to images of `shape`; a family may know more names than it lists.

        Raises:
            UnknownName: The family has no such architecture.
            UnfitNetwork: It cannot be fitted; the message says why.
        """
        ...

    def build(self, spec: NetworkSpec) -> nn.Module:
        """Return a freshly initialised network: float32 (N, C, H, W), normalised, to float32 (N, classes) logits.

        Draws from torch's global generator, which the harness seeds around the call and restores.
        """
        ...


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with what is needed to use it: classes in order, normalisation, card."""

    module: nn.Module
    """In eval mode, on the device, parameters not requiring gradients."""
    classes: tuple[str, ...]
    mean: Tensor
    """float32 (C,), of pixels in [0, 1]."""
    std: Tensor
    """float32 (C,), of pixels in [0, 1]."""
    card: Mapping[str, object] = field(default_factory=dict)
