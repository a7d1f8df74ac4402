"""SIGKILL of the driver and of Ray's worker processes while a suite runs by `--executor ray`, as a user types it."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytest.importorskip("ray")

from disturbed import content, finished, half_there, kill_after, start

KILLS = int(os.environ.get("DDBENCH_TEST_KILLS", "2"))
RAY = ("--executor", "ray")
TITLE = re.compile(r"ray::(teacher|random|sre2l|labels|ddbench|storage) ?")
"""How the process of a worker is called that makes a unit of the suite."""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, dict[str, object], float]:
    """A folder with the suite, what an undisturbed local run leaves, and how long an undisturbed one on Ray takes."""
    folder = tmp_path_factory.mktemp("whole")
    finished(folder, folder / "store")
    begun = time.monotonic()
    finished(folder, folder / "on-ray", *RAY)
    length = time.monotonic() - begun
    assert content(folder / "on-ray") == content(folder / "store")
    return folder, content(folder / "store"), length


def makers(driver: int) -> list[psutil.Process]:
    """Return the worker processes in which Ray makes a unit for a driver just now: they are called after it."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(driver).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                found += [child] if TITLE.match(" ".join(child.cmdline())) else []
    return found


def kill_a_maker(driver: int, until: float) -> bool:
    """Kill the first worker process that makes a unit before a moment; say whether there was one."""
    while time.monotonic() < until:
        for process in makers(driver):
            process.send_signal(signal.SIGKILL)
            return True
        time.sleep(0.05)
    return False


def test_ray_workers_killed_at_random_moments_of_a_suite_lose_nothing(whole, tmp_path):
    folder, found, length = whole
    moments, killed = random.Random(3), 0
    for _ in range(KILLS):
        run = start(folder, tmp_path / "store", *RAY)
        begun = time.monotonic()
        time.sleep(moments.uniform(0.0, 0.7) * length)
        killed += kill_a_maker(run.pid, begun + length)
        said, _ = run.communicate()
        assert run.returncode == 0, said
        assert content(tmp_path / "store") == found
        for record in sorted((tmp_path / "store" / "records").glob("*"))[::2]:  # so that the next round has something to make
            record.unlink()
    finished(folder, tmp_path / "store", *RAY)
    assert killed >= 1
    assert content(tmp_path / "store") == found
    assert half_there(tmp_path / "store") == []


def test_a_driver_on_ray_killed_at_random_moments_loses_nothing(whole, tmp_path):
    folder, found, length = whole
    moments, killed = random.Random(4), 0
    for _ in range(KILLS):
        run = start(folder, tmp_path / "store", *RAY)
        killed += kill_after(run, moments.uniform(0.3, 0.9) * length, worker=False)
        run.communicate()
    finished(folder, tmp_path / "store", *RAY)
    assert killed >= 1
    assert content(tmp_path / "store") == found
    assert half_there(tmp_path / "store") == []
