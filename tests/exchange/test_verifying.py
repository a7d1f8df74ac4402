"""Every checksum is recomputed, and a student trained again agrees or does not; only then does a record's level rise."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import ddbench
from ddbench.cells import Request
from ddbench.cli.app import app
from ddbench.errors import BadRequest, DataMissing, UnknownName
from ddbench.exchange.checking import check_record
from ddbench.exchange.retraining import Asked, expected, retrain
from ddbench.exchange.verifying import verify
from ddbench.planning import plan
from ddbench.progress import Silent
from ddbench.records import checksum, read_record
from ddbench.settings import Settings
from ddbench.store import Store
from ddbench.workspace import open_workspace

SMALL = {"students": ["convnet1-w32"], "eval_seeds": 1, "ipc": 2, "threads": 1, "smoke": 0.02}
SOFT = {**SMALL, "teacher": "convnet1-bn-w32", "options": {"teacher.epochs": 1}}


@pytest.fixture(autouse=True)
def no_other_data(monkeypatch, tmp_path):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DDBENCH_PLUGINS", "")


@pytest.fixture(scope="module")
def run_once(tmp_path_factory):
    """A store with three records of `random` under hard labels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDBENCH_DATA", "/nonexistent")
        patch.setenv("DDBENCH_PLUGINS", "")
        store = tmp_path_factory.mktemp("kept") / "store"
        ddbench.run("random", store=store, protocol="quick-hard/1", **SMALL)
    return store


@pytest.fixture
def store(run_once, tmp_path):
    """A copy of the same, to be spoilt."""
    return Store(shutil.copytree(run_once, tmp_path / "store"))


@pytest.fixture
def path(store):
    return store.root / "records" / f"{store.record_keys()[0]}.json"


@pytest.fixture
def workspace(store):
    return open_workspace(Settings(store.root, (), ()), Silent())


def resealed(path, **changes):
    """Write changes into a record and seal it again, as a forger would."""
    content = json.loads(path.read_text())
    for name, value in changes.items():
        where, _, last = name.rpartition("__")
        (content[where] if where else content)[last] = value
    path.write_text(json.dumps({**content, "sha256": checksum(content)}))
    return read_record(path.read_bytes())


def forged(path, top1, predictions=None):
    """Give a record another top1, and predictions that agree with it."""
    if predictions is not None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, predictions=predictions)
        path.with_suffix(".npz").write_bytes(buffer.getvalue())
        resealed(path, sidecar=hashlib.sha256(buffer.getvalue()).hexdigest())
    metrics = json.loads(path.read_text())["metrics"]
    return resealed(path, metrics=[{**one, "value": top1} if one["name"] == "top1" else one for one in metrics])


def true_labels():
    """Return the classes of the test images of digits."""
    workspace = open_workspace(Settings(Path("/nonexistent"), (), ()), Silent())
    return np.asarray(plan(Request(("random",)), workspace).data.test.labels)


def restated(path, name, value):
    """Give a record another number for a metric."""
    metrics = json.loads(path.read_text())["metrics"]
    return resealed(path, metrics=[{**one, "value": value} if one["name"] == name else one for one in metrics])


def states(path, workspace):
    return {one.what: one.state for one in verify(path, workspace.store.root, workspace, None).checked.findings}


def flip(path, position=-1):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_everything_of_a_sound_record_is_found_sound(path, workspace):
    found = states(path, workspace)
    assert set(found.values()) == {"ok"}
    assert {"record", "key", "protocol", "predictions", "top1", "the record's set", "level"} <= set(found)
    assert sum(what.startswith("distilled ") for what in found) == 3


DAMAGES = {
    "record": lambda path, _: path.write_text(path.read_text().replace('"ipc":2', '"ipc":3')),
    "predictions": lambda path, _: flip(path.with_suffix(".npz")),
    "data.safetensors": lambda _, folder: flip(folder / "data.safetensors"),
    "manifest.json": lambda _, folder: (folder / "manifest.json").write_text("{}"),
    "top1": lambda path, _: forged(path, 0.99),
    "protocol": lambda path, _: resealed(path, protocol__steps=3),
    "key": lambda path, _: resealed(path, key="0" * 20),
    "distilled ../../x": lambda path, _: resealed(path, distilled_key="../../x"),
    "level": lambda path, _: path.with_suffix(".provenance").write_text("{}"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_what_is_damaged_is_named_and_nothing_is_moved(path, workspace, what):
    record = read_record(path.read_bytes())
    DAMAGES[what](path, workspace.store.root / "distilled" / record.distilled_key)
    before = sorted(workspace.store.root.rglob("*"))
    found = states(path, workspace)
    assert [name for name, state in found.items() if state == "damaged" and what in name]
    assert not verify(path, workspace.store.root, workspace, Asked()).passed
    assert sorted(workspace.store.root.rglob("*")) == before


def test_a_sound_set_that_is_not_the_records_is_found(path, workspace):
    resealed(path, distilled_sha256="0" * 64)
    assert states(path, workspace)["the record's set"] == "damaged"


def test_what_is_not_there_is_missing_and_no_failure(path, workspace):
    shutil.rmtree(workspace.store.root / "distilled")
    path.with_suffix(".npz").unlink()
    found = verify(path, workspace.store.root, workspace, None)
    assert found.passed
    assert {one.what.partition(" ")[0] for one in found.checked.findings if one.state == "missing"} == {"predictions", "distilled"}


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"schema_version": 99}'], ids=["", "list", "bytes", "deep", "new"]
)
def test_what_is_no_record_is_damaged_and_told(path, workspace, content):
    path.write_bytes(content)
    found = check_record(path, workspace.store.root)
    assert not found.sound
    assert found.record is None
    assert len(found.findings[0].about) < 400


