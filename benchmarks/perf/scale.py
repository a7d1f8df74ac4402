"""Many cells: what planning, reading and keeping them costs, what a worker process adds to each, and what a second one gains."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from figures import Figure
from leaderboard import write_records
from workless import CELLS, REQUEST, WARM, seconds, task_of

from ddbench.executors.inline import Inline
from ddbench.executors.local import Budget, Pool
from ddbench.executors.workbench import Workbench
from ddbench.planning import Known, plan
from ddbench.report import sources, tables
from ddbench.settings import Settings
from ddbench.store import Store
from ddbench.suites.files import Suite
from ddbench.suites.planning import SuitePlan, choose, plan_suite
from ddbench.suites.prices import priced
from ddbench.workspace import open_workspace

ROUNDS = 5

SUITE = {
    "name": "large",
    "settings": {
        "protocol": "quick-soft/1",
        "students": ["convnet3", "test_resnet", "convnet1-w32"],
        "distill_seeds": 2,
        "eval_seeds": 5,
        "options": {"iterations": 10},
    },
    "variants": {f"dwa{number}": {"synthesizer": "dwa", "options": {"rho": number / 100}} for number in range(15)},
    "cells": [
        {
            "methods": ["random", "noise", "herding", "kcenter", "sre2l", *[f"dwa{number}" for number in range(15)]],
            "datasets": ["digits"],
            "ipc": [1, 5, 10],
        }
    ],
}
"""Twenty methods at three ipcs, three students, ten students each: nearly two thousand cells, with their controls."""

BUSY = replace(REQUEST, smoke=0.3, distill_seeds=WARM + 12, ipc=10, students=("convnet3",))
"""Twelve sets with a student of a second or more each, and those that warm the workers: so many that no worker waits long for the
other's last one."""


def local_overhead() -> list[Figure]:
    """Measure cells in one worker process against the same cells in this process."""
    with tempfile.TemporaryDirectory() as folder:
        space = open_workspace(Settings(Path(folder, "pool"), (), ()))
        planned = plan(REQUEST, space)
        with Pool(space, task_of(planned), budget=Budget(1, 1)) as pool:
            apart = seconds(planned, pool)
        here = seconds(planned, Inline(Workbench(open_workspace(Settings(Path(folder, "here"), (), ()))), task_of(planned)))
    added = 1e3 * (apart - here) / CELLS
    return [Figure(f"local executor, added to each of {CELLS} cells without work", added, "ms", "at most 50", 1, added <= 50)]


def two_workers() -> list[Figure]:
    """Measure cells of one thread on one worker and on two, their start left out."""
    gains = [_on_workers(1) / _on_workers(2) for _ in range(3)]
    gain = statistics.median(gains)
    return [Figure("two workers against one, independent cells of one thread", gain, "×", "at least 1.7", len(gains), gain >= 1.7)]


def _on_workers(workers: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        space = open_workspace(Settings(Path(folder), (), ()))
        planned = plan(BUSY, space)
        with Pool(space, task_of(planned), budget=Budget(workers, workers)) as pool:
            return seconds(planned, pool)


def suite_plan() -> list[Figure]:
    """Measure planning and pricing a suite of which everything is stored."""
    suite = Suite.model_validate(SUITE)
    with tempfile.TemporaryDirectory() as folder:
        _plan(suite, Path(folder), store=True)
        times = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            planned = _plan(suite, Path(folder))
            times.append(time.perf_counter() - begun)
    took = statistics.median(times) / len(planned.cells) * 2000
    name = f"2 000 cached cells planned (of {len(planned.cells)} measured)"
    return [Figure(name, took, "s", "under 3", ROUNDS, took < 3)]


def _plan(suite: Suite, root: Path, *, store: bool = False) -> SuitePlan:
    """Return the suite's plan; with `store` an empty file or folder stands in for everything that it lacks."""
    known = Known(open_workspace(Settings(root, (), ())))
    planned = plan_suite(suite, known.workspace, known=known)
    asked = priced(planned, choose(planned), known, Budget(2, 2))
    for path in (root / place for unit in asked.lacking if store for place in unit.leaves):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if path.suffix else path.mkdir(exist_ok=True)
    return planned


def record_table() -> list[Figure]:
    """Measure how long ten thousand records take from their files to tables."""
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder, "records"), 10_000, side=3)
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            loaded = sources.load(None, [Path(folder, "records")])
            read = time.perf_counter() - begun
            tables.summary(list(loaded.records))
            times.append((time.perf_counter() - begun, read))
    took, read = (statistics.median(column) for column in zip(*times, strict=True))
    return [
        Figure("10 000 records into a table", took, "s", "under 3", 3, took < 3),
        Figure("10 000 records into a table: reading and checking alone", read, "s", "–", 3, None),
    ]


def large_store() -> list[Figure]:
    """Measure finding fifty records, and keeping a failure, among a thousand and among a hundred thousand."""
    taken = {}
    for count in (1_000, 100_000):
        with tempfile.TemporaryDirectory() as folder:
            store, keys = _filled(Path(folder), count)
            begun = time.perf_counter()
            found = [Store(store.root).record(key) for key in keys]
            looked = time.perf_counter() - begun
            begun = time.perf_counter()
            for key in keys:
                store.add_failure(key, {"message": "none"})
            kept = time.perf_counter() - begun
            begun = time.perf_counter()
            listed = len(store.record_keys())
            taken[count] = (looked, kept, time.perf_counter() - begun)
        if None in found or listed != count:
            raise RuntimeError("a record that was stored was not found")
    few, many = taken[1_000], taken[100_000]
    lookup, keeping = (many[number] / few[number] for number in (0, 1))
    each = 1e6 * many[2] / 100_000
    return [
        Figure("50 records found among 100 000 against among 1 000", lookup, "×", "at most 2", 1, lookup <= 2),
        Figure("50 failures kept beside 100 000 against beside 1 000", keeping, "×", "at most 2", 1, keeping <= 2),
        Figure("100 000 records listed: each", each, "µs", "at most 20", 1, each <= 20),
    ]


def _filled(root: Path, count: int) -> tuple[Store, list[str]]:
    """Return a store of so many records and failures, of which fifty are whole, and the keys of those."""
    write_records(root / "made", 50, side=3)
    (root / "records").mkdir()
    (root / "failures").mkdir()
    keys = []
    for path in sorted((root / "made").glob("*.json")):
        keys.append(path.stem)
        path.rename(root / "records" / path.name)
    for number in range(len(keys), count):
        (root / "records" / f"f{number:019x}.json").touch()
        (root / "failures" / f"f{number:019x}-0.json").touch()
    return Store(root), keys


FIGURES: dict[str, Callable[[], list[Figure]]] = {
    "local-overhead": local_overhead,
    "two-workers": two_workers,
    "suite-plan": suite_plan,
    "record-table": record_table,
    "large-store": large_store,
}
