"""What a stage is given: one context, and how it will run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ddbench.api.dataset import TrainSplit
    from ddbench.api.network import TrainedNetwork


@dataclass(frozen=True)
class Precision:
    """How a stage computes; resolved by a deterministic table before it starts, and recorded."""

    dtype: Literal["fp32", "bf16"] = "fp32"
    """Of convolutions and matrix products; images, statistics and losses stay float32."""
    compile: bool = False
    channels_last: bool = False


@dataclass(frozen=True)
class Need:
    """Something the runner makes, stores and shares before a synthesizer starts."""

    kind: Literal["teacher"]
    name: str = ""
    """A network's or a way's name; empty for the teacher that the user chose for the cell."""


class Context(Protocol):
    """The one door through which data enters a stage. It never leads to the test split."""

    train: TrainSplit
    device: torch.device
    generator: torch.Generator
    """On the CPU, seeded by the stage's own seed; draw on the CPU and move, so that devices agree."""
    precision: Precision
    needs: Mapping[str, TrainedNetwork]
    offline: bool
    """When true nothing may be downloaded."""

    def progress(self, step: int, total: int, **scalars: Tensor | float) -> None:
        """Tell how far the stage is; scalars are read at most a few times a second, so calling it costs no sync."""
        ...

    def checkpoint(self, state: Mapping[str, Tensor]) -> None:
        """Keep `state` for a resume: written atomically, at most once every few seconds."""
        ...

    def resumed(self) -> Mapping[str, Tensor] | None:
        """Return the last state kept by an interrupted run of the same stage, or None."""
        ...

    def network(self, name: str, generator: torch.Generator) -> nn.Module:
        """Return a freshly initialised network fitted to the dataset, for matching methods.

        Raises:
            UnknownName: No family knows the name.
            UnfitNetwork: It cannot be fitted to the dataset's images.
        """
        ...
