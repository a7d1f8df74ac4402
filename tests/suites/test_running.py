"""Whole small suites, run in this process: what is made, reused, kept of failures, and told."""

from __future__ import annotations

import json

import pytest

import ddbench
from ddbench import students
from ddbench.errors import EnvironmentProblem, StoreProblem
from ddbench.suites.status import files_of, read_status
from small_suites import CELLS, TEXT, known_at, planned, run_here


@pytest.fixture
def known(tmp_path):
    return known_at(tmp_path / "store")


def test_a_suite_leaves_the_records_that_single_runs_leave_and_then_reuses_them(tmp_path, known):
    outcome = run_here(tmp_path, known)
    assert (len(outcome.made), outcome.reused, outcome.failures, outcome.unfinished) == (CELLS, 0, [], 0)
    same = {"students": ["convnet1-w32"], "protocol": "quick-hard/1", "eval_seeds": 1, "ipc": 1, "smoke": 0.02, "threads": 1}
    alone = ddbench.run("herding", store=tmp_path / "alone", **same)
    store = known.workspace.store
    assert [store.record(record.key).repeatable() for record in alone.records] == [record.repeatable() for record in alone.records]
    again = run_here(tmp_path, known_at(tmp_path / "store"))
    assert (again.made, again.reused) == ([], CELLS)


def test_a_failed_stage_fails_only_its_cells_each_of_which_is_kept_with_the_cause(tmp_path, known, monkeypatch):
    from ddbench import distilling

    distilled = distilling.distilled

    def breaks(session, stage):
        if stage.method.name == "herding":
            raise RuntimeError("no herd")
        return distilled(session, stage)

    monkeypatch.setattr(distilling, "distilled", breaks)
    outcome = run_here(tmp_path, known, TEXT.replace("eval_seeds = 1", "eval_seeds = 2"))
    assert [one["cell"]["synthesizer"] for one in outcome.failures] == ["herding", "herding"]
    assert outcome.causes() == [("RuntimeError: herding, ipc 1, distill seed 0: no herd", 2)]
    kept = known.workspace.store.failures()
    assert {one["key"] for one in kept} == known.workspace.store.failure_keys() == {one["key"] for one in outcome.failures}
    assert all("RuntimeError" in one["traceback"] for one in kept)
    assert len(outcome.made) == 2 * (CELLS - 1)
    monkeypatch.undo()
    again = run_here(tmp_path, known_at(tmp_path / "store"), TEXT.replace("eval_seeds = 1", "eval_seeds = 2"))
    assert (len(again.made), again.failures) == (2, [])


def test_without_keep_going_the_run_ends_at_the_first_failure(tmp_path, known, monkeypatch):
    def breaks(*args, **kwargs):
        raise RuntimeError("no student")

    monkeypatch.setattr(students, "train_student", breaks)
    outcome = run_here(tmp_path, known, keep_going=False)
    assert (len(outcome.failures), outcome.unfinished, outcome.stopped) == (1, CELLS - 1, "a cell failed")


def test_a_store_that_cannot_be_written_ends_the_run_in_one_sentence_and_fails_no_cell(tmp_path, known, monkeypatch):
    def full(*args, **kwargs):
        raise StoreProblem("no space left on the device")

    monkeypatch.setattr(students, "train_student", full)
    with pytest.raises(EnvironmentProblem, match="no space left"):
        run_here(tmp_path, known)
    assert known.workspace.store.failures() == []


def test_an_interrupted_run_says_so_in_its_status_and_goes_on(tmp_path, known, monkeypatch):
    train = students.train_student
    calls = []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train(*args, **kwargs)

    monkeypatch.setattr(students, "train_student", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_here(tmp_path, known)
    (path,) = files_of(tmp_path / "store", "few")
    told = read_status(path)
    assert (told["state"], told["cells"]["made"]) == ("interrupted", 2)
    outcome = run_here(tmp_path, known_at(tmp_path / "store"))
    assert (len(outcome.made), outcome.reused) == (CELLS - 2, 2)


def test_the_slowest_stages_are_told(tmp_path, known):
    outcome = run_here(tmp_path, known)
    assert len(outcome.slowest) == 5
    seconds = [one for _, one in outcome.slowest]
    assert seconds == sorted(seconds, reverse=True)
    assert json.loads(json.dumps(outcome.to_json()))["reused"] == 0


def test_a_control_found_by_one_request_is_made_with_that_requests_settings_whatever_is_chosen(tmp_path, known):
    whole, part = planned(tmp_path, known), planned(tmp_path, known, only=["still"])
    shared = [key for key in part.chosen if key in whole.chosen]
    assert [part.planned.task(key) for key in shared] == [whole.planned.task(key) for key in shared]
