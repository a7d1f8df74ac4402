from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import pytest
from typer.testing import CliRunner

from ddbench.cells import Request
from ddbench.cli.app import app
from ddbench.errors import StoreProblem
from handmade import nested


@dataclass
class Asked:
    """Stands in for planner and runner: keeps the request and gives what it was told to give."""

    records: list = field(default_factory=list)
    failures: list = field(default_factory=list)
    error: BaseException | None = None
    request: Request | None = None
    settings: object = None
    fresh: bool | None = None

    def plan(self, request, workspace, *, known=None):
        self.request, self.settings = request, workspace.settings
        cells = tuple(
            SimpleNamespace(cell=SimpleNamespace(**record.cell.model_dump(), role="asked"), stored=False, record_key=record.key)
            for record in self.records
        )
        stages = (
            SimpleNamespace(title="random, ipc 10", stored=True, expected_s=1.0),
            SimpleNamespace(title="2 students", stored=False, expected_s=90.0),
        )
        return SimpleNamespace(
            request=request,
            cells=cells,
            stages=stages,
            expected_s=90.0,
            notes=("a note",),
            device="cpu",
            to_json=lambda: {"cells": []},
        )

    def run(self, planned, workspace, *, fresh=False):
        self.fresh = fresh
        if self.error:
            raise self.error
        return SimpleNamespace(records=self.records, failures=self.failures, reused=0, damaged=["a sentence"])


@pytest.fixture
def asked(monkeypatch):
    """The stand-in, put where the command looks for planner and runner."""
    stand_in = Asked(records=[*nested("random", [[0.6, 0.62], [0.63, 0.62], [0.58, 0.6]]), *nested("dwa", [[0.7, 0.72]])])
    for name in ("planning", "runner"):
        module = ModuleType(f"ddbench.{name}")
        module.plan, module.run, module.Known = stand_in.plan, stand_in.run, lambda workspace, **_: workspace
        monkeypatch.setitem(__import__("sys").modules, f"ddbench.{name}", module)
    return stand_in


def run(*arguments: str):
    return CliRunner().invoke(app, ["run", *arguments], catch_exceptions=False)


@pytest.fixture
def anything(monkeypatch):
    """Accept any synthesizer's name: which ones there are is the plugins' business."""
    monkeypatch.setattr("ddbench.plugins.Plugins.get", lambda *_: None)


def test_without_flags_the_requests_own_defaults_hold(asked, anything):
    run("dwa")
    assert asked.request == Request(("dwa",))


def test_every_flag_reaches_the_request(asked, anything, tmp_path):
    flags = "--dataset cifar10 --ipc 5 --students a,b --teacher scratch:x --protocol dc-hard/1 --distill-seeds 2 --eval-seeds 4"
    flags += " -o rho=0.1 -o teacher.epochs=3 --preset cpu --device cpu --precision fp32 --compile off --threads 1"
    flags += " --evaluators top1 --max-label-bytes 9 --view-seed 7"
    flags += " --smoke 0.1"
    run(
        "dwa",
        "sre2l",
        *flags.split(),
        "--offline",
        "--store",
        str(tmp_path / "s"),
        "--data-root",
        str(tmp_path / "a"),
        "--data-root",
        str(tmp_path / "b"),
    )
    assert asked.request == Request(
        ("dwa", "sre2l"),
        dataset="cifar10",
        ipc=5,
        teacher="scratch:x",
        students=("a", "b"),
        protocol="dc-hard/1",
        distill_seeds=2,
        eval_seeds=4,
        options={"rho": "0.1", "teacher.epochs": "3"},
        preset="cpu",
        device="cpu",
        precision="fp32",
        compile="off",
        threads=1,
        evaluators=("top1",),
        max_label_bytes=9,
        view_seed=7,
        smoke=0.1,
    )
    assert asked.settings.offline
    assert asked.settings.store == tmp_path / "s"
    assert asked.settings.data_roots[:2] == (tmp_path / "a", tmp_path / "b")


def test_the_answer_is_heading_table_and_where_things_are(asked, anything, tmp_path):
    result = run("dwa", "--store", str(tmp_path))
    lines = result.stdout.splitlines()
    assert lines[0].startswith("digits · 10 classes · 1×8×8 · ipc 10 · quick-soft/1 · soft_online")
    assert any(line.split()[:1] == ["dwa"] and "▲" in line for line in lines)
    key = asked.records[-2].key
    assert f"again:   ddbench show {key} --store {tmp_path}" in lines
    assert f"record:  {tmp_path / 'records' / key}.json" in lines
    assert any(line.startswith("picture: ") and line.endswith("preview.png") for line in lines)


def test_only_data_goes_to_stdout(asked, anything):
    result = run("dwa", "--json")
    content = json.loads(result.stdout)
    assert [row["method"] for row in content["tables"][0]["rows"]] == ["random", "dwa"]
    assert len(content["records"]) == 8
    assert "a note" in result.stderr
    assert "expected time: 90 s" in result.stderr
    assert "damaged: a sentence" in result.stderr
    assert "8 cells made in under a second, 0 taken from the store" in result.stderr


