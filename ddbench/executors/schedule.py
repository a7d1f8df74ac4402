"""The scheduler of all executors: which units may start, what fails with what, when to stop. Where they run is not its matter."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ddbench.executors.units import Unit

LOST_TWICE = 2
"""A unit whose worker died this often is not tried again: most likely it is the unit that kills them."""

LOOK_S = 0.2
"""How often the time limit is looked at while nothing ends."""


@dataclass(frozen=True)
class Problem:
    """Why a unit failed."""

    error: str
    """The name of the error's class; `TimeLimit`, `MemoryLimit` and `WorkerDied` where there was none."""
    message: str
    traceback: str = ""
    stops_all: bool = False
    """Whether it stands in the way of every unit, as a full disk does."""


@dataclass(frozen=True)
class Ended:
    """A unit that is no longer running."""

    key: str
    seconds: float
    problem: Problem | None = None
    lost: bool = False
    """Whether its worker died, which is as likely the machine's doing as the unit's."""


class Executor(Protocol):
    """Starts units somewhere and says when they ended; nothing else."""

    def room(self, unit: Unit) -> bool:
        """Return whether a unit can be started now."""
        ...

    def start(self, unit: Unit) -> None:
        """Start a unit."""
        ...

    def ended(self, timeout_s: float) -> Sequence[Ended]:
        """Return the units that ended since the last call; wait for one, but not longer than this."""
        ...

    def stop(self) -> None:
        """End what runs, at once; what it had finished is kept."""
        ...


@dataclass(frozen=True)
class Rules:
    """When a run stops before everything is done."""

    keep_going: bool = True
    """Whether a failure leaves the units that do not depend on it running."""
    max_s: float | None = None
    """Seconds after which the run ends, finished or not."""


@dataclass
class State:
    """How far a run is; the scheduler changes it, and whoever watches reads it."""

    units: Mapping[str, Unit]
    running: dict[str, float] = field(default_factory=dict)
    """When each was started, by the scheduler's clock."""
    done: dict[str, float] = field(default_factory=dict)
    """Seconds that each took."""
    failed: dict[str, Problem] = field(default_factory=dict)
    spoiled: dict[str, str] = field(default_factory=dict)
    """Units that cannot be made, by the failed unit that they depend on."""
    stopped: str | None = None
    """Why the run ended early."""

    @property
    def waiting(self) -> int:
        """Units that are neither done nor running nor hopeless."""
        return len(self.units) - len(self.running) - len(self.done) - len(self.failed) - len(self.spoiled)


class Watcher(Protocol):
    """Is told what happens while a run goes on."""

    def started(self, unit: Unit, state: State) -> None:
        """A unit was started."""
        ...

    def ended(self, unit: Unit, ended: Ended, state: State) -> None:
        """A unit is done, or has failed for good."""
        ...

    def looked(self, state: State) -> None:
        """The scheduler looked around; nothing need have happened."""
        ...


def run_units(
    units: Sequence[Unit], executor: Executor, *, rules: Rules, watcher: Watcher, clock: Callable[[], float] = time.monotonic
) -> State:
    """Return how the units ended: each is started once those that it needs are done, in the order given where there is a choice.

    Needs that are not among the units count as done. The executor is stopped whenever the run ends with something running, also
    by an exception.
    """
    schedule = _Schedule(units, clock)
    state, end_s = schedule.state, None if rules.max_s is None else clock() + rules.max_s
    try:
        while state.running or schedule.ready:
            schedule.fill(executor, watcher)
            for ended in executor.ended(LOOK_S):
                schedule.take(ended, watcher)
            watcher.looked(state)
            state.stopped = _reason(state, rules, over=end_s is not None and clock() >= end_s)
            if state.stopped:
                break
    finally:
        if state.running:
            executor.stop()
            state.running.clear()
    return state


def _reason(state: State, rules: Rules, *, over: bool) -> str | None:
    """Return why the run must end before everything is done, or None."""
    blocked = next((problem for problem in state.failed.values() if problem.stops_all), None)
    if blocked:
        return blocked.message
    if state.failed and not rules.keep_going:
        return "a cell failed"
    return "the time is over" if over and (state.running or state.waiting) else None


class _Schedule:
    """Units by what they wait for."""

    def __init__(self, units: Sequence[Unit], clock: Callable[[], float]) -> None:
        self.clock = clock
        self.state = State({unit.key: unit for unit in units})
        self._order = {unit.key: number for number, unit in enumerate(units)}
        self._lacks = {unit.key: {key for key in unit.needs if key in self._order} for unit in units}
        self._users: dict[str, list[str]] = {}
        for key, needs in self._lacks.items():
            for need in needs:
                self._users.setdefault(need, []).append(key)
        self._lost: dict[str, int] = {}
        self.ready: dict[tuple[int, str], list[tuple[int, str]]] = {}
        """Units that may start, by what they ask of a machine: where one finds no room, the others of its kind find none either."""
        for key, needs in self._lacks.items():
            if not needs:
                self._make_ready(key)

    def fill(self, executor: Executor, watcher: Watcher) -> None:
        """Start what can be started, the first of the order first."""
        full = set[tuple[int, str]]()
        while heads := [(heap[0], kind) for kind, heap in self.ready.items() if kind not in full]:
            (_, key), kind = min(heads)
            unit = self.state.units[key]
            if not executor.room(unit):
                full.add(kind)
                continue
            self._take_ready(kind)
            self.state.running[key] = self.clock()
            executor.start(unit)
            watcher.started(unit, self.state)

    def take(self, ended: Ended, watcher: Watcher) -> None:
        """Note that a unit ended, and what follows from it."""
        self.state.running.pop(ended.key, None)
        if ended.lost and self._lost.get(ended.key, 0) + 1 < LOST_TWICE:
            self._lost[ended.key] = self._lost.get(ended.key, 0) + 1
            self._make_ready(ended.key)
            return
        if ended.problem is None:
            self._done(ended)
        else:
            self.state.failed[ended.key] = ended.problem
            self.state.spoiled |= dict.fromkeys(self._users_of(ended.key), ended.key)
        watcher.ended(self.state.units[ended.key], ended, self.state)

    def _done(self, ended: Ended) -> None:
        self.state.done[ended.key] = ended.seconds
        for user in self._users.get(ended.key, ()):
            self._lacks[user].discard(ended.key)
            if not self._lacks[user] and user not in self.state.spoiled:
                self._make_ready(user)

    def _users_of(self, key: str) -> Iterator[str]:
        """Give everything that depends on a unit and is not hopeless already."""
        ask, seen = list(self._users.get(key, ())), set(self.state.spoiled)
        while ask:
            user = ask.pop()
            if user not in seen:
                seen.add(user)
                yield user
                ask += self._users.get(user, ())

    def _make_ready(self, key: str) -> None:
        unit = self.state.units[key]
        heapq.heappush(self.ready.setdefault((unit.threads, unit.device), []), (self._order[key], key))

    def _take_ready(self, kind: tuple[int, str]) -> None:
        heapq.heappop(self.ready[kind])
        if not self.ready[kind]:
            del self.ready[kind]


def failed_with(state: State, keys: Iterable[str]) -> dict[str, tuple[str, Problem]]:
    """Return, of the keys that cannot be had, which unit failed, itself or one that it depends on, and why."""
    found = {}
    for key in keys:
        cause = key if key in state.failed else state.spoiled.get(key)
        if cause is not None:
            found[key] = (cause, state.failed[cause])
    return found
