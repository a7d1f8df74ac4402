"""Whole runs on the embedded digits, shortened to seconds: what is planned, reused, kept and refused."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch

import ddbench
from ddbench import runner
from ddbench.cells import Request
from ddbench.errors import BadOption, BadRequest, LabelsTooLarge, NotEnoughImages, TestSplitTouched, UnknownName
from ddbench.making import open_session, threads_kept
from ddbench.planning import plan as make_plan
from ddbench.progress import Silent
from ddbench.records import read_record
from ddbench.runner import run as run_plan
from ddbench.settings import Settings
from ddbench.store import Store
from ddbench.workspace import open_workspace

HARD = {"protocol": "quick-hard/1", "students": ["convnet1-w32"], "eval_seeds": 1, "ipc": 1, "smoke": 0.02, "threads": 1}
SOFT = {**HARD, "protocol": "quick-soft/1", "teacher": "convnet1-bn-w32", "options": {"teacher.epochs": 1}}


@pytest.fixture(autouse=True)
def no_other_data(monkeypatch, tmp_path):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DDBENCH_PLUGINS", "")


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def cells(outcome):
    return [(record.cell.synthesizer, record.cell.distill_seed, record.cell.eval_seed) for record in outcome.records]


def test_the_control_comes_unasked_with_three_draws_and_the_asked_method_after_it(store):
    outcome = ddbench.run("noise", store=store, **HARD)
    assert cells(outcome) == [("random", 0, 0), ("random", 1, 0), ("random", 2, 0), ("noise", 0, 0)]
    assert outcome.failures == []


def test_asked_again_nothing_is_computed_and_afresh_everything_is_and_gives_the_same(store):
    first = ddbench.run("random", store=store, **HARD)
    again = ddbench.run("random", store=store, **HARD)
    assert again.reused == len(again.records) == 3
    assert [record.sha256 for record in again.records] == [record.sha256 for record in first.records]
    afresh = ddbench.run("random", store=store, fresh=True, **HARD)
    assert afresh.reused == 0
    assert [record.repeatable() for record in afresh.records] == [record.repeatable() for record in first.records]
    assert len(list((store / "replaced").iterdir())) == 3 * 4


def test_a_session_begins_with_the_test_split_locked(store):
    workspace = open_workspace(Settings(store, (), ()), Silent())
    with threads_kept():
        session = open_session(make_plan(Request(("random",), protocol="quick-hard/1", ipc=1), workspace), workspace)
    with pytest.raises(TestSplitTouched):
        session.test.labels()


def test_a_run_made_afresh_and_interrupted_leaves_what_it_did_not_reach(store, monkeypatch):
    first = ddbench.run("random", store=store, **HARD)
    made = runner.student_record
    monkeypatch.setattr(runner, "student_record", lambda session, stage, title, **how: _once(made, session, stage, title, how))
    with pytest.raises(KeyboardInterrupt):
        ddbench.run("random", store=store, fresh=True, **HARD)
    kept = {record.cell.distill_seed for record in Store(store).records()}
    assert kept == {0, 2}
    assert len(first.records) == 3


def _once(made, session, stage, title, how):
    """Make the first student, and be interrupted at the second."""
    if stage.cell.distill_seed == 1:
        raise KeyboardInterrupt
    return made(session, stage, title, **how)


def test_a_record_carries_what_decides_its_number_and_its_predictions_lie_beside_it(store):
    record = ddbench.run("random", store=store, **HARD).records[0]
    assert record.smoke
    assert record.cell.label_regime == "hard"
    assert record.training.optimiser_steps == 4
    assert record.protocol["steps"] == 4
    assert {block.kind for block in record.plugins} >= {"synthesizer", "network", "protocol", "evaluator"}
    assert all(len(block.files_sha256) == 64 for block in record.plugins)
    sidecar = np.load(io.BytesIO((store / "records" / f"{record.key}.npz").read_bytes()))
    assert sidecar["predictions"].dtype == np.uint8
    labels = np.asarray(make_plan_data().test.labels)
    assert record.metric("top1") == pytest.approx((sidecar["predictions"] == labels).mean())
    assert (np.unpackbits(sidecar["correct"], count=len(labels)).astype(bool) == (sidecar["predictions"] == labels)).all()


def make_plan_data():
    return make_plan(Request(("random",)), workspace_at(None)).data


def workspace_at(store):
    from pathlib import Path

    return open_workspace(Settings(Path(store or "/nonexistent"), (), ()), Silent())


def test_a_record_shows_what_did_not_go_as_planned_when_its_set_was_made(store, monkeypatch):
    from ddbench_plugins.baselines.random import Random

    run = Random.run
    monkeypatch.setattr(Random, "run", lambda self, ctx, o, group: ctx.note("running uncompiled") or run(self, ctx, o, group))
    record = ddbench.run("random", store=store, **HARD).records[0]
    assert record.precision.recover["notes"] == ["running uncompiled"]
    assert record.precision.notes == ()
    kept = Store(store).record(record.key)
    assert kept.precision.recover["notes"] == ["running uncompiled"]


def test_a_method_that_draws_from_what_nothing_seeds_is_told_once_and_its_records_say_so(store, monkeypatch):
    from ddbench_plugins.baselines.random import Random

    told, run = [], Random.run

    def drawing(self, ctx, options, group):
        torch.rand(1)
        np.random.rand()  # noqa: NPY002 - what the note is about
        return run(self, ctx, options, group)

    monkeypatch.setattr(Random, "run", drawing)
    monkeypatch.setattr(Silent, "note", lambda self, line: told.append(line))
    workspace = workspace_at(store)
    outcome = run_plan(make_plan(Request(("random",), **HARD), workspace), workspace)
    line = (
        "random draws from torch's global generator and numpy's global generator, which nothing seeds: made again, its sets differ"
    )
    assert [record.precision.recover["notes"] for record in outcome.records] == [[line]] * 3
    assert [note for note in told if "nothing seeds" in note] == [f"{line}; ddbench plugin check random tells more"]


def test_one_teacher_serves_every_cell_and_is_tested_only_after_it_was_stored(store):
    outcome = ddbench.run("herding", store=store, **SOFT)
    kept = Store(store)
    (key,) = kept.keys("teachers")
    assert {record.teacher_key for record in outcome.records} == {key}
    assert "test" not in kept.card("teachers", key)
    assert 0 <= kept.annotations("teachers", key)["test"]["top1"] <= 1
    assert {record.cell.teacher for record in outcome.records} == {"scratch:ddbench/convnet1-bn-w32"}
    assert outcome.records[0].options["teacher"].sources["epochs"] == "command line"
    assert {"squeeze", "recover", "student", "test"} <= set(outcome.records[0].cost)


def test_hard_labels_need_no_teacher_and_train_none(store):
    outcome = ddbench.run("random", store=store, **HARD)
    assert {record.cell.teacher for record in outcome.records} == {None}
    assert Store(store).keys("teachers") == []


def test_stored_labels_are_made_once_for_a_set_and_every_eval_seed_reads_them(store):
    request = {**SOFT, "protocol": "dwa-cifar-stored/1", "eval_seeds": 2, "smoke": 0.005}
    outcome = ddbench.run("random", store=store, **request)
    kept = Store(store)
    assert len(kept.keys("labels")) == 3
    for draw in range(3):
        keys = {record.labels_key for record in outcome.records if record.cell.distill_seed == draw}
        assert len(keys) == 1
    assert all(record.bytes["stored_labels"] == 2 * 2 * 10 * 10 for record in outcome.records)
    assert {"relabel"} <= set(outcome.records[0].cost)


def test_stored_labels_are_priced_before_anything_is_made(store):
    with pytest.raises(LabelsTooLarge, match="--max-label-bytes"):
        ddbench.run("random", store=store, **{**SOFT, "protocol": "dwa-cifar-stored/1", "max_label_bytes": 10})
    assert not store.exists()


def test_a_damaged_set_is_reported_and_made_again_with_the_same_bytes(store):
    record = ddbench.run("random", store=store, **HARD).records[0]
    data = store / "distilled" / record.distilled_key / "data.safetensors"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    outcome = ddbench.run("random", store=store, **{**HARD, "students": ["convnet1-w64"]})
    assert len(outcome.damaged) == 1
    assert record.distilled_key in outcome.damaged[0]
    assert outcome.records[0].distilled_sha256 == record.distilled_sha256


def test_a_damaged_record_is_made_again(store):
    record = ddbench.run("random", store=store, **HARD).records[0]
    path = store / "records" / f"{record.key}.json"
    path.write_text(path.read_text().replace('"smoke":true', '"smoke":false'))
    outcome = ddbench.run("random", store=store, **HARD)
    assert outcome.reused == 2
    assert outcome.records[0].repeatable() == record.repeatable()


def test_a_cell_that_fails_leaves_a_failure_and_the_others_go_on(store, monkeypatch):
    from ddbench import students

    train = students.train_student

    def breaks_on_the_second(student, data, spec, *, seeds, run):
        if seeds.eval_seed == 1:
            raise RuntimeError("the second student broke")
        return train(student, data, spec, seeds=seeds, run=run)

    monkeypatch.setattr(students, "train_student", breaks_on_the_second)
    outcome = ddbench.run("random", store=store, **{**HARD, "eval_seeds": 2})
    assert len(outcome.records) == len(outcome.failures) == 3
    kept = Store(store).failures()[0]
    assert kept["message"] == "the second student broke"
    assert kept["cell"]["eval_seed"] == 1
    assert "RuntimeError" in kept["traceback"]
    monkeypatch.undo()
    assert len(ddbench.run("random", store=store, **{**HARD, "eval_seeds": 2}).records) == 6


def test_a_run_on_a_cpu_keeps_what_it_frees_and_one_elsewhere_does_not_ask(store, monkeypatch):
    from dataclasses import replace

    from ddbench import making

    asked = []
    monkeypatch.setattr(making, "keep_freed", lambda: asked.append(True))
    workspace = workspace_at(store)
    planned = make_plan(Request(("random",), **HARD), workspace)
    making.open_session(planned, workspace)
    assert asked == [True]
    making.open_session(replace(planned, place=replace(planned.place, device=torch.device("meta"))), workspace)
    assert asked == [True]


def test_a_set_that_cannot_be_made_is_tried_and_told_once_and_every_student_of_it_fails(store, monkeypatch):
    from ddbench import distilling

    tried, told, distil = [], [], distilling._distil

    def breaks_on_the_second(session, stage):
        tried.append(stage.seed)
        if stage.seed == 1:
            raise RuntimeError("the second set broke")
        return distil(session, stage)

    monkeypatch.setattr(distilling, "_distil", breaks_on_the_second)
    monkeypatch.setattr(Silent, "note", lambda self, line: told.append(line))
    request = Request(("random",), **{**HARD, "eval_seeds": 3})
    workspace = workspace_at(store)
    outcome = run_plan(make_plan(request, workspace), workspace)
    assert tried == [0, 1, 2]
    assert len(outcome.records) == 6
    assert [failure["cell"]["eval_seed"] for failure in outcome.failures] == [0, 1, 2]
    assert {failure["message"] for failure in outcome.failures} == {"the second set broke"}
    assert len(Store(store).failures()) == 3
    (line,) = [line for line in told if line.startswith("failed:")]
    assert line.endswith("; nor can the set's other students be trained")


def test_rivals_of_one_eval_seed_start_from_the_same_weights(store):
    from ddbench.networks import build, resolve
    from ddbench.plugins import Plugins
    from ddbench.training.students import StudentSeeds

    families = Plugins(()).all("network")
    spec = resolve("convnet1-w32", families, shape=(1, 8, 8), num_classes=10)
    first, second = (build(spec, families, seed=StudentSeeds(4).initialisation).state_dict() for _ in range(2))
    assert all(first[name].equal(second[name]) for name in first)


@pytest.mark.parametrize(
    ("names", "changes", "error", "said"),
    [
        (["dwaa"], {}, UnknownName, "Did you mean 'dwa'"),
        (["random"], {"students": ["convnet33"]}, UnknownName, "Did you mean"),
        (["random"], {"protocol": "quick-hard/2"}, UnknownName, "quick-hard/1"),
        (["random"], {"dataset": "digit"}, UnknownName, "digits"),
        (["random"], {"evaluators": ["top"]}, UnknownName, "top1"),
        (["random"], {"preset": "cpuu"}, UnknownName, "preset"),
        (["random"], {"options": {"rho": "1"}}, BadOption, "no option 'rho'"),
        (["random"], {"options": {"dwa.rho": "1"}}, BadOption, "not in this run"),
        (["random"], {"options": {"teacher.epochs": "0"}, "protocol": "quick-soft/1"}, BadOption, "'epochs'"),
        (["random"], {"ipc": 0}, BadRequest, "at least 1"),
        (["random"], {"eval_seeds": 0}, BadRequest, "at least 1"),
        (["random"], {"smoke": 2.0}, BadRequest, "at most 1"),
        (["random", "random"], {}, BadRequest, "twice"),
        (["random"], {"protocol": "eccv24/1"}, BadRequest, "only"),
        (["random"], {"device": "nonsense"}, BadRequest, "device"),
        (["random"], {"ipc": 1000}, NotEnoughImages, "1000"),
        ([], {}, BadRequest, "at least one"),
        (["random"], {"stduents": ["x"]}, BadRequest, "no argument"),
    ],
)
def test_a_wrong_request_is_refused_with_a_sentence_before_anything_is_written(store, names, changes, error, said):
    with pytest.raises(error, match=said) as caught:
        ddbench.run(*names, store=store, **{**HARD, **changes})
    assert "\n" not in str(caught.value)
    assert not (store / "records").exists()


def test_a_plan_tells_keys_and_what_is_stored_without_making_anything(store):
    before = ddbench.plan("noise", store=store, **HARD)
    assert not store.exists()
    assert [one.stored for one in before.cells] == [False] * 4
    ddbench.run("noise", store=store, **HARD)
    after = ddbench.plan("noise", store=store, **HARD)
    assert [one.stored for one in after.cells] == [True] * 4
    assert [one.record_key for one in after.cells] == [one.record_key for one in before.cells]
    assert json.loads(json.dumps(after.to_json()))["expected_s"] == 0.0
    assert before.expected_s > 0


def test_a_stored_record_reads_back_whole_from_its_file(store):
    record = ddbench.run("random", store=store, **HARD).records[0]
    assert read_record((store / "records" / f"{record.key}.json").read_bytes()) == record
    assert ddbench.table([record]).shape[0] == 1