@pytest.mark.parametrize(("flag", "count"), [("auto", 0), ("on", 0), ("off", 2)])
def test_what_the_store_has_computed_otherwise_is_told_where_that_was_refused(asked, anything, flag, count):
    natively, compiled = {"dtype": "fp32", "native": True}, {"dtype": "fp32", "compile": True}
    first, second, *others = asked.records
    blocks = first.precision.model_copy(update={"recover": natively}), second.precision.model_copy(update={"student": compiled})
    changed = [one.model_copy(update={"precision": block}) for one, block in zip((first, second), blocks, strict=True)]
    asked.records = [*changed, *others]
    result = run("dwa", "--compile", flag)
    assert (f"{count} of 8 results" in result.stderr) == (count > 0)
    assert ("--fresh makes them anew" in result.stderr) == (count > 0)


def test_failed_cells_exit_with_1_after_the_table(asked, anything):
    asked.failures = [{"key": "k"}]
    result = run("dwa")
    assert result.exit_code == 1
    assert "dwa" in result.stdout
    assert "1 of 8 cells failed" in result.stderr


def test_a_dry_run_prints_cells_and_time_and_runs_nothing(asked, anything):
    result = run("dwa", "--dry-run")
    assert asked.fresh is None
    assert "expected time: 90 s" in result.stdout
    assert sum("ddbench/convnet3" in line for line in result.stdout.splitlines()) == 8
    assert json.loads(run("dwa", "--dry-run", "--json").stdout) == {"cells": []}


@pytest.mark.parametrize(("flags", "code"), [(["--dry-run"], 0), (["--offline"], 3)])
def test_a_dry_run_needs_no_dataset_where_its_source_has_an_outline(monkeypatch, tmp_path, flags, code):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DDBENCH_PLUGINS", "")
    asked = ("random", "--dataset", "cifar10", "--ipc", "1", "--protocol", "dc-hard/1", "--store", str(tmp_path / "store"))
    result = run(*asked, *flags)
    assert result.exit_code == code
    assert "ddbench data prepare cifar10" in result.stderr
    assert ("expected time: " in result.stdout) == (code == 0)


def test_fresh_is_handed_on(asked, anything, monkeypatch):
    monkeypatch.setattr("ddbench.cli.answer.afresh", lambda planned: planned)
    told = run("dwa", "--fresh").stderr
    assert asked.fresh is True
    assert "8 cells, all made again; expected time: 90 s" in told


def test_where_all_is_stored_the_end_says_so_and_a_fresh_plan_has_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("DDBENCH_PLUGINS", "")
    words = ("random", "--students", "convnet1-w32", "--protocol", "quick-hard/1", "--ipc", "1", "--smoke", "0.01")
    words = (*words, "--store", str(tmp_path))
    assert "9 cells made in " in run(*words).stderr
    assert "9 cells, all taken from the store; --fresh makes them again" in run(*words).stderr
    planned = {flags: run(*words, "--dry-run", *flags).stdout for flags in ((), ("--fresh",))}
    assert "all students" in planned[()]
    assert "to be made" not in planned[()]
    assert "9 students" in planned["--fresh",]
    assert "has it" not in planned["--fresh",]
    content = json.loads(run(*words, "--dry-run", "--fresh", "--json").stdout)
    assert not any(one["stored"] for one in (*content["cells"], *content["stages"]))
    assert content["expected_s"] > 0


def test_a_full_store_exits_with_3(asked, anything):
    asked.error = StoreProblem("store /x: no space left on the device")
    assert run("dwa").exit_code == 3


def test_an_interrupt_during_the_run_exits_with_130(asked, anything):
    asked.error = KeyboardInterrupt()
    result = run("dwa")
    assert result.exit_code == 130
    assert "same command" in result.stderr


def test_an_unknown_synthesizer_is_told_before_anything_is_planned(asked):
    result = run("randm")
    assert result.exit_code == 2
    assert "error: unknown synthesizer 'randm'. Did you mean 'random'?" in result.stderr
    assert asked.request is None


def test_an_option_without_a_value_is_told(asked):
    result = run("random", "-o", "rho")
    assert result.exit_code == 2
    assert "name=value" in result.stderr


def test_a_plugin_that_fails_on_import_is_told_and_the_run_goes_on(asked, anything, monkeypatch):
    from ddbench.plugins import LoadError, Plugins

    monkeypatch.setattr(
        Plugins, "__init__", lambda self, *_, **__: setattr(self, "errors", [LoadError("theirs", "broken", "ImportError: no")])
    )
    result = run("dwa")
    assert result.exit_code == 0
    assert "plugin 'broken' of theirs failed" in result.stderr
