"""The status file: what it tells, and whether its driver is alive, also when the clock jumps."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from ddbench.executors.schedule import Ended, Problem, State
from ddbench.executors.units import Unit
from ddbench.store import Store
from ddbench.suites.status import StatusFile, files_of, is_live, read_status


def unit(key):
    return Unit(key, "records", f"student {key}", (), (), (), 1.0, 1, "cpu")


def status(tmp_path, times):
    clock = iter(times)
    return StatusFile(Store(tmp_path), "few", 3, {"a": 10.0, "b": 20.0}, clock=lambda: next(clock))


def test_a_status_tells_what_runs_what_failed_and_what_is_left(tmp_path):
    file = status(tmp_path, [0.0, 1.0, 1.0, 1.0, 9.0, 9.0])
    state = State({key: unit(key) for key in "abc"})
    state.running["a"] = 0.0
    state.failed["c"] = Problem("RuntimeError", "it broke")
    file.started(unit("a"), state)
    file.looked(state)
    told = read_status(file.path)
    assert (told["seconds"], told["cells"]) == (9.0, {"wanted": 3, "made": 0, "failed": 1})
    assert told["running"] == [{"title": "student a", "seconds": 8.0, "expected_s": 10.0}]
    assert told["failures"] == [{"title": "student c", "error": "RuntimeError", "message": "it broke"}]
    assert told["left_s"] == 30.0
    assert is_live(told)


def test_it_is_written_at_most_once_a_second_and_at_the_end(tmp_path):
    file = status(tmp_path, [0.0, 0.0, 0.5, 0.5, 0.9])
    state = State({"a": unit("a")})
    file.write(state, "running")
    before = file.path.stat().st_ino
    file.ended(unit("a"), Ended("a", 1.0), state)
    assert file.path.stat().st_ino == before
    file.write(state, "done")
    assert read_status(file.path)["state"] == "done"
    assert not is_live(read_status(file.path))


def test_a_driver_that_was_killed_is_told_from_one_that_is_alive(tmp_path):
    driver = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    import psutil

    from ddbench.suites.status import _born

    told = {
        "state": "running",
        "updated": datetime.now(UTC).isoformat(),
        "driver": {"host": platform.node(), "pid": driver.pid, "born": _born(psutil.Process(driver.pid))},
    }
    assert is_live(told)
    told["driver"]["born"] -= 5.0
    assert not is_live(told)  # a later process of the same number
    told["driver"]["born"] += 5.0
    driver.kill()
    driver.wait()
    assert not is_live(told)


def test_the_clock_may_jump_without_a_live_driver_being_taken_for_dead(tmp_path):
    file = status(tmp_path, [100.0] * 3)
    file.write(State({}), "running")
    told = read_status(file.path)
    told["updated"] = (datetime.now(UTC) + timedelta(hours=5)).isoformat()  # it was written before the clock jumped back
    assert is_live(told)


def test_of_another_machine_only_silence_tells():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    told = {"state": "running", "updated": now.isoformat(), "driver": {"host": "elsewhere", "pid": os.getpid(), "born": 0.0}}
    assert is_live(told, now=lambda: now + timedelta(seconds=30))
    assert not is_live(told, now=lambda: now + timedelta(seconds=300))


def test_a_new_driver_removes_what_dead_ones_left_and_leaves_live_ones_alone(tmp_path):
    store = Store(tmp_path)
    dead = tmp_path / "suites" / "few.host.1.json"
    store.write_file(dead, b'{"state": "done", "driver": {"host": "host", "pid": 1, "born": 0}}')
    torn = tmp_path / "suites" / "few.host.2.json"
    store.write_file(torn, b'{"state": "ru')
    other = tmp_path / "suites" / "fewer.host.1.json"
    store.write_file(other, dead.read_bytes())
    StatusFile(store, "few", 0).write(State({}), "running")
    first = StatusFile(store, "few", 0).path
    assert files_of(tmp_path, "few") == [first]
    assert other.is_file()
