"""What the harness refuses from a plugin, whoever wrote it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from ddbench import JobResult, NoOptions, Precision, Synthesizer, jobs_per_image_index, making
from ddbench.context import network_settings
from ddbench.errors import BadRequest, PluginFailed, SpecialValue, TeacherMismatch
from ddbench.making import teacher
from ddbench.testing import Bench


class Gives(Synthesizer):
    """A method that gives whatever the test tells it to."""

    name = "gives"
    version = 1
    options = NoOptions

    def __init__(self, change):
        self.change = change

    def start(self, o):
        return "noise"

    def needs(self, o, facts):
        return {}

    def jobs(self, o, facts, ipc, seed):
        return jobs_per_image_index(facts, ipc, seed)

    def run(self, ctx, o, group):
        return [self.result(ctx, job) for job in group]

    def result(self, ctx, job):
        right = {
            "images": torch.rand(len(job.labels), *ctx.train.facts.shape),
            "labels": torch.tensor(job.labels),
            "space": "unit",
            "soft_labels": None,
        }
        return JobResult(**{**right, **self.change(right)})


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda r: {"labels": r["labels"].flip(0)}, PluginFailed, "labels are not"),
        (lambda r: {"labels": r["labels"].int()}, PluginFailed, "labels are not"),
        (lambda r: {"images": r["images"][:-1]}, PluginFailed, "images are"),
        (lambda r: {"images": r["images"].double()}, PluginFailed, "images are float64 and said .* float32 for"),
        (lambda r: {"space": "uint8"}, PluginFailed, "are float32 and said to be in space 'uint8'; uint8 is for"),
        (lambda r: {"images": r["images"] * 2}, PluginFailed, "leave"),
        (lambda r: {"images": r["images"] * float("nan")}, SpecialValue, "NaN"),
        (lambda r: {"soft_labels": torch.ones(len(r["labels"]), 4)}, PluginFailed, "no probabilities"),
        (lambda r: {"soft_labels": torch.ones(len(r["labels"]), 3)}, PluginFailed, "soft labels are"),
    ],
)
def test_a_result_that_breaks_its_promise_is_refused_and_nothing_is_stored(tmp_path, change, error, said):
    with pytest.raises(error, match=said) as caught:
        Bench(tmp_path).distil(Gives(change), ipc=1)
    assert "'gives', job 0" in str(caught.value)
    assert not (tmp_path / "distilled").exists()


def test_a_method_that_gives_too_few_results_is_refused(tmp_path):
    method = Gives(lambda r: {})
    method.run = lambda ctx, o, group: []
    with pytest.raises(PluginFailed, match="0 results for a group of 1"):
        Bench(tmp_path).distil(method, ipc=1)


def test_learnt_labels_and_whatever_else_a_method_leaves_are_kept(tmp_path):
    soft = torch.full((4, 4), 0.25)
    method = Gives(lambda r: {"soft_labels": soft, "extras": {"lr": torch.tensor(0.5)}})
    found = Bench(tmp_path).distil(method, ipc=2)
    assert found.soft_labels.equal(torch.cat([soft, soft]))
    assert found.extras["lr"].tolist() == [0.5, 0.5]
    assert found.bytes["soft_labels"] == 8 * 4 * 4
    assert found.space == "unit"


class Noting(Gives):
    """Notes something about every job but the first, and is killed before job `stop`, after a checkpoint."""

    def __init__(self, stop=None):
        super().__init__(lambda r: {})
        self.stop = stop

    def result(self, ctx, job):
        ctx.resumed()
        if job.index:
            ctx.note("half as many images at once")
        if job.index == self.stop:
            ctx.note(f"seen before the kill in job {job.index}")
            ctx._kept = float("-inf")
            ctx.checkpoint({})
            raise KeyboardInterrupt
        return JobResult(torch.zeros(len(job.labels), *ctx.train.facts.shape), torch.tensor(job.labels), space="unit")


def test_what_did_not_go_as_planned_is_in_the_manifest_once_however_often_and_also_after_a_kill(tmp_path):
    whole = Bench(tmp_path / "whole").distil(Noting(), ipc=3).manifest["precision"]
    assert whole == {**network_settings(Precision()), "notes": ["half as many images at once"]}
    with pytest.raises(KeyboardInterrupt):
        Bench(tmp_path / "killed").distil(Noting(stop=2), ipc=3)
    resumed = Bench(tmp_path / "killed").distil(Noting(), ipc=3).manifest["precision"]["notes"]
    assert resumed == ["half as many images at once", "seen before the kill in job 2"]


def test_a_damaged_job_of_a_killed_run_is_told_and_made_again_with_the_same_bytes(tmp_path):
    whole = Bench(tmp_path / "whole").distil(Noting(), ipc=3)
    killed = Bench(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        killed.distil(Noting(stop=2), ipc=3)
    (part,) = (tmp_path / "killed" / "work").glob("*/job-000001.safetensors")
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    session = killed.session()
    resumed = killed.distil(Noting(), ipc=3, session=session)
    assert session.store.damaged == [f"{part} does not match its checksum; removed and made again"]
    assert resumed.sha256 == whole.sha256


def test_a_teachers_card_keeps_what_did_not_go_as_planned(tmp_path, monkeypatch):
    from ddbench.testing.toys import ToyTeacher

    train = ToyTeacher.train
    monkeypatch.setattr(
        ToyTeacher, "train", lambda self, ctx, o, network: ctx.note("running uncompiled") or train(self, ctx, o, network)
    )
    bench = Bench(tmp_path)
    session = bench.session()
    session.teachers.clear()
    assert teacher(session, bench.teacher())[1]["precision"]["notes"] == ["running uncompiled"]


def test_a_stored_teacher_comes_back_with_equal_weights_and_only_for_its_own_classes(tmp_path):
    bench = Bench(tmp_path)
    first = bench.session()
    first.teachers.clear()
    trained, card = teacher(first, bench.teacher())
    assert 0 <= card["test"]["top1"] <= 1
    second = bench.session()
    second.teachers.clear()
    again, _ = teacher(second, bench.teacher())
    assert all(again.module.state_dict()[name].equal(tensor) for name, tensor in trained.module.state_dict().items())
    assert not any(parameter.requires_grad for parameter in again.module.parameters())


def test_a_teacher_for_other_classes_is_refused(tmp_path, monkeypatch):
    from dataclasses import replace

    from ddbench.testing.toys import ToyTeacher

    bench = Bench(tmp_path)
    train = ToyTeacher.train
    monkeypatch.setattr(
        ToyTeacher, "train", lambda self, ctx, o, network: replace(train(self, ctx, o, network), classes=("a", "b", "c", "d"))
    )
    session = bench.session()
    session.teachers.clear()
    with pytest.raises(TeacherMismatch, match="answers for"):
        teacher(session, bench.teacher())


def test_a_stage_does_without_kernels_that_cannot_be_compiled_and_says_so(tmp_path, monkeypatch):
    def refused(*, half):
        raise BadRequest("there is no C compiler here")

    wanted = Precision(channels_last=True, native=True)
    notes = []
    session = SimpleNamespace(workspace=SimpleNamespace(reporter=SimpleNamespace(note=notes.append)))
    assert making.attainable(session, Precision()) == Precision()
    compiled = []
    monkeypatch.setattr(making.cpu_layers, "ready", lambda *, half: compiled.append(half))
    for one in (wanted, replace(wanted, dtype="bf16")):
        assert making.attainable(session, one) == one
    assert (compiled, notes) == ([False, True], [])
    monkeypatch.setattr(making.cpu_layers, "ready", refused)
    assert making.attainable(session, replace(wanted, dtype="bf16")) == Precision("bf16")
    notes.clear()
    assert making.attainable(session, wanted) == Precision()
    assert notes == ["layers are torch's own: there is no C compiler here"]