def test_the_same_machine_gives_every_prediction_again_and_the_level_rises(path, workspace):
    before = path.read_bytes()
    result = verify(path, workspace.store.root, workspace, Asked(by="a test"))
    assert result.passed
    assert result.level == "verified"
    assert result.verdict.check.same_predictions
    assert result.verdict.check.interval is None
    assert path.read_bytes() == before
    record = workspace.store.record(path.stem)
    (check,) = workspace.store.standing(record).checks
    assert (check.by, check.how, check.measured[0].value) == ("a test", "retrained", record.metric("top1"))
    assert check.host["packages"]["torch"] == record.host["packages"]["torch"]


def test_a_forged_number_with_predictions_to_match_is_found_by_training_again(path, workspace):
    labels = true_labels()
    record = forged(path, 1.0, labels.astype(np.uint8))
    assert set(states(path, workspace).values()) == {"ok"}
    result = verify(path, workspace.store.root, workspace, Asked())
    assert not result.passed
    assert "predictions differ, on the same machine" in result.verdict.why
    assert workspace.store.standing(record).level == "submitted"


@pytest.mark.parametrize("honest", [True, False])
def test_from_another_machine_a_record_is_judged_by_where_one_more_student_is_expected(path, workspace, honest):
    record = read_record(path.read_bytes())
    labels, kept = true_labels(), np.load(path.with_suffix(".npz"))["predictions"]
    predictions = kept.copy() if honest else labels.astype(np.uint8)
    if honest:
        predictions[0] = (predictions[0] + 1) % 10
    forged(path, float((predictions == labels).mean()), predictions)
    resealed(path, host={**record.host, "cpu": "another"})
    result = verify(path, workspace.store.root, workspace, Asked(eval_seeds=3))
    check = result.verdict.check
    assert result.passed is honest
    assert check.same_predictions is False
    assert [one.eval_seed for one in check.measured] == [0, 1, 2]
    assert (check.interval[0] <= check.recorded <= check.interval[1]) is honest
    assert result.level == ("verified" if honest else "submitted")


def test_the_interval_is_that_of_one_more_value_and_never_narrower_than_an_image():
    low, high = expected([0.50, 0.52, 0.54], 100)
    assert (low + high) / 2 == pytest.approx(0.52)
    assert (high - low) / 2 == pytest.approx(4.302653 * 0.02 * (4 / 3) ** 0.5)
    assert expected([0.5, 0.5, 0.5], 100) == pytest.approx((0.49, 0.51))
    assert expected([0.99, 0.9, 1.0], 100)[1] == 1.0


def test_one_more_student_lies_in_the_interval_as_often_as_it_says():
    generator = np.random.default_rng(0)
    draws = generator.normal(0.5, 0.02, (4000, 6))
    inside = [low <= one[5] <= high for one in draws for low, high in [expected(list(one[:5]), 10**6)]]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("protocol", ["quick-soft/1", "dwa-cifar-stored/1"])
def test_students_of_a_teacher_are_trained_again_too(tmp_path, protocol):
    smoke = 0.005 if "stored" in protocol else 0.02
    record = ddbench.run("random", store=tmp_path / "soft", protocol=protocol, **{**SOFT, "smoke": smoke}).records[0]
    workspace = open_workspace(Settings(tmp_path / "soft", (), ()), Silent())
    path = tmp_path / "soft" / "records" / f"{record.key}.json"
    before = sorted(file for file in (tmp_path / "soft").rglob("*") if file.is_file() and "locks" not in file.parts)
    result = verify(path, tmp_path / "soft", workspace, Asked())
    assert result.verdict.check.same_predictions, result.verdict.why
    after = sorted(file for file in (tmp_path / "soft").rglob("*") if file.is_file() and "locks" not in file.parts)
    assert [file.name for file in after if file not in before] == [f"{record.key}.provenance"]


