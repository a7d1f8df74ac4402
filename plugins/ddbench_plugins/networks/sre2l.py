"""The ResNets of SRe2L and DWA: torchvision's, with a 3×3 stem of stride 1 and no stem pooling for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ddbench.networks.fit import with_channels

if TYPE_CHECKING:
    from ddbench import NetworkSpec

NAMES = ("resnet18", "resnet34", "resnet50", "resnet101")
LARGEST_SMALL = 64
"""Pixels a side up to which the small stem is used: CIFAR and Tiny-ImageNet in the reference."""


def fit_resnet(shape: tuple[int, int, int]) -> dict[str, object]:
    """Return which stem is used: `3x3 stride 1, no pooling` or `torchvision`."""
    return {"stem": "3x3 stride 1, no pooling" if max(shape[1:]) <= LARGEST_SMALL else "torchvision"}


def build_resnet(spec: NetworkSpec) -> nn.Module:
    """Return torchvision's network, its stem replaced where the fitting says so.

    The new stem convolution keeps PyTorch's default initialisation, as in the reference, which replaces it after
    torchvision has initialised the rest; there is no zero initialisation of the residual branches.
    """
    from torchvision import models  # takes over a second, which no other network needs

    name = spec.name.partition("/")[2]
    network: nn.Module = models.get_model(name, num_classes=spec.num_classes)
    if spec.fitting["stem"] == "torchvision":
        own = network.get_submodule("conv1")
        if isinstance(own, nn.Conv2d) and own.in_channels != spec.shape[0]:
            network.conv1 = with_channels(own, spec.shape[0])
    else:
        network.conv1 = nn.Conv2d(spec.shape[0], 64, 3, 1, 1, bias=False)
        network.maxpool = nn.Identity()
    return network
