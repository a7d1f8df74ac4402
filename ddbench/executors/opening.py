"""Opens an executor by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ddbench.executors.local import Budget, Limits, Pool, budget_here

if TYPE_CHECKING:
    from ddbench.executors.schedule import Executor
    from ddbench.executors.units import Task
    from ddbench.place import Place
    from ddbench.planning import Known


@dataclass(frozen=True)
class Choice:
    """Which executor is asked for, and what it may take."""

    kind: Literal["local", "ray"] = "local"
    workers: int | None = None
    per_device: int = 1
    """Units side by side on one accelerator."""
    address: str | None = None
    """Of a running Ray cluster."""
    limits: Limits = field(default_factory=Limits)

    def budget(self, place: Place) -> Budget:
        """Return what workers on this machine may take together."""
        return budget_here(str(place.device), workers=self.workers, threads=place.threads, per_device=self.per_device)


@contextmanager
def opened(choice: Choice, known: Known, place: Place, task: Callable[[str], Task]) -> Iterator[Executor]:
    """Give the executor while the block runs.

    Args:
        choice: Which one.
        known: The workspace, its datasets, and who is told of progress.
        place: Where units were planned to run.
        task: Tells the task of a unit's key.
    """
    with Pool(known.workspace, task, budget=choice.budget(place), limits=choice.limits) as pool:
        yield pool
