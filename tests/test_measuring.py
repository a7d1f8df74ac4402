"""Evaluators in whole runs on the embedded digits: their options, what they need, and sets that are measured once."""

from __future__ import annotations

import io

import numpy as np
import pytest

import ddbench
from ddbench.cells import Request, evaluators
from ddbench.cli.garbage import find_garbage
from ddbench.errors import BadOption, TestSplitTouched, UnknownName
from ddbench.planning import plan
from ddbench.plugins import Plugins
from ddbench.progress import Silent
from ddbench.settings import Settings
from ddbench.store import EVALUATED, Store
from ddbench.workspace import open_workspace

HARD = {"protocol": "quick-hard/1", "students": ["convnet1-w32"], "eval_seeds": 1, "ipc": 2, "smoke": 0.02, "threads": 1}
TEACHER = {"teacher": "convnet1-bn-w32", "options": {"teacher.epochs": 1}}
STORAGE = ["image_bytes", "label_bytes", "extra_bytes", "total_bytes", "real_ratio"]
OF_SETS = {**HARD, **TEACHER, "eval_seeds": 2, "evaluators": ["top1", "diversity", "embeddings"]}


@pytest.fixture(autouse=True)
def no_other_data(monkeypatch, tmp_path):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DDBENCH_PLUGINS", "")


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def planned(*, store="/nonexistent", **request):
    from pathlib import Path

    lists = {name: tuple(value) if isinstance(value, list) else value for name, value in request.items()}
    return plan(Request(("random",), **lists), open_workspace(Settings(Path(store), (), ()), Silent()))


def keys(**request):
    return [one.record_key for one in planned(**request).cells]


def test_an_evaluators_options_come_in_layers_and_carry_their_sources():
    facts = planned(**HARD).facts
    request = Request(
        ("random",),
        evaluators=("attack", "calibration"),
        options={"attack.steps": "3"},
        shared={"attack.steps": 5, "attack.epsilon": 0.1, "calibration.bins": 20},
    )
    _, _, attack, calibration = evaluators(request, Plugins(()), facts)
    assert (attack.options.values.steps, attack.options.sources["steps"]) == (3, "command line")
    assert (attack.options.values.epsilon, attack.options.sources["epsilon"]) == (0.1, "suite")
    assert attack.options.sources["restarts"] == "default"
    assert calibration.options.dump() == {"bins": 20}


def test_a_preset_sets_an_evaluators_options():
    facts = planned(**HARD).facts
    _, _, attack = evaluators(Request(("random",), evaluators=("attack",), preset="imagenet"), Plugins(()), facts)
    assert attack.options.values.epsilon == pytest.approx(4 / 255)
    assert attack.options.sources["epsilon"].startswith("preset imagenet: 4/255")


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"calibration.bin": 20}, BadOption, "evaluator 'calibration' has no option 'bin'"),
        ({"calibration.bins": 0}, BadOption, "evaluator 'calibration', option 'bins'"),
        (
            {"attack.steps": 3},
            BadOption,
            "is for 'attack', which is not in this run; it has: calibration, random, storage, teacher, top1",
        ),
    ],
)
def test_an_option_that_fits_no_evaluator_of_the_run_is_refused(options, error, sentence):
    with pytest.raises(error, match=sentence):
        planned(**HARD, evaluators=["calibration"], options=options)


def test_an_unknown_evaluator_is_refused():
    with pytest.raises(UnknownName, match="calibration"):
        planned(**HARD, evaluators=["calibraton"])


def test_options_that_are_the_default_leave_a_key_as_it_is_and_others_change_it():
    plain = keys(**HARD, evaluators=["calibration"])
    assert keys(**HARD, evaluators=["calibration"], options={"calibration.bins": 15}) == plain
    assert not set(keys(**HARD, evaluators=["calibration"], options={"calibration.bins": 20})) & set(plain)


def test_an_evaluator_without_options_enters_a_key_as_it_did_before_there_were_any():
    (measure, _) = planned(**HARD).cells[0].stage.evaluators
    assert set(measure.identity()) == {"name", "version", "files"}
    assert measure.label == "top1 1"


def test_what_is_asked_for_twice_or_in_another_order_leaves_a_key_as_it_is_and_bytes_are_always_counted():
    plain = keys(**HARD)
    assert keys(**HARD, evaluators=["storage", "top1"]) == keys(**HARD, evaluators=["top1"]) == plain
    both = keys(**HARD, evaluators=["calibration", "attack"])
    assert keys(**HARD, evaluators=["top1", "attack", "calibration"]) == both
    assert not set(both) & set(plain)


def test_a_plan_tells_how_many_students_are_trained_again_for_what_is_measured_besides(store):
    ddbench.run("random", store=store, **HARD)
    assert not [note for note in planned(store=store, **HARD, evaluators=["top1"]).notes if "again" in note]
    (note,) = planned(store=store, **HARD, evaluators=["calibration"]).notes
    assert note == "3 students are trained again for calibration: records are in the store, trained networks are not kept"
    assert not planned(store=store, **HARD | {"eval_seeds": 1}, evaluators=["calibration"]).cells[0].stored


