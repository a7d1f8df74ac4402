"""A worker process of Ray ends itself when its unit exceeds a limit, and tells the driver before."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("ray")

from ddbench.executors import ray_worker
from ddbench.executors.local import Limits
from ddbench.executors.ray_worker import Watch


class Told:
    def __init__(self):
        self.messages = []

    def tell(self, message):
        self.messages.append(message)

    def flush(self): ...


@pytest.fixture
def ended(monkeypatch):
    """Set when the process would have ended."""
    over = threading.Event()
    monkeypatch.setattr(ray_worker.os, "_exit", lambda _: over.set())
    return over


@pytest.mark.parametrize(("limits", "error"), [(Limits(time_s=0.05), "TimeLimit"), (Limits(memory_bytes=1), "MemoryLimit")])
def test_a_unit_above_a_limit_ends_its_process_after_the_driver_was_told(ended, limits, error):
    line = Told()
    with Watch(limits, line) as watch:
        watch.begin()
        assert ended.wait(30)
    assert line.messages[0]["problem"]["error"] == error


def test_a_unit_that_hangs_before_its_own_work_begins_is_ended_too(ended, monkeypatch):
    monkeypatch.setattr(ray_worker, "START_S", 0.0)
    line = Told()
    with Watch(Limits(time_s=0.05), line):
        assert ended.wait(30)
    assert line.messages[0]["type"] == "exceeded"


def test_a_start_has_minutes_of_its_own(ended):
    with Watch(Limits(time_s=0.05), Told()):
        assert not ended.wait(0.5)
