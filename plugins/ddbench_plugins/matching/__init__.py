"""Matching objectives (gradient, distribution, trajectory), and the methods that use them on pixels: dc, dsa, dm, mtt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench import Objective, Synthesizer, hookimpl
from ddbench_plugins.matching.distribution import Distribution
from ddbench_plugins.matching.gradient import Gradient
from ddbench_plugins.matching.mtt import MTT
from ddbench_plugins.matching.pixels import DC, DM, DSA
from ddbench_plugins.matching.trajectory import Trajectory

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DC", "DM", "DSA", "MTT", "Distribution", "Gradient", "Trajectory"]


@hookimpl
def ddbench_objectives() -> Iterable[Objective]:
    return [Gradient(), Distribution(), Trajectory()]


@hookimpl
def ddbench_synthesizers() -> Iterable[Synthesizer]:
    return [DC, DSA, DM, MTT]
