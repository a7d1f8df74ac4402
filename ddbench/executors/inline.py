"""The plainest executor: units are made in this process, one after another. What the others do is held against it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ddbench.executors.problems import problem_of
from ddbench.executors.schedule import Ended

if TYPE_CHECKING:
    from ddbench.executors.units import Task, Unit
    from ddbench.executors.workbench import Workbench


@dataclass
class Inline:
    """Makes each unit when it is asked whether one has ended."""

    workbench: Workbench
    task: Callable[[str], Task]
    """Tells the task of a unit's key."""
    _started: list[Unit] = field(default_factory=list)

    def room(self, unit: Unit) -> bool:  # noqa: ARG002 - an executor's signature
        return not self._started

    def start(self, unit: Unit) -> None:
        """Note the unit; it is made when its end is waited for."""
        self._started.append(unit)

    def ended(self, timeout_s: float) -> Sequence[Ended]:  # noqa: ARG002 - the same
        """Make what was started, however long it takes."""
        made, self._started = self._started, []
        return [self._ended(unit) for unit in made]

    def stop(self) -> None:
        """Forget what was started."""
        self._started.clear()

    def _ended(self, unit: Unit) -> Ended:
        begun = time.monotonic()
        try:
            self.workbench.make(self.task(unit.key))
        except Exception as error:  # noqa: BLE001 - a unit's failure is told, and the others go on
            return Ended(unit.key, time.monotonic() - begun, problem_of(error))
        return Ended(unit.key, time.monotonic() - begun)