def test_a_record_that_cannot_be_made_again_here_is_a_sentence(path, store, workspace):
    record = read_record(path.read_bytes())

    def attempt(**changes):
        return retrain(record.model_copy(update=changes), path, store.root, workspace, Asked())

    with pytest.raises(BadRequest, match="no interval"):
        retrain(record, path, store.root, workspace, Asked(eval_seeds=2))
    with pytest.raises(DataMissing, match="not the dataset of record"):
        attempt(dataset=record.dataset.model_copy(update={"sha256": "0" * 64}))
    with pytest.raises(UnknownName, match="protocol"):
        attempt(protocol={**record.protocol, "name": "nobodys/1"})
    for change in ({"batch": 7}, {"steps": 10**9}):
        with pytest.raises(BadRequest, match="not the recipe"):
            attempt(protocol={**record.protocol, **change})
    with pytest.raises(BadRequest, match="not the network"):
        attempt(student={**record.student, "version": 99})
    shutil.rmtree(store.root / "distilled")
    with pytest.raises(DataMissing, match="images of record"):
        attempt()


def test_a_teacher_from_files_that_is_not_here_is_not_looked_for(path, store, workspace):
    record = read_record(path.read_bytes())
    soft = workspace.plugins.get("protocol", "quick-soft/1").value
    cell = record.cell.model_copy(
        update={"teacher": "checkpoint:ddbench/resnet18", "protocol": soft.name, "label_regime": "soft_online"}
    )
    changed = record.model_copy(update={"protocol": soft.model_dump(mode="json"), "cell": cell})
    with pytest.raises(BadRequest, match="came by way of 'checkpoint'"):
        retrain(changed, path, store.root, workspace, replace(Asked(), by="x"))


def test_by_command_an_artefact_is_checked_by_its_key_and_damage_ends_in_exit_1(store, path):
    key = read_record(path.read_bytes()).distilled_key
    runner = CliRunner()
    answered = runner.invoke(app, ["verify", key, "--store", str(store.root), "--json"])
    assert answered.exit_code == 0, answered.output
    assert {one["state"] for one in json.loads(answered.stdout)} == {"ok"}
    flip(store.root / "distilled" / key / "data.safetensors")
    answered = runner.invoke(app, ["verify", key, "--store", str(store.root)])
    assert answered.exit_code == 1
    assert "DAMAGED" in answered.stdout
    answered = runner.invoke(app, ["verify", path.stem, "--store", str(store.root), "--json"])
    assert answered.exit_code == 1
    assert json.loads(answered.stdout)[0]["passed"] is False


def test_a_records_file_far_from_any_store_is_checked_as_far_as_it_goes(tmp_path, path):
    folder = tmp_path / "results"
    folder.mkdir()
    for suffix in (".json", ".npz"):
        shutil.copy(path.with_suffix(suffix), folder)
    answered = CliRunner().invoke(app, ["verify", str(folder / path.name), "--store", str(tmp_path / "empty")])
    assert answered.exit_code == 0, answered.output
    assert "missing  distilled" in answered.stdout
    assert "passed as far as it is here; 2 parts are missing and not checked" in answered.stdout


def test_several_keys_and_whole_folders_are_verified_and_artefacts_by_themselves(store, path):
    runner, flags = CliRunner(), ["--store", str(store.root), "--json"]
    keys = store.record_keys()
    answered = runner.invoke(app, ["verify", keys[0], keys[1][:8], *flags])
    assert [one["key"] for one in json.loads(answered.stdout)] == keys[:2]
    answered = runner.invoke(app, ["verify", str(store.root / "records"), *flags])
    assert sorted(one["key"] for one in json.loads(answered.stdout)) == sorted(keys)
    assert {one["passed"] for one in json.loads(answered.stdout)} == {True}
    flip(path.with_suffix(".npz"))
    answered = runner.invoke(app, ["verify", str(store.root / "records"), *flags])
    assert (answered.exit_code, sum(not one["passed"] for one in json.loads(answered.stdout))) == (1, 1)
    answered = runner.invoke(app, ["verify", keys[0], read_record(path.read_bytes()).distilled_key, *flags])
    assert answered.exit_code == 2
    assert "is no record (distilled); verify records and artefacts by two commands" in answered.stderr
    answered = runner.invoke(app, ["verify", str(store.root / "distilled"), *flags])
    assert answered.exit_code == 3
    assert "holds no records" in answered.stderr


