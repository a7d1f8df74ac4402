"""Worker processes: what they make, what a limit does, what is left when one dies, and who may run beside whom."""

from __future__ import annotations

import os
import signal
import time

import pytest

import ddbench
from ddbench.executors.local import Budget, Limits, Pool, Worker, budget_here
from ddbench.executors.schedule import Rules, run_units
from ddbench.executors.units import Task, Unit, missing, units_of
from ddbench.planning import plan
from ddbench.settings import Settings, settings_from_json
from small_runs import ASKED, REQUEST, Quiet, made, workspace


def pool(space, planned, *, workers=2, limits=None):
    budget = Budget(workers, threads=workers)
    return Pool(space, lambda key: Task(planned.request, planned.place, key), budget=budget, limits=limits)


def wanted(planned, root):
    units = units_of(planned)
    return missing(units, [one.record_key for one in planned.cells], root)


@pytest.mark.e2e
def test_workers_leave_what_one_process_leaves(tmp_path):
    ddbench.run("sre2l", store=tmp_path / "whole", **ASKED)
    space = workspace(tmp_path / "pool")
    planned = plan(REQUEST, space)
    with pool(space, planned) as executor:
        state = run_units(wanted(planned, space.store.root), executor, rules=Rules(), watcher=Quiet())
        assert len(executor.workers) == 2
        processes = [worker.process for worker in executor.workers]
    assert (state.failed, state.waiting) == ({}, 0)
    assert made(tmp_path / "pool") == made(tmp_path / "whole")
    assert all(process.poll() is not None for process in processes)


def test_a_budget_of_threads_lets_small_units_run_side_by_side_and_a_large_one_alone(tmp_path, monkeypatch):
    executor = busy(tmp_path, monkeypatch, Budget(workers=3, threads=3))
    executor.start(unit("a", threads=1))
    assert executor.room(unit("b", threads=2))
    assert not executor.room(unit("b", threads=3))
    executor.start(unit("b", threads=2))
    assert not executor.room(unit("c", threads=1))
    alone = busy(tmp_path, monkeypatch, Budget(workers=2, threads=2))
    assert alone.room(unit("large", threads=64))
    alone.start(unit("large", threads=64))
    assert not alone.room(unit("small", threads=1))


def test_units_of_an_accelerator_take_the_one_with_fewest_and_no_more_than_its_share(tmp_path, monkeypatch):
    executor = busy(tmp_path, monkeypatch, Budget(workers=4, threads=1, devices=("0", "1"), per_device=2))
    for name in "abcd":
        assert executor.room(unit(name, threads=16, device="cuda"))
        executor.start(unit(name, threads=16, device="cuda"))
    assert [worker.device for worker in executor.workers] == ["0", "1", "0", "1"]
    assert not executor.room(unit("e", device="cuda"))


def test_a_free_worker_is_taken_before_another_is_started(tmp_path, monkeypatch):
    executor = busy(tmp_path, monkeypatch, Budget(workers=2, threads=2))
    executor.start(unit("a"))
    executor.workers[0].unit = None
    executor.start(unit("b"))
    assert [worker.unit.key for worker in executor.workers] == ["b"]


def test_as_many_workers_as_were_asked_for_find_a_thread_each():
    assert budget_here("cpu", workers=None, threads=8) == Budget(8, 8)
    assert budget_here("cpu", workers=2, threads=1) == Budget(2, 2)
    assert budget_here("cuda:1", workers=None, threads=8, per_device=3) == Budget(1, 8, (), 3)


def test_settings_reach_a_worker_whole(tmp_path):
    given = Settings(tmp_path / "store", (tmp_path / "a", tmp_path / "b"), ("one",), offline=True)
    assert settings_from_json(given.to_json()) == given


@pytest.mark.e2e
def test_a_worker_that_is_killed_loses_only_its_unit_which_is_made_by_another(tmp_path):
    space = workspace(tmp_path / "pool")
    planned = plan(REQUEST, space)

    class Kills(Quiet):
        killed = 0

        def looked(self, state):
            worker = next((one for one in executor.workers if one.begun and one.unit), None)
            if worker and not self.killed:
                Kills.killed = worker.process.pid
                os.kill(worker.process.pid, signal.SIGKILL)

    with pool(space, planned) as executor:
        state = run_units(wanted(planned, space.store.root), executor, rules=Rules(), watcher=Kills())
    assert Kills.killed
    assert (state.failed, state.waiting) == ({}, 0)
    ddbench.run("sre2l", store=tmp_path / "whole", **ASKED)
    assert made(tmp_path / "pool") == made(tmp_path / "whole")


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("limits", "error", "said"),
    [
        (Limits(time_s=0.0), "TimeLimit", "longer than 0 s and was ended"),
        (Limits(memory_bytes=2**20), "MemoryLimit", "the limit is 1 MiB"),
    ],
)
def test_a_unit_above_its_limit_is_ended_and_fails_with_a_sentence(tmp_path, limits, error, said):
    space = workspace(tmp_path / "pool")
    planned = plan(REQUEST, space)
    first = wanted(planned, space.store.root)[:1]
    with pool(space, planned, limits=limits) as executor:
        state = run_units(first, executor, rules=Rules(), watcher=Quiet())
        assert executor.workers == []
    assert [problem.error for problem in state.failed.values()] == [error]
    assert said in state.failed[first[0].key].message


@pytest.mark.e2e
def test_workers_end_when_their_driver_is_gone(tmp_path):
    space = workspace(tmp_path / "pool")
    planned = plan(REQUEST, space)
    executor = pool(space, planned)
    executor.start(wanted(planned, space.store.root)[0])
    worker = executor.workers[0]
    worker.pipe.close()  # as the kernel does when the driver dies
    assert worker.process.wait(60) == 0
    worker.printed.close()


def unit(key, threads=1, device="cpu"):
    return Unit(key, "records", key, (), (), (), 1.0, threads, device)


def busy(tmp_path, monkeypatch, budget):
    """Return a pool whose workers are only noted down."""

    class Noted:
        def send_bytes(self, content): ...

    monkeypatch.setattr(
        "ddbench.executors.local._started", lambda device: Worker(process=None, pipe=Noted(), printed=None, device=device)
    )
    told = plan(REQUEST, workspace(tmp_path))
    return Pool(workspace(tmp_path), lambda key: Task(REQUEST, told.place, key), budget=budget)


def test_the_time_limit_counts_from_when_the_worker_is_at_its_unit(tmp_path, monkeypatch):
    executor = busy(tmp_path, monkeypatch, Budget(1, 1))
    executor.limits = Limits(time_s=5.0)
    executor.start(unit("a"))
    worker = executor.workers[0]
    worker.since = time.monotonic() - 60
    assert executor._exceeded(worker) is None
    worker.begun = True
    assert executor._exceeded(worker).error == "TimeLimit"
