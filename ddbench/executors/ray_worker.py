"""What runs in Ray's worker processes: one outpost a process, which makes one unit after another."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil
import ray

from ddbench.errors import DdbenchError
from ddbench.executors.errands import Answer, Outpost
from ddbench.executors.local import START_S, Limits
from ddbench.executors.problems import problem_of
from ddbench.executors.telling import Telling
from ddbench.progress import Silent

if TYPE_CHECKING:
    from ddbench.executors.errands import Errand, Home
    from ddbench.executors.telling import Message
    from ddbench.packing import Parcel

LOOK_S = 0.1
"""How often a unit's limits are looked at."""

_OUTPOSTS: dict[str, Outpost] = {}
"""Of this process, by run."""


@dataclass(frozen=True)
class Shared:
    """What all units of a run are told."""

    run: str
    home: Home
    limits: Limits | None
    desk: Any
    """The actor that takes messages for the driver."""


class Desk:
    """An actor that keeps what workers tell until the driver takes it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Message]] = []

    def tell(self, key: str, message: Message) -> None:
        """Keep a message about a unit."""
        self.told.append((key, message))

    def take(self) -> list[tuple[str, Message]]:
        """Return what was told since the last call."""
        told, self.told = self.told, []
        return told


def run_errand(shared: Shared, errand: Errand, data: list[Any] | None, *parcels: Sequence[Parcel]) -> Answer:
    """Return what making a unit leaves, or why it failed.

    Args:
        shared: What all units of the run are told.
        errand: The unit.
        data: The reference to the dataset, which is fetched only where this worker has none.
        parcels: What there is of what the unit reads.
    """
    line = Line(shared.desk, errand.task.key)
    try:
        outpost = _outpost(shared)
    except DdbenchError as error:
        return Answer(0.0, problem=problem_of(error))
    outpost.workspace.reporter = Telling(line.tell)
    line.tell({"type": "started"})
    arrived = [parcel for several in parcels for parcel in several]
    with Watch(shared.limits or Limits(), line) as watch:
        answer = outpost.run(errand, arrived, (lambda: ray.get(data[0])) if data else None, begun=watch.begin)
    line.flush()
    return answer


@dataclass
class Line:
    """Tells the driver about one unit."""

    desk: Any
    key: str
    _last: Any = None

    def tell(self, message: Message) -> None:
        """Send a message and do not wait."""
        self._last = self.desk.tell.remote(self.key, message)

    def flush(self) -> None:
        """Wait until all messages are there."""
        ray.get(self._last)


def folder_of(run: str) -> Path:
    """Return this machine's folder for the temporary stores of a run."""
    return Path(tempfile.gettempdir()) / f"ddbench-{run}"


def tidy(run: str) -> None:
    """Remove this machine's temporary stores of a run."""
    shutil.rmtree(folder_of(run), ignore_errors=True)


def _outpost(shared: Shared) -> Outpost:
    if shared.run not in _OUTPOSTS:
        node = ray.get_runtime_context().get_node_id()  # two nodes of one machine share no store either
        _OUTPOSTS.clear()  # an earlier run is over
        _OUTPOSTS[shared.run] = Outpost(shared.home, folder_of(shared.run) / node[:16] / str(os.getpid()), Silent())
    return _OUTPOSTS[shared.run]


class Watch:
    """Ends this process if its unit exceeds a limit, and tells the driver before, which keeps Ray from trying again."""

    def __init__(self, limits: Limits, line: Line) -> None:
        self.limits, self.line = limits, line
        self._over = threading.Event()
        self._since, self._late = time.monotonic(), START_S

    def __enter__(self) -> Self:
        if self.limits != Limits():
            threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def begin(self) -> None:
        """Let the time count from now on; before, it counts beyond what a start may take."""
        self._since, self._late = time.monotonic(), 0.0

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            seconds = max(0.0, time.monotonic() - self._since - self._late)
            problem = self.limits.exceeded(seconds, _memory_bytes)
            if problem is not None:
                self.line.tell({"type": "exceeded", "seconds": seconds, "problem": asdict(problem)})
                self.line.flush()
                os._exit(1)


def _memory_bytes() -> int:
    """Return the resident memory of this process and of those that it started."""
    own, used = psutil.Process(), 0
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            used += int(process.memory_info().rss)
    return used
