from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ddbench.cli import doctor as module
from ddbench.cli.app import app
from ddbench.cli.doctor import Check


@pytest.fixture
def sound(monkeypatch):
    """Leave out what belongs to the machine and to the plugins installed."""
    monkeypatch.setattr(module, "_devices", lambda: iter([Check("device", "ok", "cpu")]))
    monkeypatch.setattr(module, "_plugins_and_data", lambda _: iter([Check("plugins", "ok", "all")]))


def doctor(*arguments: str):
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_a_sound_machine_exits_with_0(sound, tmp_path):
    result = doctor("--store", str(tmp_path), "--json")
    content = json.loads(result.stdout)
    assert (result.exit_code, content["problems"]) == (0, 0)
    assert {"python", "torch", "store", "device", "plugins"} <= {check["name"] for check in content["checks"]}


def test_a_store_that_cannot_be_written_is_a_problem_and_exits_with_3(sound, tmp_path):
    (tmp_path / "file").write_text("")
    result = doctor("--store", str(tmp_path / "file" / "store"))
    assert result.exit_code == 3
    assert any(line.startswith("PROBLEM  store") for line in result.stdout.splitlines())


def test_plugin_errors_and_clashes_and_damaged_data_are_told(monkeypatch, tmp_path):
    from ddbench.plugins import LoadError, Plugins
    from ddbench.settings import load_settings

    monkeypatch.setattr(Plugins, "clashes", lambda _: ["synthesizer 'x' is registered twice"])
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "dataset.json").write_text("{")
    original = Plugins.__init__

    def with_error(self, *arguments, **named):
        original(self, *arguments, **named)
        self.errors.append(LoadError("theirs", "bad", "ImportError: no"))

    monkeypatch.setattr(Plugins, "__init__", with_error)
    found = list(module._plugins_and_data(load_settings(data_roots=[tmp_path])))
    assert Check("plugin", "note", "'bad' of theirs failed and is left out: ImportError: no") in found
    assert any("registered twice" in check.detail for check in found)
    assert [check.status for check in found if check.name == "data broken"] == ["problem"]


def test_a_torch_that_cannot_be_imported_is_a_problem(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    (check,) = module._devices()
    assert check.status == "problem"


def test_kernels_that_cannot_be_compiled_are_a_note(monkeypatch):
    from ddbench.errors import BadRequest
    from ddbench.training import cpu_layers

    monkeypatch.setattr(cpu_layers, "ready", lambda: None)
    assert module._native_layers().status == "ok"

    def refused():
        raise BadRequest("there is no C compiler here")

    monkeypatch.setattr(cpu_layers, "ready", refused)
    assert module._native_layers() == Check(
        "native layers", "note", "there is no C compiler here: runs on the CPU are slower, and no less right"
    )