def test_every_evaluator_of_students_is_asked_about_one_trained_student(store, monkeypatch):
    from ddbench import students

    trained = []
    train = students.train_student
    monkeypatch.setattr(students, "train_student", lambda *given, **named: trained.append(1) or train(*given, **named))
    options = {"corruption.kinds": ["contrast"], "corruption.severities": [1], "attack.images": 20, "calibration.bins": 20}
    asked = ["top1", "calibration", "corruption", "attack"]
    record = ddbench.run("random", store=store, **HARD, evaluators=asked, options=options).records[0]
    assert len(trained) == 3
    attacked, corrupted = ["attack_top1", "attack_clean_top1"], ["corruption_top1", "corruption_top1.contrast"]
    names = ["top1", *STORAGE, *attacked, "ece", "nll", "brier", *corrupted]
    assert [metric.name for metric in record.metrics] == names
    assert record.metrics[names.index("ece")].evaluator == "calibration 1 bins=20"
    assert record.evaluators["calibration"].options.sources == {"bins": "command line"}
    assert record.evaluators["top1"].options.values == {}
    assert {block.name for block in record.plugins if block.kind == "evaluator"} == {*asked, "storage"}
    sidecar = np.load(io.BytesIO((store / "records" / f"{record.key}.npz").read_bytes()))
    assert sidecar["corruption.top1"].shape == (1, 1)
    assert record.metric("attack_top1") <= record.metric("attack_clean_top1")


def test_a_set_is_measured_once_for_all_its_students_and_the_teacher_for_it_is_no_part_of_the_cell(store, monkeypatch):
    from ddbench_plugins.diversity.diversity import Diversity

    asked = []
    evaluate = Diversity.evaluate
    monkeypatch.setattr(Diversity, "evaluate", lambda self, ctx, o: asked.append(1) or evaluate(self, ctx, o))
    records = ddbench.run("random", store=store, **OF_SETS).records
    assert (len(records), len(asked)) == (6, 3)
    kept = Store(store)
    (teacher,) = kept.keys("teachers")
    assert {record.cell.teacher for record in records} == {None}
    assert {record.teacher_key for record in records} == {None}
    for record in records:
        block = record.evaluators["diversity"]
        assert block.needs == {"teacher": teacher}
        found = kept.find("evaluations", block.key)
        assert found.file_sha256(EVALUATED) == block.sidecar
        assert [metric["value"] for metric in found.card["metrics"]] == [
            metric.value for metric in record.metrics if metric.evaluator == "diversity 1"
        ]
        with np.load(found.path(EVALUATED), allow_pickle=False) as arrays:
            assert arrays["nearest"].tolist() == [0] * 20
    assert len({record.evaluators["diversity"].key for record in records}) == 3
    assert [metric.name for metric in records[0].metrics] == [
        "top1",
        *STORAGE,
        "within_class_distance",
        "coverage",
        "nearest_real",
        "copies",
    ]
    assert find_garbage(kept, older_than_s=-1, unreferenced=True) == find_garbage(kept, older_than_s=-1, unreferenced=False)


def test_the_teacher_that_an_evaluator_needs_is_planned_and_decides_the_students_key():
    stages = [stage.title for stage in planned(**OF_SETS).stages]
    assert "teacher scratch:ddbench/convnet1-bn-w32" in stages
    other = {**OF_SETS, "options": {"teacher.epochs": 2}}
    assert not set(keys(**other)) & set(keys(**OF_SETS))
    named = {**OF_SETS, "options": {"teacher.epochs": 1, "diversity.teacher": "convnet1-bn", "embeddings.teacher": "convnet1-bn"}}
    assert "teacher scratch:ddbench/convnet1-bn" in [stage.title for stage in planned(**named).stages]


def test_an_evaluator_of_sets_sees_no_test_image_and_no_student(store, monkeypatch):
    from ddbench_plugins.evaluators.storage import Storage

    monkeypatch.setattr(Storage, "evaluate", lambda self, ctx, o: ctx.test_labels())
    with pytest.raises(TestSplitTouched):
        ddbench.run("random", store=store, **HARD)
    monkeypatch.setattr(Storage, "evaluate", lambda self, ctx, o: ctx.student)
    with pytest.raises(ddbench.DdbenchError, match="is not shown a student"):
        ddbench.run("random", store=store, **HARD)


def test_a_damaged_evaluation_is_found_again(store):
    request = {**HARD, **TEACHER, "evaluators": ["embeddings", "top1"]}
    first = ddbench.run("random", store=store, **request).records
    kept = Store(store)
    block = first[0].evaluators["embeddings"]
    path = store / "evaluations" / block.key / EVALUATED
    path.write_bytes(path.read_bytes()[:-1])
    kept.replace("records", first[0].key)
    again = ddbench.run("random", store=store, **request)
    assert [record.repeatable() for record in again.records] == [record.repeatable() for record in first]
    assert "evaluations" in again.damaged[0]
