"""Files of a folder are plugins without packaging; what they declare of the API is held against ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import ddbench
from ddbench.cli.app import app
from ddbench.errors import BadOption, NameClash
from ddbench.making import plugin_block
from ddbench.plugins import Plugins, plugins_of
from ddbench.settings import load_settings, settings_from_json

METHOD = """
from ddbench import hookimpl, NoOptions, Synthesizer, jobs_per_image_index
{more}

class Mine(Synthesizer):
    name = {name!r}
    version = 1
    options = NoOptions
    def start(self, o): return "real"
    def needs(self, o, facts): return {{}}
    def jobs(self, o, facts, ipc, seed): return jobs_per_image_index(facts, ipc, seed)
    def run(self, ctx, o, group):
        import torch
        from ddbench import JobResult
        from ddbench.kit import draw_real
        return [JobResult(ctx.train.images(draw_real(ctx.train, job)).cpu(), torch.tensor(job.labels)) for job in group]

@hookimpl
def ddbench_synthesizers():
    return [Mine()]
"""


def method(name, more=""):
    return METHOD.format(name=name, more=more)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "plugins"
    made.mkdir()
    return made


def loaded(*folders, allowed=()):
    plugins = Plugins(allowed, found=[], folders=folders)
    plugins.names("synthesizer")
    return plugins


def test_each_file_of_a_folder_is_a_plugin_and_helpers_are_not(folder):
    for name in ("one", "two", "_helper", ".hidden"):
        (folder / f"{name}.py").write_text(method(name.strip("_.")))
    (folder / "notes.txt").write_text("no plugin")
    plugins = loaded(folder, allowed=None)
    assert plugins.names("synthesizer") == ["one", "two"]
    assert plugins.errors == []


def test_its_owner_and_its_record_tell_file_and_hash_but_not_the_folder(folder):
    path = folder / "blend.py"
    path.write_text(method("blend", "ddbench_api = 1"))
    entry = loaded(folder, allowed=None).get("synthesizer", "blend")
    assert str(path) in str(entry.owner)
    block = plugin_block(entry)
    assert (block["distribution"], block["distribution_version"]) == ("dir:blend.py", block["files_sha256"][:12])
    assert block["api"] == 1
    assert str(folder) not in json.dumps(block)


def test_an_edited_file_is_read_again_and_has_another_hash(folder):
    path, hashes = folder / "blend.py", []
    for name in ("before", "after"):
        path.write_text(method(name))
        plugins = loaded(folder, allowed=None)
        assert plugins.names("synthesizer") == [name]
        hashes.append(plugins.get("synthesizer", name).owner.files_sha256)
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("x = 1", "implements no hook"),
        (method("late", "ddbench_api = 2"), "upgrade ddbench"),
        (method("odd", "ddbench_api = 'one'"), "whole number"),
        (method("true", "ddbench_api = True"), "whole number"),
        (method("x").replace("ddbench_synthesizers", "ddbench_synthesizer"), "not a hook of ddbench"),
    ],
)
def test_a_broken_file_hurts_only_itself_and_says_why(folder, text, told):
    (folder / "bad.py").write_text(text)
    (folder / "good.py").write_text(method("good"))
    plugins = loaded(folder, allowed=None)
    assert plugins.names("synthesizer") == ["good"]
    (error,) = plugins.errors
    assert (error.distribution, error.entry_point) == ("dir:bad.py", "bad")
    assert told in error.message


def test_a_folder_that_is_not_there_is_told(tmp_path):
    (error,) = loaded(tmp_path / "nowhere", allowed=None).errors
    assert "is no folder" in error.message


def test_two_files_with_one_name_are_refused_with_both_paths(tmp_path):
    folders = [tmp_path / name for name in ("a", "b")]
    for one in folders:
        one.mkdir()
        (one / "blend.py").write_text(method("blend", f"# {one.name}"))
    plugins = loaded(*folders, allowed=None)
    with pytest.raises(NameClash) as caught:
        plugins.get("synthesizer", "blend")
    assert all(str(one / "blend.py") in str(caught.value) for one in folders)


def test_a_file_that_claims_a_first_party_name_is_refused_when_the_name_is_used(folder):
    (folder / "mine.py").write_text(method("dwa"))
    with pytest.raises(NameClash, match=r"registered twice: by ddbench .* and dir:mine\.py"):
        Plugins(None, folders=[folder]).get("synthesizer", "dwa")


def test_what_is_allowed_holds_for_files_too(folder):
    for name in ("one", "two"):
        (folder / f"{name}.py").write_text(method(name))
    assert loaded(folder, allowed=()).names("synthesizer") == []
    assert loaded(folder, allowed=("two",)).names("synthesizer") == ["two"]


def test_flag_then_environment_then_project_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ddbench.toml").write_text('plugins_dir = "own"')
    assert load_settings(environ={}).plugin_dirs == (tmp_path / "own",)
    environ = {"DDBENCH_PLUGINS_DIR": os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b")])}
    assert load_settings(environ=environ).plugin_dirs == (tmp_path / "a", tmp_path / "b")
    assert load_settings(environ=environ, plugin_dirs=[tmp_path / "c"]).plugin_dirs == (tmp_path / "c",)
    (tmp_path / "ddbench.toml").write_text("plugin_dir = 'own'")
    with pytest.raises(BadOption, match="plugins_dir"):
        load_settings(environ={})


def test_another_process_that_is_told_the_settings_loads_the_same_files(folder):
    (folder / "blend.py").write_text(method("blend"))
    settings = load_settings(plugin_dirs=[folder], environ={})
    again = settings_from_json(json.loads(json.dumps(settings.to_json())))
    assert again.plugin_dirs == settings.plugin_dirs
    assert "blend" in plugins_of(again).names("synthesizer")


def test_the_command_line_lists_what_a_file_registers_and_where_it_is(folder):
    (folder / "blend.py").write_text(method("blend"))
    (folder / "bad.py").write_text("1 / 0")
    ran = CliRunner().invoke(app, ["list", "plugins", "--plugins-dir", str(folder), "--json"])
    rows = {row["name"]: row for row in json.loads(ran.stdout)}
    assert rows["blend"]["distribution"] == "dir:blend.py"
    assert rows["blend"]["where"] == str(folder / "blend.py")
    assert "ZeroDivisionError" in rows["bad"]["description"]


def test_the_api_version_is_a_whole_number_that_plugins_can_declare():
    assert isinstance(ddbench.api_version, int)
    assert {owner.api for owner in Plugins(()).owners()} == {ddbench.api_version}


@pytest.mark.e2e
def test_a_run_with_helper_processes_uses_a_file_without_packaging(folder, tmp_path):
    (folder / "blend.py").write_text(method("blend"))
    small = ["--ipc", "1", "--students", "mlp", "--protocol", "quick-hard/1", "--smoke", "0.02", "--offline", "--json"]
    where = ["--plugins-dir", str(folder), "--store", str(tmp_path / "store")]
    command = [sys.executable, "-m", "ddbench", "run", "blend", *where, *small]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert answer["failures"] == []
    blocks = [block for record in answer["records"] for block in record["plugins"] if block["name"] == "blend"]
    assert {block["distribution"] for block in blocks} == {"dir:blend.py"}
