"""Experts: training trajectories of networks on the real train split, which trajectory matching imitates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import Field

from ddbench.api.protocol import DSA_GROUPS, DsaStrategy
from ddbench.options import Options

if TYPE_CHECKING:
    from torch import Tensor

EXPERTS_VERSION = 1
"""Bumped when a change moves the weights of experts."""


class ExpertOptions(Options):
    """How experts are trained; the defaults are MTT's for CIFAR (plain SGD at a constant rate is easier to imitate)."""

    count: int = Field(default=100, ge=1, le=10_000, description="Experts: trajectories from different initialisations.")
    epochs: int = Field(default=50, ge=1, le=10_000, description="Passes over the train split; weights are kept after each.")
    lr: float = Field(default=0.01, gt=0, le=100, description="Of SGD, constant.")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="Of SGD.")
    weight_decay: float = Field(default=0.0, ge=0, le=10, description="Of SGD, on all parameters.")
    batch: int = Field(default=256, ge=1, le=100_000, description="Real images of a step.")
    augment: Literal["dsa", "none"] = Field(default="dsa", description="What the real images go through.")
    strategy: DsaStrategy = Field(
        default=DSA_GROUPS, description="Groups of DSA; leave out `flip` where mirrored images mean something else."
    )
    zca: bool = Field(default=False, description="Whiten images (ZCA); the distilled set is then in that space.")


class Experts(Protocol):
    """Stored trajectories; weights come from disk when they are asked for."""

    network: str
    """Full name of the network that all experts share."""
    count: int
    epochs: int
    options: ExpertOptions
    card: Mapping[str, object]

    def weights(self, expert: int, epoch: int) -> dict[str, Tensor]:
        """Return an expert's parameters and buffers by name, float32 on the device, after `epoch` passes; 0 is the start.

        Raises:
            BadRequest: There is no such expert or epoch.
        """
        ...
