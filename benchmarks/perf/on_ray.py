"""The Ray executor: what it adds to a cell without work, and what two workers make of one distilled set's jobs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from figures import Figure
from workless import CELLS, REQUEST, run, seconds, task_of

from ddbench.cells import Request
from ddbench.executors.inline import Inline
from ddbench.executors.ray import RayExecutor
from ddbench.executors.ray_cluster import joined
from ddbench.executors.ray_worker import tidy
from ddbench.executors.units import units_of
from ddbench.executors.workbench import Workbench
from ddbench.planning import Known, plan
from ddbench.progress import Silent
from ddbench.settings import Settings
from ddbench.workspace import open_workspace

if TYPE_CHECKING:
    from ddbench.executors.ray_cluster import Cluster

SET = Request(
    ("dwa",),
    students=("convnet1-w32",),
    teacher="convnet3-bn",
    protocol="quick-hard/1",
    ipc=8,
    distill_seeds=1,
    eval_seeds=1,
    options={"teacher.epochs": 2, "iterations": 1000},
    smoke=0.001,
    threads=1,
    precision="fp32",
    compile="off",
    evaluators=("top1",),
)
"""A set of eight jobs, a group each, that takes a minute or two on one thread."""


def overhead() -> list[Figure]:
    """Measure cells on one Ray worker against the same cells in this process."""
    with tempfile.TemporaryDirectory() as folder:
        known = Known(open_workspace(Settings(Path(folder, "ray"), (), ())))
        planned = plan(REQUEST, known.workspace, known=known)
        with joined(None, cpus=1, reporter=Silent()) as cluster, RayExecutor(cluster, known, task_of(planned)) as executor:
            on_ray = seconds(planned, executor)
        workbench = Workbench(open_workspace(Settings(Path(folder, "here"), (), ())))
        here = seconds(planned, Inline(workbench, task_of(planned)))
    added = 1e3 * (on_ray - here) / CELLS
    return [Figure(f"Ray executor, added to each of {CELLS} cells without work", added, "ms", "at most 100", 1, added <= 100)]


def two_workers() -> list[Figure]:
    """Measure the groups of one set on one of two Ray workers of one thread, then on both; whatever starts them is over before."""
    with joined(None, cpus=2, reporter=Silent()) as cluster:
        one, both = (_set_seconds(cluster, workers) for workers in (1, 2))
    name = f"one set's eight groups of jobs on two Ray workers against one ({one:.0f} s)"
    return [Figure(name, one / both, "×", "at least 1.7", 1, one / both >= 1.7)]


def _set_seconds(cluster: Cluster, workers: int) -> float:
    """Return the seconds from the first group to the joined set, in a store and with workers' stores of their own."""
    with tempfile.TemporaryDirectory() as folder:
        known = Known(open_workspace(Settings(Path(folder), (), ())))
        planned = plan(SET, known.workspace, known=known)
        units = units_of(planned)
        asked = units[planned.cells[-1].stage.distilled.key]
        groups = [units[key] for key in asked.needs if units[key].folder == "work"]
        draws = [unit for unit in units.values() if unit.folder == "distilled" and unit.key != asked.key]
        fresh = replace(cluster, run=f"{cluster.run}-{workers}")
        with RayExecutor(fresh, known, task_of(planned)) as executor:
            run([*draws, *(unit for unit in units.values() if unit.folder == "teachers")], executor)  # starts the workers
            executor.most = workers
            begun = time.perf_counter()
            run([*groups, asked], executor)
            taken = time.perf_counter() - begun
        tidy(fresh.run)
        return taken


FIGURES: dict[str, Callable[[], list[Figure]]] = {"ray-overhead": overhead, "ray-groups": two_workers}
