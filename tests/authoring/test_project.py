"""A new plugin's project: its names are checked, it is written whole, it is clean, and its own tests pass."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ddbench.authoring.names import LONGEST, names_for
from ddbench.authoring.project import rendered, run_command, write_project
from ddbench.cli.app import app
from ddbench.errors import BadRequest, EnvironmentProblem
from ddbench.plugins import KINDS, Plugins

PLUGINS = Plugins(())


def named(name, kind):
    return names_for(name, kind, PLUGINS)


@pytest.mark.parametrize(
    "name", ["Blend", "1blend", "blend!", "", "blend ", "-blend", "blend-", "a--b", "../x", "b" * (LONGEST + 1)]
)
def test_a_name_that_is_no_identifier_is_refused(name):
    with pytest.raises(BadRequest, match="is no name for a plugin"):
        named(name, "synthesizer")


@pytest.mark.parametrize("name", ["none", "true", "options", "teacher", "synthesizer", "warning", "path", "plugins"])
def test_a_name_that_means_something_else_in_the_projects_code_is_refused(name):
    with pytest.raises(BadRequest, match="take another name"):
        named(name, "synthesizer")


def test_a_name_that_is_taken_is_refused_with_its_owner_and_free_for_another_kind():
    with pytest.raises(BadRequest, match=r"synthesizer 'dwa' is there already, from ddbench .*take another name"):
        named("dwa", "synthesizer")
    assert named("dwa", "evaluator").project == "ddbench-dwa"


def test_there_is_no_project_of_an_unknown_kind():
    with pytest.raises(BadRequest, match="--kind takes: dataset, network"):
        named("blend", "method")


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "ddbench-blend").mkdir()
    with pytest.raises(BadRequest, match="is there already"):
        write_project(named("blend", "synthesizer"), tmp_path)
    assert list((tmp_path / "ddbench-blend").iterdir()) == []


def test_a_project_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(self, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(EnvironmentProblem, match=r"No space left.*--into DIR"):
        write_project(named("blend", "synthesizer"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_there_must_be_a_folder_to_write_into(tmp_path):
    with pytest.raises(BadRequest, match="is no folder"):
        write_project(named("blend", "synthesizer"), tmp_path / "not-there")


@pytest.mark.parametrize("kind", KINDS)
def test_a_projects_entry_point_names_its_module_and_the_readme_its_command(kind):
    names = named(f"my-{kind}", kind)
    files = dict(rendered(names))
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["entry-points"]["ddbench"] == {names.name: names.package}
    assert f"{names.package}/__init__.py" in files
    assert run_command(names) in files["README.md"]
    assert all("{{" not in text and "{%" not in text for text in files.values())


@pytest.mark.parametrize("length", [2, 12, LONGEST])
def test_code_of_every_kind_is_clean_and_formatted_whatever_it_is_called(tmp_path, length):
    for number, kind in enumerate(KINDS):
        write_project(named(f"{'b' * (length - 1)}{number}", kind), tmp_path)
    for command in (["check", "-q"], ["format", "-q", "--diff"]):
        ran = subprocess.run([sys.executable, "-m", "ruff", *command, str(tmp_path)], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr


class Outcomes:
    """Counts what the tests of a run inside this one come to."""

    def __init__(self):
        self.counts = Counter()
        self.told = []

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.counts[report.outcome] += 1
            if report.failed:
                self.told.append(f"{report.nodeid}: {report.longreprtext}")


@pytest.fixture
def forgotten():
    """What a project's own tests imported is forgotten again: its package would count as installed."""
    yield
    for name in [name for name in sys.modules if name.startswith("ddbench_my_")]:
        del sys.modules[name]


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("kind", KINDS)
def test_a_projects_own_tests_pass(kind, tmp_path, monkeypatch):
    folder = write_project(named(f"my-{kind}", kind), tmp_path)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    outcomes = Outcomes()
    code = pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)], plugins=[outcomes])
    assert outcomes.told == []
    assert code == 0
    assert outcomes.counts["passed"] >= 6


@pytest.mark.slow
def test_types_of_every_kind_are_strict(tmp_path):
    modules = [write_project(named(f"my-{kind}", kind), tmp_path) / f"ddbench_my_{kind}" for kind in KINDS]
    config = tmp_path / "ddbench-my-synthesizer" / "pyproject.toml"
    flags = ["--config-file", str(config), "--cache-dir", str(tmp_path / "cache")]
    command = [sys.executable, "-m", "mypy", *flags, *map(str, modules)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout


def test_the_command_says_what_it_wrote_and_what_to_do_now(tmp_path):
    ran = CliRunner().invoke(app, ["plugin", "new", "blend", "--into", str(tmp_path)])
    assert ran.exit_code == 0, ran.output
    assert "ddbench_blend/__init__.py" in ran.output
    assert "ddbench run blend" in ran.output
    ran = CliRunner().invoke(app, ["plugin", "new", "sharp", "--kind", "teacher", "--into", str(tmp_path), "--json"])
    answer = json.loads(ran.output)
    assert (answer["kind"], answer["run"]) == ("teacher", "ddbench run dwa --teacher sharp")
    assert "tests/test_sharp.py" in answer["files"]
