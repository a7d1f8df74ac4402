"""Opens an executor by its name. Where units will run is known before they are planned, for their keys depend on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from ddbench.errors import BadRequest
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


class Machines(Protocol):
    """Where units are to run."""

    def budget(self, place: Place) -> Budget:
        """Return what runs side by side there."""
        ...

    def executor(self, place: Place, task: Callable[[str], Task]) -> AbstractContextManager[Executor]:
        """Return the executor, to be used as a context.

        Args:
            place: Where units were planned to run.
            task: Tells the task of a unit's key.
        """
        ...


@dataclass(frozen=True)
class Here:
    """This machine, with worker processes."""

    choice: Choice
    known: Known

    def budget(self, place: Place) -> Budget:
        """Return what this machine bears."""
        asked = self.choice
        return budget_here(str(place.device), workers=asked.workers, threads=place.threads, per_device=asked.per_device)

    def executor(self, place: Place, task: Callable[[str], Task]) -> AbstractContextManager[Executor]:
        """Return a pool of worker processes."""
        return Pool(self.known.workspace, task, budget=self.budget(place), limits=self.choice.limits)


@contextmanager
def machines(choice: Choice, known: Known, device: str) -> Iterator[Machines]:
    """Give the machines that are asked for; what is planned with `known` inside the block is planned for them.

    Raises:
        BadRequest: Ray is asked for and is not installed, or the address or the device does not go with the executor.
        EnvironmentProblem: Ray cannot start, or there is no cluster at the address.
    """
    if choice.kind == "local":
        if choice.address is not None:
            raise BadRequest(f"--address {choice.address} is of a Ray cluster; add --executor ray")
        yield Here(choice, known)
        return
    try:
        from ddbench.executors.ray import on_ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise BadRequest("--executor ray needs Ray, which is not installed: pip install 'ddbench[ray]'") from error
    with on_ray(choice, known, device) as found:
        yield found
