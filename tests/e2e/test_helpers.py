"""Helper processes change where cells are made, not what they are."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import torch

import ddbench
from ddbench import planning
from ddbench.executors import helping
from ddbench.settings import Settings
from ddbench.store import Store
from ddbench.workspace import open_workspace

RUN = {
    "students": ["convnet1-w32"],
    "teacher": "convnet1-bn-w32",
    "options": {"teacher.epochs": 1},
    "eval_seeds": 2,
    "ipc": 1,
    "smoke": 0.1,
}


@pytest.fixture(autouse=True)
def only_digits(monkeypatch, tmp_path):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DDBENCH_PLUGINS", "")


def test_small_steps_take_one_thread_each_and_a_process_for_every_idle_one(monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    small = ddbench.plan("noise", store=tmp_path, **RUN)
    assert (small.threads, small.helpers) == (1, 3)
    asked = ddbench.plan("noise", store=tmp_path, threads=2, **RUN)
    assert (asked.threads, asked.helpers) == (2, 0)
    few = ddbench.plan("random", store=tmp_path, **{**RUN, "eval_seeds": 1})
    assert (few.threads, few.helpers) == (4, 0)
    monkeypatch.setattr(planning, "SMALL_STEP_FLOPS", 1.0)
    large = ddbench.plan("noise", store=tmp_path, **RUN)
    assert (large.threads, large.helpers) == (4, 0)


@pytest.mark.e2e
def test_cells_made_side_by_side_are_those_made_one_after_another(monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    alone = ddbench.run("noise", "dwa", store=tmp_path / "alone", threads=1, **RUN)
    beside = ddbench.run("noise", "dwa", store=tmp_path / "beside", **RUN)
    assert [record.repeatable() for record in beside.records] == [record.repeatable() for record in alone.records]
    assert Store(tmp_path / "beside").failures() == []


@pytest.mark.parametrize("copies", [True, False], ids=["a copy", "an interpreter"])
@pytest.mark.e2e
def test_a_helper_makes_cells_by_itself_and_ends_with_the_block(copies, monkeypatch, tmp_path):
    monkeypatch.setattr(helping, "may_fork", lambda planned: copies)
    store = Store(tmp_path / "store")
    planned = ddbench.plan("random", store=store.root, threads=1, **RUN)
    workspace = open_workspace(Settings(store.root, (), ()))
    with helping.helping(planned, workspace, count=1) as helpers:
        for _ in range(600):
            if len(store.record_keys()) == 6:
                break
            time.sleep(0.1)
        pids = [helper.process.pid for helper in helpers]
    assert len(store.record_keys()) == 6
    assert len(pids) == 1
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_helpers_are_copies_only_where_no_thread_could_be_missed(monkeypatch, tmp_path):
    one = ddbench.plan("random", store=tmp_path, threads=1, **RUN)
    several = ddbench.plan("random", store=tmp_path, threads=2, **RUN)
    assert helping.may_fork(one) == (sys.platform == "linux" and not torch.accelerator.is_available())
    assert not helping.may_fork(several)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        assert not helping.may_fork(one)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert not helping.may_fork(one)


@pytest.mark.skipif(sys.platform != "linux", reason="helpers are copies on Linux alone")
@pytest.mark.e2e
def test_a_copy_says_nothing_and_ends_when_it_is_asked_to_or_is_left_alone(tmp_path):
    script = f"""
import os, signal, time, torch
import ddbench
from ddbench.executors import helping
from ddbench.settings import Settings
from ddbench.workspace import open_workspace
torch.ones(400, 400) @ torch.ones(400, 400)
planned = ddbench.plan("random", store={str(tmp_path)!r}, threads=1, **{RUN!r})
workspace = open_workspace(Settings({str(tmp_path)!r}, (), ()))
def talkative(*given):
    print("a copy", flush=True)
    while os.getppid() == given[2]:
        time.sleep(0.05)
helping._help = talkative
print("before", end=" ")
with helping.helping(planned, workspace, count=1) as helpers:
    process = helpers[0].process
    time.sleep(0.5)
    print(process.is_alive(), end=" ")
print(process.exitcode == -signal.SIGTERM)
with helping.helping(planned, workspace, count=1) as helpers:
    print(helpers[0].process.pid, flush=True)
    os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    said, pid = done.stdout.splitlines()
    assert said == "before True True"
    for _ in range(100):
        if not psutil.pid_exists(int(pid)):
            break
        time.sleep(0.1)
    assert not psutil.pid_exists(int(pid))
