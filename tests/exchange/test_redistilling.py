"""A set distilled again from nothing: its students agree with an honest record, and with no other."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

import ddbench
from ddbench import Precision
from ddbench.cli.app import app
from ddbench.context import network_settings
from ddbench.distilling import distilled
from ddbench.errors import BadOption, BadRequest
from ddbench.exchange import redistilling
from ddbench.exchange.redistilling import redistil
from ddbench.exchange.retraining import Asked
from ddbench.progress import Silent
from ddbench.records import checksum, read_record
from ddbench.settings import Settings
from ddbench.store import Store
from ddbench.workspace import open_workspace

SMALL = {"students": ["convnet1-w32"], "eval_seeds": 1, "ipc": 1, "threads": 1, "smoke": 0.02}
OPTIONS = {"iterations": 3, "teacher.epochs": 1}


@pytest.fixture(autouse=True)
def no_other_data(monkeypatch, tmp_path):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DDBENCH_PLUGINS", "")


@pytest.fixture(scope="module")
def run_once(tmp_path_factory):
    """A store with a set of `sre2l` and its teacher, and one of `dm` with an objective."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDBENCH_DATA", "/nonexistent")
        patch.setenv("DDBENCH_PLUGINS", "")
        store = tmp_path_factory.mktemp("kept") / "store"
        ddbench.run("sre2l", store=store, protocol="quick-soft/1", teacher="convnet1-bn-w32", options=OPTIONS, **SMALL)
        ddbench.run("dm", store=store, protocol="quick-hard/1", options={"iterations": 2, "objective.batch_real": 16}, **SMALL)
    return store


@pytest.fixture
def store(run_once, tmp_path):
    return Store(shutil.copytree(run_once, tmp_path / "store"))


def file_of(store, synthesizer):
    key = next(record.key for record in store.records() if record.cell.synthesizer == synthesizer)
    return store.root / "records" / f"{key}.json"


def judged(store, path):
    workspace = open_workspace(Settings(store.root, (), ()), Silent())
    return redistil(read_record(path.read_bytes()), path, workspace, Asked(3, "cpu"))


def changed(path, **changes):
    content = json.loads(path.read_text())
    for name, value in changes.items():
        first, *_, last = places = name.split("__")
        block = content
        for place in places[:-1]:
            block = block[int(place)] if isinstance(block, list) else block[place]
        block[last if len(places) > 1 else first] = value
    path.write_text(json.dumps({**content, "sha256": checksum(content)}))


@pytest.mark.parametrize("synthesizer", ["sre2l", "dm", "random"])
def test_the_command_reproduces_a_record_from_nothing_and_raises_its_level(store, synthesizer):
    path = file_of(store, synthesizer)
    for kind in ("distilled", "teachers"):
        shutil.rmtree(store.root / kind)  # nothing that was made before is needed
    said = CliRunner().invoke(app, ["verify", path.stem, "--redistil", "--store", str(store.root), "--device", "cpu", "--json"])
    assert said.exit_code == 0, said.output
    (told,) = json.loads(said.stdout)
    check = told["retrained"]["check"]
    assert (told["level"], check["how"], check["same_predictions"]) == ("reproduced", "redistilled", True)
    assert store.standing(read_record(path.read_bytes())).level == "reproduced"
    assert (store.keys("distilled"), store.keys("teachers")) == ([], [])  # the store stays as it is


def test_other_options_than_the_record_says_do_not_give_its_predictions(store):
    path = file_of(store, "sre2l")
    changed(path, options__synthesizer__values__iterations=1)
    verdict = judged(store, path)
    assert (verdict.agrees, verdict.check.same_predictions) == (False, False)


def test_a_set_is_made_again_with_the_settings_that_the_record_says(store, monkeypatch):
    path, made = file_of(store, "dm"), []
    monkeypatch.setattr(redistilling, "distilled", lambda session, stage: made.append(stage.precision) or distilled(session, stage))
    changed(path, precision__recover={**network_settings(Precision(channels_last=True)), "notes": ["half as many images at once"]})
    assert judged(store, path).check.how == "redistilled"
    changed(path, precision__recover={})
    judged(store, path)
    assert made == [Precision(channels_last=True), Precision()]


def test_what_cannot_be_made_with_the_settings_of_the_record_is_judged_by_an_interval(store):
    path = file_of(store, "dm")
    predictions = path.with_suffix(".npz")
    assert predictions.is_file()
    changed(
        path, precision__recover={**network_settings(Precision()), "unheard_of": True}, options__synthesizer__values__iterations=1
    )
    verdict = judged(store, path)
    assert verdict.check.same_predictions is False
    assert verdict.check.interval is not None
    assert "on the same machine" not in verdict.why


def test_a_set_that_needs_what_was_computed_otherwise_is_judged_by_an_interval(store):
    path = file_of(store, "sre2l")
    settings = network_settings(Precision(channels_last=True))
    changed(path, precision__recover=settings, options__synthesizer__values__iterations=1)
    assert judged(store, path).check.interval is not None


def test_another_version_of_the_method_is_refused(store):
    path = file_of(store, "dm")
    content = json.loads(path.read_text())
    number = next(place for place, block in enumerate(content["plugins"]) if block["kind"] == "synthesizer")
    changed(path, **{f"plugins__{number}__version": 99})
    with pytest.raises(BadRequest, match=r"dm here is version \d+; record \w+ was made by version 99"):
        judged(store, path)


def test_an_option_that_the_method_does_not_have_is_refused(store):
    path = file_of(store, "dm")
    changed(path, options__synthesizer__values__itterations=3)
    with pytest.raises((BadOption, BadRequest), match="itterations"):
        judged(store, path)


def test_a_set_made_elsewhere_cannot_be_distilled_here(store):
    path = file_of(store, "dm")
    changed(path, cell__synthesizer="external:mine")
    with pytest.raises(BadRequest, match="made elsewhere"):
        judged(store, path)
