"""What a step frees is kept for the next one, told by the pages that the system had to give."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from types import SimpleNamespace

import pytest

import ddbench
from ddbench import heap
from ddbench.making import open_session
from ddbench.settings import load_settings
from ddbench.workspace import open_workspace

STEPS = """
import resource, sys, torch
from ddbench.heap import keep_freed

def step():
    for _ in range(5):
        torch.ones(12 * 2**20) * 2  # two blocks of 48 MB

def pages(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "kept":
    assert keep_freed()
pages(5)
print(pages(5))
"""


LEFT = """
import torch
from ddbench.costs import measured
from ddbench.heap import keep_freed

assert keep_freed()
cpu = torch.device("cpu")
torch.ones(2)
for size in (100, 1):
    with measured(cpu) as cost:
        torch.ones(size * 2**18).sum()
    print(cost.peak_bytes)
"""

WITH_GLIBC = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt: nothing is kept"
)


@WITH_GLIBC
def test_freed_blocks_are_kept_and_not_asked_for_again():
    given, kept = (
        int(subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("given back", "kept")
    )
    assert kept < given / 20


@WITH_GLIBC
def test_what_one_stage_freed_is_not_in_the_next_ones_peak():
    printed = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True, check=True).stdout
    large, small = map(int, printed.split())
    assert large - small > 90 * 2**20


def test_a_c_library_without_the_call_keeps_nothing(monkeypatch):
    monkeypatch.setattr(heap.sys, "platform", "linux")
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: SimpleNamespace())
    assert heap.keep_freed() is False
    monkeypatch.setattr(heap.sys, "platform", "darwin")
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: pytest.fail("asked"))
    assert heap.keep_freed() is False


@pytest.mark.parametrize(
    ("taken", "asked", "done"), [({-3, -1}, [-3, -1], True), ({-4, -1}, [-3, -4, -1], True), ((), [-3, -4], False)]
)
def test_an_older_library_is_asked_not_to_give_blocks_of_their_own(monkeypatch, taken, asked, done):
    calls = []
    monkeypatch.setattr(heap.sys, "platform", "linux")
    libc = SimpleNamespace(mallopt=lambda what, _: calls.append(what) or int(what in taken))
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda _: libc)
    assert heap.keep_freed() is done
    assert calls == asked


@pytest.fixture
def thresholds():
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("thresholds")
def test_garbage_is_looked_for_seldom_until_work_begins_and_nobody_elses_choice_is_undone():
    gc.set_threshold(*heap.USUAL)
    heap.collect_seldom()
    assert gc.get_threshold()[0] > 100 * heap.USUAL[0]
    heap.collect_as_usual()
    assert gc.get_threshold() == heap.USUAL
    gc.set_threshold(5_000, 7, 7)
    heap.collect_as_usual()
    assert gc.get_threshold() == (5_000, 7, 7)


@pytest.mark.usefixtures("thresholds")
def test_a_session_begins_work(tmp_path):
    heap.collect_seldom()
    planned = ddbench.plan("random", store=tmp_path, ipc=1, students=["convnet1-w32"], protocol="quick-hard/1", smoke=0.01)
    open_session(planned, open_workspace(load_settings(store=tmp_path)))
    assert gc.get_threshold() == heap.USUAL
