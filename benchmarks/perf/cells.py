"""The harness: five eval seeds of one set against one after another, and what a cell costs beside its training."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures import Figure, timed
from pairs import Pair, Ratio, Side, compare

import ddbench
from ddbench import making, students
from ddbench.store import Store

if TYPE_CHECKING:
    from ddbench.runner import Outcome

SEEDS = 5
SMALL: dict[str, Any] = {"ipc": 10, "students": ["convnet1-w32"], "protocol": "dc-hard/1"}
"""A thousand steps of some 3 ms: what two threads of one process cannot share."""

CACHED: dict[str, Any] = {"students": ["convnet1-w32"], "protocol": "quick-hard/1", "ipc": 1, "smoke": 0.01}
FRESH: dict[str, Any] = {
    "students": ["convnet3"],
    "eval_seeds": 3,
    "options": {"teacher.epochs": 5, "iterations": 20},
    "smoke": 0.5,
}


def seeds() -> list[Ratio]:
    """Compare whole commands that train five students of one stored set: as `auto` has it, and one after another."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        trained = ddbench.run("random", store=store, eval_seeds=1, **SMALL).records[-1].key
        _fill(store, trained, {"eval_seeds": SEEDS, **SMALL})
        run = _command(store, modules=Path(folder, "modules"))
        run()
        plain, fast = Side(lambda: run("--threads", str(_threads()))), Side(run)
        name = f"{SEEDS} eval seeds of ConvNet-1 of width 32 on digits, dc-hard/1, whole command"
        measured = compare(Pair(name, plain, fast, at_least=1.3, stretch=2.0, rounds=3, warm_ups=0))
    return [replace(measured, plain_peak_bytes=0, fast_peak_bytes=0)]  # of this process, which does not do the work


def overhead() -> list[Figure]:
    """Measure what the harness adds to a cell that is stored, and to cells of which nothing is."""
    return [_all_cached(), _nothing_cached()]


def _command(store: Path, *, modules: Path) -> Callable[..., None]:
    """Return a function that forgets the students of the first draw, then runs the command that makes them, with more words.

    Modules compiled at its first start, into `modules`, serve the others, as where the package was installed.
    """
    words = ["--ipc", str(SMALL["ipc"]), "--students", *SMALL["students"], "--protocol", SMALL["protocol"]]
    command = [sys.executable, "-m", "ddbench", "run", "random", "--eval-seeds", str(SEEDS), *words]
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(modules)}
    environment = {"DDBENCH_STORE": str(store), "DDBENCH_DATA": "", **compiled}

    def run(*more: str) -> None:
        _forget_first_draw(store)
        timed([*command, *more], environment)

    return run


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _forget_first_draw(store: Path) -> None:
    """Remove the students of the first draw, so that the next run makes five."""
    for record in ddbench.load_records(store):
        if record.cell.distill_seed == 0:
            for path in (store / "records").glob(f"{record.key}.*"):
                path.unlink()


def _all_cached() -> Figure:
    """Measure a run of some two hundred cells of which every record is stored, from the plan to the last record."""
    with tempfile.TemporaryDirectory() as folder:
        trained = ddbench.run("random", store=folder, eval_seeds=1, threads=1, **CACHED).records[0].key
        larger: dict[str, Any] = {"eval_seeds": 67, **CACHED}
        count = _fill(Path(folder), trained, larger)
        times = [_timed(lambda: ddbench.run("random", store=folder, **larger)) for _ in range(5)]
    milliseconds = 1e3 * statistics.median(seconds for seconds, _ in times) / count
    if any(outcome.reused != count for _, outcome in times):
        raise RuntimeError("a run that should have found every record made some")
    return Figure(f"harness per cell, all of {count} stored", milliseconds, "ms", "at most 20", 5, milliseconds <= 20)


def _fill(store: Path, key: str, request: dict[str, Any]) -> int:
    """Give the store a record for every cell of a larger plan of `random`, copied from one that was trained; return how many."""
    kept = Store(store)
    trained = kept.record(key)
    if trained is None:
        raise RuntimeError("the store has lost the record it was just given")
    sidecar = (store / "records" / f"{key}.npz").read_bytes()
    planned = ddbench.plan("random", store=store, **request).cells
    for one in planned:
        if not one.stored:
            cell = trained.cell.model_copy(update={"distill_seed": one.cell.distill_seed, "eval_seed": one.cell.eval_seed})
            kept.add_record(trained.model_copy(update={"key": one.record_key, "cell": cell}), sidecar)
    return len(planned)


def _nothing_cached() -> Figure:
    """Measure the part of a run that is neither squeeze, recover, training nor testing, in a fresh store."""
    shares = []
    for _ in range(3):
        folder = tempfile.mkdtemp()
        planned = ddbench.plan("dwa", store=folder, threads=1, **FRESH)
        owners: list[tuple[object, str]] = [(students, "train_student"), (students, "_evaluate"), (making, "_test_top1")]
        owners += [(kind, "run") for kind in {type(one.cell.method.synthesizer) for one in planned.cells}]
        owners += [(type(one.cell.choice.way), "train") for one in planned.cells[:1] if one.cell.choice]
        with _watched(owners) as spent:
            seconds, outcome = _timed(lambda: ddbench.run("dwa", store=folder, threads=1, **FRESH))  # noqa: B023 - called at once
        shutil.rmtree(folder)
        if outcome.failures:
            raise RuntimeError(outcome.failures[0]["traceback"])
        shares.append(100 * (seconds - sum(spent)) / seconds)
    share = statistics.median(shares)
    name = f"harness, nothing stored, {len(outcome.records)} cells: part of the run"
    return Figure(name, share, "%", "at most 3", 3, share <= 3)


def _timed(call: Callable[[], Outcome]) -> tuple[float, Outcome]:
    begun = time.perf_counter()
    outcome = call()
    return time.perf_counter() - begun, outcome


@contextmanager
def _watched(owners: list[tuple[Any, str]]) -> Iterator[list[float]]:
    """Give a list that gets the seconds of every call of the functions named, while the block runs."""
    spent: list[float] = []

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                spent.append(time.perf_counter() - begun)

        return call

    before = [(owner, name, getattr(owner, name)) for owner, name in owners]
    for owner, name, function in before:
        setattr(owner, name, watched(function))
    try:
        yield spent
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


PARTS: dict[str, Callable[[], list[Ratio]]] = {"eval-seeds": seeds}
FIGURES: dict[str, Callable[[], list[Figure]]] = {"cell-overhead": overhead}
