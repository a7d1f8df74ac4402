"""How long a run will still take: its plan's expectations, corrected by how long what is made took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ddbench.progress import duration

if TYPE_CHECKING:
    from ddbench.planning import Plan, PlannedCell

MINUTE_S = 60.0


@dataclass
class Remaining:
    """Counts what of a plan is made, each cell with the stages that it is the first to need."""

    planned: Plan
    clock: Callable[[], float] = time.monotonic
    is_made: Callable[[int], bool] | None = None
    """Whether the store has a cell, by its number: asked where helper processes make cells from the plan's end."""
    done_s: float = 0.0
    """Expected seconds of what is made."""
    _shares: list[float] = field(init=False)
    _begun: float = field(init=False)

    def __post_init__(self) -> None:
        self._begun = self.clock()
        lacking = {stage.key: stage.expected_s for stage in self.planned.stages if stage.key and not stage.stored}
        self._shares = [
            0.0 if one.stored else one.expected_s + sum(lacking.pop(key, 0.0) for key in needed(one)) for one in self.planned.cells
        ]

    def made(self, number: int) -> None:
        """Count a cell."""
        self.done_s += self._shares[number]
        self._shares[number] = 0.0

    def count_helped(self) -> None:
        """Count what helper processes have made."""
        for number in reversed(range(len(self._shares))):
            if self._shares[number]:
                if self.is_made is None or not self.is_made(number):
                    return
                self.made(number)

    @property
    def left_s(self) -> float | None:
        """Seconds until all is made, or None before anything was."""
        self.count_helped()
        if not self.done_s:
            return None
        return sum(self._shares) * (self.clock() - self._begun) / self.done_s

    @property
    def text(self) -> str:
        """The same as words in brackets, nothing where it is not known or under a minute."""
        left = self.left_s
        if left is None or left < MINUTE_S:
            return ""
        return f" (all: about {duration(left)} left)"


def needed(one: PlannedCell) -> list[str]:
    """Return the keys of the stages that a cell shares with others."""
    stage = one.stage
    needs = [need.key for _, need in stage.distilled.needs.values()]
    needs += [need.key for measure in stage.evaluators for _, need in measure.needs.values()]
    return [*needs, *([stage.teacher.key] if stage.teacher else []), stage.distilled.key]
