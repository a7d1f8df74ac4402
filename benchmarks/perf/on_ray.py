"""The Ray executor: what it adds to a cell whose synthesizer does nothing, after Ray and its worker are up."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from figures import Figure

from ddbench.cells import Request
from ddbench.executors.inline import Inline
from ddbench.executors.ray import RayExecutor
from ddbench.executors.ray_cluster import joined
from ddbench.executors.schedule import Ended, Executor, Rules, State, run_units
from ddbench.executors.units import Task, Unit, units_of
from ddbench.executors.workbench import Workbench
from ddbench.planning import Known, Plan, plan
from ddbench.progress import Silent
from ddbench.settings import Settings
from ddbench.workspace import open_workspace

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


def overhead() -> list[Figure]:
    """Measure cells on one Ray worker against the same cells in this process."""
    with tempfile.TemporaryDirectory() as folder:
        known = Known(open_workspace(Settings(Path(folder, "ray"), (), ())))
        planned = plan(REQUEST, known.workspace, known=known)
        with joined(None, cpus=1, reporter=Silent()) as cluster, RayExecutor(cluster, known, _task(planned)) as executor:
            on_ray = _seconds(planned, executor)
        workbench = Workbench(open_workspace(Settings(Path(folder, "here"), (), ())))
        here = _seconds(planned, Inline(workbench, _task(planned)))
    added = 1e3 * (on_ray - here) / CELLS
    return [Figure(f"Ray executor, added to each of {CELLS} cells without work", added, "ms", "at most 100", 1, added <= 100)]


def _task(planned: Plan) -> Callable[[str], Task]:
    return lambda key: Task(planned.request, planned.place, key)


def _seconds(planned: Plan, executor: Executor) -> float:
    """Return the seconds of all cells but the first few."""
    keys = [one.record_key for one in planned.cells]
    warm, rest = _lacking(planned, keys[:WARM]), _lacking(planned, keys[WARM:])
    _run(warm, executor)
    begun = time.perf_counter()
    _run(rest, executor)
    return time.perf_counter() - begun


def _lacking(planned: Plan, keys: Sequence[str]) -> list[Unit]:
    units = units_of(planned)
    needed = {need for key in keys for need in units[key].needs}
    return [unit for key, unit in units.items() if key in needed or key in keys]


def _run(units: Sequence[Unit], executor: Executor) -> None:
    state = run_units(units, executor, rules=Rules(), watcher=_Quiet())
    if state.failed:
        raise RuntimeError(next(iter(state.failed.values())).traceback)


FIGURES: dict[str, Callable[[], list[Figure]]] = {"ray-overhead": overhead}
