"""Cells without work: what an executor adds to them is all that they take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ddbench.cells import Request
from ddbench.executors.schedule import Ended, Executor, Rules, State, run_units
from ddbench.executors.units import Task, Unit, units_of

if TYPE_CHECKING:
    from ddbench.planning import Plan

CELLS = 60
WARM = 5
"""Cells that start the worker and fill its caches."""

REQUEST = Request(
    ("random",),
    students=("convnet1-w32",),
    protocol="quick-hard/1",
    ipc=1,
    distill_seeds=CELLS + WARM,
    eval_seeds=1,
    smoke=0.001,
    threads=1,
    evaluators=("top1",),
)
"""Every cell has a set of its own, of ten real images, and a student of one step: a unit each."""


class _Quiet:
    def started(self, unit: Unit, state: State) -> None: ...
    def ended(self, unit: Unit, ended: Ended, state: State) -> None: ...
    def looked(self, state: State) -> None: ...


def task_of(planned: Plan) -> Callable[[str], Task]:
    return lambda key: Task(planned.request, planned.place, key)


def seconds(planned: Plan, executor: Executor) -> float:
    """Return the seconds of all cells but the first few."""
    keys = [one.record_key for one in planned.cells]
    warm, rest = _lacking(planned, keys[:WARM]), _lacking(planned, keys[WARM:])
    run(warm, executor)
    begun = time.perf_counter()
    run(rest, executor)
    return time.perf_counter() - begun


def _lacking(planned: Plan, keys: Sequence[str]) -> list[Unit]:
    units = units_of(planned)
    needed = {need for key in keys for need in units[key].needs}
    return [unit for key, unit in units.items() if key in needed or key in keys]


def run(units: Sequence[Unit], executor: Executor) -> None:
    """Have units made; raise RuntimeError with the traceback of the first that fails."""
    state = run_units(units, executor, rules=Rules(), watcher=_Quiet())
    if state.failed:
        raise RuntimeError(next(iter(state.failed.values())).traceback)
