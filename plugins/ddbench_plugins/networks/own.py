"""ddbench's own networks by name: which file fits and builds each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddbench import NetworkSpec
from ddbench.errors import UnfitNetwork, UnknownName
from ddbench.networks.fit import size_of

from . import OWN, convnet, dc, dwa, sre2l, vit

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Architecture:
    """How one network is fitted to images and built."""

    fit: Callable[[Shape], dict[str, object]]
    """From the images' shape to JSON values; raises UnfitNetwork."""
    build: Callable[[NetworkSpec], nn.Module]


NAMED: Mapping[str, Architecture] = {
    "mlp": Architecture(dc.fit_mlp, dc.build_mlp),
    "lenet": Architecture(dc.fit_lenet, dc.build_lenet),
    "alexnet": Architecture(dc.fit_alexnet, dc.build_alexnet),
    "alexnet-bn": Architecture(dc.fit_alexnet, dc.build_alexnet),
    "vgg11": Architecture(dc.fit_vgg11, dc.build_vgg11),
    "vgg11-bn": Architecture(dc.fit_vgg11, dc.build_vgg11),
    "resnet18-in": Architecture(dc.fit_resnet18, dc.build_resnet18),
    "resnet18-bn": Architecture(dc.fit_resnet18, dc.build_resnet18),
    "vit": Architecture(vit.fit_vit, vit.build_vit),
    **{name: Architecture(sre2l.fit_resnet, sre2l.build_resnet) for name in sre2l.NAMES},
    "mobilenetv2-cifar": Architecture(dwa.fit_any, dwa.build_mobilenetv2),
    "efficientnetb0-cifar": Architecture(dwa.fit_any, dwa.build_efficientnetb0),
    "shufflenetg2-cifar": Architecture(dwa.fit_any, dwa.build_shufflenetg2),
    "vgg16-cifar": Architecture(dwa.fit_vgg16, dwa.build_vgg16),
}


def fit_own(name: str, version: int, *, shape: Shape, num_classes: int) -> NetworkSpec:
    """Return the specification of one of ddbench's own networks for images of `shape`.

    Raises:
        UnknownName: There is no such network.
        UnfitNetwork: The images are too small for it.
    """
    design = convnet.parse(name, shape)
    if design is not None:
        return NetworkSpec(f"ddbench/{design.name}", version, shape, num_classes, convnet.fit_convnet(design, shape))
    if name not in NAMED:
        raise UnknownName("network", f"ddbench/{name}", (f"ddbench/{known}" for known in OWN))
    try:
        fitting = NAMED[name].fit(shape)
    except UnfitNetwork as error:
        raise UnfitNetwork(f"ddbench/{name} cannot be fitted to images of {size_of(shape)}: {error}") from error
    return NetworkSpec(f"ddbench/{name}", version, shape, num_classes, fitting)


def build_own(spec: NetworkSpec) -> nn.Module:
    """Return the network of a specification, freshly drawn from torch's global generator."""
    name = spec.name.partition("/")[2]
    return NAMED[name].build(spec) if name in NAMED else convnet.build_convnet(spec)
