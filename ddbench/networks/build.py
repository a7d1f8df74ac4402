"""From a fitted specification and a seed to a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ddbench.errors import BadRequest, UnknownName
from ddbench.seeding import seeded_globally

if TYPE_CHECKING:
    from torch import nn

    from ddbench.api.network import NetworkFamily, NetworkSpec


def build(spec: NetworkSpec, families: Mapping[str, NetworkFamily], *, seed: int) -> nn.Module:
    """Return the network of `spec`, freshly initialised on the CPU in train mode: equal seed, equal bytes.

    It maps float32 (N, C, H, W), normalised, to float32 (N, classes) logits. Torch's global generator is left as it was.

    Raises:
        UnknownName: The family that fitted the network is not loaded.
        BadRequest: The family now builds another version than the one that was fitted.
    """
    prefix = spec.name.partition("/")[0]
    if prefix not in families:
        raise UnknownName("network", spec.name, families)
    family = families[prefix]
    if family.version != spec.version:
        raise BadRequest(
            f"network {spec.name!r} was fitted by version {spec.version} of its family and version {family.version} is installed; "
            "make what depends on it again"
        )
    with seeded_globally(seed):
        return family.build(spec).train()


def count_parameters(module: nn.Module) -> int:
    """Return the number of a network's weights, frozen ones included; a tensor shared by two layers counts once."""
    return sum(parameter.numel() for parameter in module.parameters())