def test_of_several_the_count_comes_last_and_a_file_that_is_not_there_is_said_to_be_none(store, path):
    runner, flags = CliRunner(), ["--store", str(store.root)]
    flip(path.with_suffix(".npz"))
    answered = runner.invoke(app, ["verify", str(store.root / "records"), *flags])
    assert answered.stdout.splitlines()[-1] == f"2 passed, 1 FAILED: {path.stem}"
    answered = runner.invoke(app, ["verify", "/nowhere/mine.zip", *flags])
    assert (answered.exit_code, "there is no file /nowhere/mine.zip" in answered.stderr) == (3, True)


def test_where_the_level_was_written_and_by_whom_is_told(store, path):
    asked = ["verify", path.stem, "--retrain", "--by", "a reader", "--store", str(store.root)]
    answered = CliRunner().invoke(app, asked)
    assert answered.exit_code == 0, answered.output
    assert f"level and who checked (a reader; --by NAME) are in {path.with_suffix('.provenance')}" in answered.stdout


@pytest.mark.parametrize("name", ["total_bytes", "real_ratio"])
def test_a_metric_of_the_set_that_its_evaluation_does_not_have_is_found(path, workspace, name):
    assert states(path, workspace)["metrics of storage"] == "ok"
    restated(path, name, 7.0)
    assert states(path, workspace)["metrics of storage"] == "damaged"
    assert not verify(path, workspace.store.root, workspace, None).passed


def test_an_evaluation_of_another_set_is_found(path, workspace):
    record = read_record(path.read_bytes())
    other = next(one for one in workspace.store.records() if one.distilled_key != record.distilled_key)
    evaluators = json.loads(path.read_text())["evaluators"]
    evaluators["storage"]["key"] = other.evaluators["storage"].key
    resealed(path, evaluators=evaluators)
    assert states(path, workspace)["metrics of storage"] == "damaged"


def test_bytes_that_the_set_does_not_have_are_found(path, workspace):
    assert states(path, workspace)["the set's bytes"] == "ok"
    resealed(path, bytes__images=1)
    (finding,) = [
        one for one in verify(path, workspace.store.root, workspace, None).checked.findings if one.what == "the set's bytes"
    ]
    assert (finding.state, finding.about) == ("damaged", "the record states images 1, not 1280")


def test_the_command_says_what_nothing_checks(path, store):
    result = CliRunner().invoke(app, ["verify", str(path), "--store", str(store.root)])
    assert "seconds and memory are as the record states them; nothing checks these" in result.output


@pytest.mark.parametrize("position", [0, -1])
def test_a_metric_that_stands_twice_is_found_wherever_the_other_stands(path, workspace, position):
    assert states(path, workspace)["metrics"] == "ok"
    metrics = json.loads(path.read_text())["metrics"]
    own = next(one for one in metrics if one["name"] == "top1")
    metrics.insert(position, {**own, "value": 0.99, "evaluator": "nobodys 1"})
    resealed(path, metrics=metrics)
    checked = verify(path, workspace.store.root, workspace, Asked())
    assert [one.about for one in checked.checked.findings if one.what == "metrics"] == ["the record states top1 more than once"]
    assert not checked.passed


@pytest.mark.parametrize("name", ["no key", "no evaluator"])
def test_metrics_of_the_set_that_name_no_evaluation_are_said_to_be_unchecked(path, workspace, name):
    evaluators = json.loads(path.read_text())["evaluators"]
    storage = evaluators.pop("storage")
    resealed(path, evaluators={**evaluators, "storage": {**storage, "key": None}} if name == "no key" else evaluators)
    (finding,) = [
        one for one in verify(path, workspace.store.root, workspace, None).checked.findings if one.what == "metrics of storage"
    ]
    assert finding.state == "missing"
    assert finding.about.startswith("image_bytes, label_bytes, extra_bytes, total_bytes, real_ratio: as the record states them")


def test_a_metric_that_nobody_computes_again_is_named(path, workspace):
    metrics = json.loads(path.read_text())["metrics"]
    own = next(one for one in metrics if one["name"] == "top1")
    resealed(path, metrics=[*metrics, {**own, "name": "calibration", "value": 0.01}])
    assert states(path, workspace)["metrics of top1"] == "missing"
    result = CliRunner().invoke(app, ["verify", str(path), "--store", str(workspace.store.root)])
    assert "1 part is missing and not checked" in result.output


def test_a_set_of_no_tensors_whose_checksums_agree_is_damaged(path, workspace):
    folder = workspace.store.root / "distilled" / read_record(path.read_bytes()).distilled_key
    (folder / "data.safetensors").write_bytes(b"junk")
    content = json.loads((folder / "manifest.json").read_text())
    content["files"]["data.safetensors"]["sha256"] = hashlib.sha256(b"junk").hexdigest()
    (folder / "manifest.json").write_text(json.dumps({**content, "sha256": checksum(content)}))
    resealed(path, distilled_sha256=hashlib.sha256(b"junk").hexdigest())
    assert states(path, workspace)["the set's bytes"] == "damaged"
