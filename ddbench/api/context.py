"""What a stage is given: one context, and how it will run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ddbench.api.dataset import TrainSplit


@dataclass(frozen=True)
class Precision:
    """How a stage computes; resolved by a deterministic table before it starts, and recorded."""

    dtype: Literal["fp32", "bf16"] = "fp32"
    """Of convolutions and matrix products; images, statistics and losses stay float32."""
    compile: bool = False
    channels_last: bool = False
    native: bool = False
    """Whether a CPU runs native layers, convolutions by Winograd and norms; they differ by rounding. With bf16 only convolutions
    multiply in it."""


@dataclass(frozen=True)
class Need:
    """Something the runner makes, stores and shares before a synthesizer starts."""

    kind: Literal["teacher", "prior", "experts"]
    name: str = ""
    """Teacher: a network's or a way's name; empty for the teacher that the user chose for the cell. Prior: its name. Experts:
    the network they are."""
    options: Mapping[str, object] = field(default_factory=dict)
    """What it is asked to be made with; the command line overrides it under the need's own name (`-o prior.steps=3000`)."""


PartKind = Literal["objective", "selector"]


@dataclass(frozen=True)
class Use:
    """A part of another plugin that a synthesizer works with."""

    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    """What it is asked to work with; the command line overrides it under the part's kind (`-o objective.batch_real=64`)."""


@dataclass(frozen=True)
class Part:
    """An objective or a selector, with its resolved options."""

    value: Any
    options: Any


class Context(Protocol):
    """The one door through which data enters a stage. It never leads to the test split."""

    train: TrainSplit
    device: torch.device
    generator: torch.Generator
    """On the CPU, seeded by the stage's own seed; draw on the CPU and move, so that devices agree."""
    precision: Precision
    needs: Mapping[str, Any]
    """By the names in `needs`: a `TrainedNetwork`, a `LoadedPrior`, or `Experts`."""
    offline: bool
    """When true nothing may be downloaded."""

    def progress(self, step: int, total: int, **scalars: Tensor | float) -> None:
        """Tell how far the stage is; scalars are read at most a few times a second, so calling it costs no sync."""
        ...

    def note(self, line: str) -> None:
        """Keep a line on what did not go as `precision` says; equal lines are kept once, in the card and in records."""
        ...

    def checkpoint(self, state: Mapping[str, Tensor]) -> None:
        """Keep `state` for a resume: written atomically, at most once every few seconds."""
        ...

    def resumed(self) -> Mapping[str, Tensor] | None:
        """Return the last state kept by an interrupted run of the same stage, or None."""
        ...

    def plugin(self, kind: PartKind) -> Part:
        """Return the objective or the selector that the synthesizer said it uses, with its options.

        Raises:
            BadRequest: Its `uses` names none of the kind.
        """
        ...

    def network(self, name: str, generator: torch.Generator) -> nn.Module:
        """Return a freshly initialised network fitted to the dataset, for matching methods.

        Raises:
            UnknownName: No family knows the name.
            UnfitNetwork: It cannot be fitted to the dataset's images.
        """
        ...
