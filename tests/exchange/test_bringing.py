"""A set made elsewhere is scored like any other: the same students, controls, keys and records."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ddbench
from ddbench.cells import Request
from ddbench.errors import BadRequest, ClassOrderMismatch, DataMissing
from ddbench.exchange.bringing import Elsewhere, bring, make_sets
from ddbench.external import External, labels_of, order_of
from ddbench.planning import plan
from ddbench.progress import Silent
from ddbench.runner import run
from ddbench.settings import Settings
from ddbench.store import Store
from ddbench.workspace import open_workspace

HARD = {"protocol": "quick-hard/1", "students": ("convnet1-w32",), "eval_seeds": 1, "smoke": 0.02, "threads": 1}
TEACHER = {"teacher": "convnet1-bn-w32", "options": {"teacher.epochs": 4}}


@pytest.fixture(autouse=True)
def no_other_data(monkeypatch, tmp_path):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DDBENCH_PLUGINS", "")


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def ours(store):
    """The record and the folder of a set of `random`, made here."""
    record = ddbench.run("random", store=store, ipc=3, **{**HARD, "students": ["convnet1-w32"]}).records[0]
    return record, store / "distilled" / record.distilled_key


def scored(store, elsewhere, **request):
    """Return the outcome of an evaluation, in a workspace of its own."""
    workspace = open_workspace(Settings(Path(store), (), ()), Silent())
    brought = bring(elsewhere, Request((), **{**HARD, **request}), workspace)
    make_sets(brought, workspace)
    return run(brought.planned, workspace)


def external(outcome):
    return [record for record in outcome.records if record.cell.synthesizer != "random"]


def test_a_set_of_ours_scores_the_same_when_it_is_brought(store, ours):
    record, folder = ours
    outcome = scored(store, Elsewhere(folder, class_check=False))
    (brought,) = external(outcome)
    assert brought.cell.synthesizer == "external:random"
    assert brought.metrics == record.metrics
    assert brought.sidecar == record.sidecar
    assert brought.distilled_sha256 == record.distilled_sha256
    assert outcome.reused == 3


def test_its_record_says_that_it_was_brought_and_how_it_was_read(store, ours):
    (brought,) = external(scored(store, Elsewhere(ours[1], "mine", class_check=False, external_data=True)))
    options = brought.options["synthesizer"]
    assert brought.cell.synthesizer == "external:mine"
    assert options.values["format"] == "set"
    assert options.values["labels"] == ["by-index"]
    assert options.values["class_check"] == ""
    assert len(options.values["file_sha256"]) == 64
    assert set(options.sources.values()) == {"evaluate"}
    assert brought.start == "unknown"
    assert brought.external_data
    assert "recover" not in brought.cost
    assert str(ours[1]) not in brought.model_dump_json()


def test_the_control_has_the_same_ipc_and_three_draws(store, saved_digits):
    outcome = scored(store, Elsewhere(saved_digits(), class_check=False))
    assert [(one.cell.synthesizer, one.cell.ipc, one.cell.distill_seed) for one in outcome.records] == [
        *(("random", 2, seed) for seed in range(3)),
        ("external:set", 2, 0),
    ]


@pytest.fixture
def digits():
    """uint8 images and labels: two real digits of each class, class by class."""
    from ddbench.data import HeldSplit

    split = HeldSplit(plan(Request(("random",)), open_workspace(Settings(Path("/nonexistent"), (), ()), Silent())).data)
    index = torch.cat([split.indices(label)[:10] for label in range(10)])
    return split.images(index), torch.arange(10).repeat_interleave(10)


@pytest.fixture
def saved_digits(tmp_path, digits):
    def write(content=lambda images, labels: [images, labels], name="set.pt", ipc=2):
        images, labels = digits
        chosen = torch.arange(100).view(10, 10)[:, :ipc].flatten()
        torch.save(content(images[chosen], labels[chosen]), tmp_path / name)
        return tmp_path / name

    return write


def test_experiments_in_one_file_are_distilled_sets_of_one_method(store, saved_digits):
    path = saved_digits(lambda images, labels: {"data": [[images, labels], [images.flip(3), labels]]})
    found = external(scored(store, Elsewhere(path, class_check=False)))
    assert [one.cell.distill_seed for one in found] == [0, 1]
    assert len({one.distilled_sha256 for one in found}) == 2


def test_a_learned_step_size_and_soft_labels_are_kept_with_the_set(store, saved_digits):
    soft = torch.full((20, 10), 0.05).scatter(1, torch.arange(10).repeat_interleave(2)[:, None], 0.55)
    path = saved_digits(lambda images, labels: {"images": images, "labels": labels, "soft_labels": soft, "lr": 0.02})
    (found,) = external(scored(store, Elsewhere(path, class_check=False)))
    from ddbench.distilled import DistilledSet

    kept = DistilledSet.open(Store(store).find("distilled", found.distilled_key))
    assert kept.soft_labels.equal(soft)
    assert kept.extras["lr"].tolist() == [0.02]
    assert found.options["synthesizer"].values["learned_lr"] == [0.02]


def test_a_wrong_order_of_classes_is_an_error_before_any_student_is_trained(store, saved_digits):
    wrong = torch.tensor([3, 1, 0, 2, 5, 4, 9, 7, 6, 8])
    path = saved_digits(lambda images, labels: [images, wrong[labels]], ipc=10)
    with pytest.raises(ClassOrderMismatch, match=r"'0' seems to be '2'.*--no-class-check") as error:
        scored(store, Elsewhere(path), **TEACHER)
    assert error.value.exit_code == 1
    assert Store(store).record_keys() == []
    assert Store(store).keys("distilled") == []
    assert len(Store(store).keys("teachers")) == 1


def test_the_right_order_passes_and_its_checker_is_in_the_record(store, saved_digits):
    (found,) = external(scored(store, Elsewhere(saved_digits(ipc=10)), **TEACHER))
    assert found.options["synthesizer"].values["class_check"] == "convnet1-bn-w32"
    assert found.options["classifier"].values["epochs"] == 4
    assert found.needs["classifier"] in Store(store).keys("teachers")
    assert found.cell.teacher is None


def test_another_process_finds_the_set_in_the_store_and_cannot_make_it(store, saved_digits):
    elsewhere = Elsewhere(saved_digits(), class_check=False)
    first = scored(store, elsewhere)
    record = external(first)[0]
    options = {key: value for key, value in record.options["synthesizer"].values.items() if value is not None}
    request = Request((record.cell.synthesizer,), ipc=2, options=options, source="evaluate", **HARD)
    here = open_workspace(Settings(Path(store), (), ()), Silent())
    again = run(plan(request, here), here)
    assert again.reused == 4
    elsewhere_store = open_workspace(Settings(Path(store) / "other", (), ()), Silent())
    with pytest.raises(DataMissing, match="ddbench evaluate PATH --name set"):
        run(plan(request, elsewhere_store), elsewhere_store)


def test_planning_reads_the_file_and_writes_nothing(store, saved_digits):
    workspace = open_workspace(Settings(Path(store), (), ()), Silent())
    planned = bring(Elsewhere(saved_digits(), class_check=False), Request((), **HARD), workspace).planned
    assert {cell.cell.role for cell in planned.cells} == {"asked", "control"}
    assert not store.exists()


def test_an_ipc_that_the_set_does_not_have_is_refused(store, saved_digits):
    with pytest.raises(BadRequest, match="not ipc 5"):
        scored(store, Elsewhere(saved_digits(), class_check=False), ipc=5)


@pytest.mark.parametrize("name", ["", "a b", "../x", "x/y", "<b>", "x" * 65])
def test_a_method_has_a_name_that_can_stand_in_a_table_a_path_and_a_page(store, saved_digits, name):
    with pytest.raises(BadRequest, match="no name for a method"):
        scored(store, Elsewhere(saved_digits(), name, class_check=False))


@pytest.mark.parametrize(
    ("labels", "text"),
    [((0, 0, 1, 1, 2, 2), "by-class"), ((0, 1, 2, 0, 1, 2), "by-index"), ((2, 2, 0, 1, 0, 1), "2x2 0x1 1x1 0x1 1x1")],
)
def test_labels_become_short_text_and_come_back(labels, text):
    assert order_of(labels, 3) == text
    assert labels_of(text, 3, 2) == labels


@pytest.mark.parametrize("text", ["", "by-magic", "0x", "0x99999999999", "-1x3"])
def test_text_that_is_no_order_of_labels_is_refused(text):
    from types import SimpleNamespace

    from ddbench.external import ExternalOptions

    options = ExternalOptions(file_sha256="", format="pt", labels=(text,), space="uint8", told_by="values")
    with pytest.raises(BadRequest):
        External("external:x").jobs(options, SimpleNamespace(num_classes=3), 2, 0)
