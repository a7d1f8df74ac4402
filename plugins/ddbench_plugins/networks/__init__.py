"""Network families: ddbench's own small networks, every timm classification network, torchvision's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ddbench import NetworkFamily, NetworkSpec, hookimpl
from ddbench.errors import UnknownName

if TYPE_CHECKING:
    from torch import nn

OWN = (
    *("convnet", *(f"convnet{depth}" for depth in range(1, 7))),
    *("convnetgap", *(f"convnetgap{depth}" for depth in range(1, 7))),
    *("mlp", "lenet", "alexnet", "alexnet-bn", "vgg11", "vgg11-bn", "resnet18-in", "resnet18-bn", "vit"),
    *("resnet18", "resnet34", "resnet50", "resnet101"),
    *("mobilenetv2-cifar", "efficientnetb0-cifar", "shufflenetg2-cifar", "vgg16-cifar"),
)
"""Names of ddbench's own networks; ConvNets also take variants, as in `convnet3-bn-w64`."""


class Ddbench(NetworkFamily):
    """The field's small networks, written here: ConvNets, DC's and GLaD's pool, SRe2L's and DWA's networks."""

    name = "ddbench"
    version = 1

    def names(self) -> Sequence[str]:
        return OWN

    def fit(self, name: str, *, shape: tuple[int, int, int], num_classes: int) -> NetworkSpec:
        from .own import fit_own

        return fit_own(name, self.version, shape=shape, num_classes=num_classes)

    def build(self, spec: NetworkSpec) -> nn.Module:
        from .own import build_own

        return build_own(spec)


class Timm(NetworkFamily):
    """Every classification network of the installed timm, without pretrained weights."""

    name = "timm"
    version = 1

    def names(self) -> Sequence[str]:
        return _registered("timm")

    def fit(self, name: str, *, shape: tuple[int, int, int], num_classes: int) -> NetworkSpec:
        _known(self, name)
        from .timm_family import fit_timm

        return fit_timm(name, self.version, shape=shape, num_classes=num_classes)

    def build(self, spec: NetworkSpec) -> nn.Module:
        from .timm_family import build_timm

        return build_timm(spec)


class Torchvision(NetworkFamily):
    """Every classification network of the installed torchvision, without pretrained weights."""

    name = "torchvision"
    version = 1

    def names(self) -> Sequence[str]:
        return _registered("torchvision")

    def fit(self, name: str, *, shape: tuple[int, int, int], num_classes: int) -> NetworkSpec:
        _known(self, name)
        from .torchvision_family import fit_torchvision

        return fit_torchvision(name, self.version, shape=shape, num_classes=num_classes)

    def build(self, spec: NetworkSpec) -> nn.Module:
        from .torchvision_family import build_torchvision

        return build_torchvision(spec)


@hookimpl
def ddbench_networks() -> Iterable[NetworkFamily]:
    return [Ddbench(), Timm(), Torchvision()]


def _known(family: NetworkFamily, name: str) -> None:
    if name not in family.names():
        raise UnknownName("network", f"{family.name}/{name}", (f"{family.name}/{known}" for known in family.names()))


@lru_cache(maxsize=2)
def _registered(package: str) -> tuple[str, ...]:
    """Return the networks that a library registers, read from its source: importing it would take seconds."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return ()
    found: set[str] = set()
    for file in (Path(spec.submodule_search_locations[0]) / "models").glob("*.py"):
        found.update(re.findall(r"^@register_model\b.*?^def (\w+)\(", file.read_text("utf-8"), re.MULTILINE | re.DOTALL))
    return tuple(sorted(found))
