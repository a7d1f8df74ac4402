"""SIGKILL of a suite's driver and of its workers at random moments, and two drivers at once: nothing is lost."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from disturbed import CELLS, content, finished, half_there, kill_after, start, workers_of

KILLS = int(os.environ.get("DDBENCH_TEST_KILLS", "3"))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, dict[str, object], float]:
    """A folder with the suite, what an undisturbed run leaves, and how long it takes."""
    folder = tmp_path_factory.mktemp("whole")
    begun = time.monotonic()
    finished(folder, folder / "store")
    found = content(folder / "store")
    assert sum(name.endswith(".json") and "/" not in name for name in found) == CELLS
    return folder, found, time.monotonic() - begun


def test_a_driver_killed_at_random_moments_loses_nothing_and_its_workers_end_with_it(whole, tmp_path):
    folder, found, length = whole
    moments, killed = random.Random(1), 0
    for _ in range(KILLS):
        run = start(folder, tmp_path / "store")
        moment = moments.uniform(0.3, 0.95) * length
        before = time.monotonic()
        while time.monotonic() - before < moment and run.poll() is None:
            time.sleep(0.05)
        workers = workers_of(run.pid)
        killed += kill_after(run, 0.0, worker=False)
        run.communicate()
        for worker in workers:
            worker.wait(30)
    finished(folder, tmp_path / "store")
    assert killed >= 1
    assert content(tmp_path / "store") == found
    assert half_there(tmp_path / "store") == []


def test_workers_killed_at_random_moments_lose_nothing_and_mostly_not_even_time(whole, tmp_path):
    folder, found, length = whole
    moments, killed = random.Random(2), 0
    for number in range(KILLS):
        run = start(folder, tmp_path / "store")
        killed += kill_after(run, moments.uniform(0.3, 0.9) * length, worker=True)
        said, _ = run.communicate()
        assert run.returncode == 0, said
        if number < KILLS - 1:  # so that the next round has something to make
            for record in sorted((tmp_path / "store" / "records").glob("*"))[::2]:
                record.unlink()
    finished(folder, tmp_path / "store")
    assert killed >= 1
    assert content(tmp_path / "store") == found
    assert half_there(tmp_path / "store") == []


def test_two_drivers_on_one_store_make_each_thing_once(whole, tmp_path):
    folder, found, _ = whole
    runs = [start(folder, tmp_path / "store") for _ in range(2)]
    told = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told
    assert content(tmp_path / "store") == found
    assert half_there(tmp_path / "store") == []
    assert not (tmp_path / "store" / "damaged").exists()
