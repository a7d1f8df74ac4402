"""Helper processes change where cells are made, not what they are."""

from __future__ import annotations

import time

import pytest
import torch

import ddbench
from ddbench import planning
from ddbench.executors import helping
from ddbench.settings import Settings
from ddbench.store import Store

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


@pytest.mark.e2e
def test_a_helper_makes_cells_by_itself_and_ends_with_the_block(monkeypatch, tmp_path):
    started, start = [], helping._start
    monkeypatch.setattr(helping, "_start", lambda task, threads: started.append(start(task, threads)) or started[-1])
    store = Store(tmp_path / "store")
    planned = ddbench.plan("random", store=store.root, threads=1, **RUN)
    with helping.helping(planned, Settings(store.root, (), ()), count=1):
        for _ in range(600):
            if len(store.record_keys()) == 6:
                break
            time.sleep(0.1)
    assert len(store.record_keys()) == 6
    assert [helper.poll() is not None for helper in started] == [True]
