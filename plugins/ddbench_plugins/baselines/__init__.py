"""Baselines: synthesizers that optimise no pixels, the controls every method must beat and the ceiling none can pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddbench import Synthesizer, hookimpl
from ddbench_plugins.baselines.full import Full
from ddbench_plugins.baselines.herding import Herding
from ddbench_plugins.baselines.kcenter import KCenter
from ddbench_plugins.baselines.noise import Noise
from ddbench_plugins.baselines.random import Random

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Full", "Herding", "KCenter", "Noise", "Random"]


@hookimpl
def ddbench_synthesizers() -> Iterable[Synthesizer]:
    return [Random(), Noise(), Herding(), KCenter(), Full()]
