"""The command on a row's page asks for what the row's records were made with."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer

import ddbench
from ddbench.cli.app import app
from ddbench.cli.flags import split_names
from ddbench.options import parse_assignments
from ddbench.report.site.admission import admit
from ddbench.report.site.board import board
from ddbench.report.site.command import reproduce
from handmade import record

RESULTS = Path(__file__).parent.parent.parent.parent / "benchmarks" / "results"


def measured_on_digits() -> list:
    """Return a line of every method, of the records that are kept."""
    found = {line.method: line for _, line in board(admit([RESULTS / "digits", RESULTS / "digits-walk"])).lines}
    return [pytest.param(line, id=method) for method, line in found.items()]


def planned(command: str, store: Path):
    """Return the cells that a command asks for; nothing is computed."""
    words = shlex.split(command)
    assert words[:2] == ["ddbench", "run"]
    asked = typer.main.get_command(app).commands["run"].make_context("run", words[2:]).params
    request = {name: asked[name] for name in ("dataset", "ipc", "teacher", "protocol", "preset", "distill_seeds", "eval_seeds")}
    options, students = parse_assignments(asked["option"] or []), split_names(asked["students"])
    return ddbench.plan(*asked["names"], store=store, students=students, options=options, **request).cells


@pytest.mark.parametrize("line", measured_on_digits())
def test_the_command_asks_for_the_options_coordinates_and_seeds_of_the_records(line, tmp_path, monkeypatch):
    monkeypatch.setenv("DDBENCH_DATA", "")
    records = [entry.record for entry in line.entries]
    cells = [one.cell for one in planned(reproduce(records), tmp_path)]
    for one in records:
        alike = [cell for cell in cells if cell.coordinate() == one.cell.model_dump()]
        assert any(
            options_of(cell) == {owner: known(one, owner, values) for owner, values in options_of(cell).items()} for cell in alike
        )


def options_of(cell) -> dict[str, dict]:
    """Return the options of a planned cell's method, its parts and its teacher."""
    found = {"synthesizer": cell.method.options, **{kind: part.options for kind, part in cell.method.parts.items()}}
    if cell.choice is not None:
        found["teacher"] = cell.choice.options
    return {owner: resolved.values.model_dump(mode="json") for owner, resolved in found.items()}


def known(one, owner: str, now: dict) -> dict:
    """Return a record's options of an owner; options that are younger than the record have today's value."""
    return {name: one.options[owner].values.get(name, value) for name, value in now.items()}


def test_a_preset_that_was_asked_for_is_named_and_the_datasets_own_is_not():
    one = record(0.5, synthesizer="dwa", options={"rho": 0.5, "steps": 7, "flag": True})
    sources = {"rho": "preset digits: ours", "steps": "preset cpu: ours", "flag": "command line"}
    block = one.options["synthesizer"].model_copy(update={"sources": sources})
    words = shlex.split(reproduce([one.model_copy(update={"options": {"synthesizer": block}})]))
    assert words[words.index("--preset") + 1] == "cpu"
    assert words[words.index("-o") + 1] == "flag=true"
    assert words.count("-o") == 1


def test_a_set_made_elsewhere_is_evaluated_again_with_the_flags_that_told_how_it_is_read():
    from ddbench.records import OptionsBlock

    values = {
        "told_by": "flag",
        "space": "normalised",
        "mean": [0.49, 0.48, 0.45],
        "std": [0.2, 0.2, 0.2],
        "class_check": "convnet3-bn",
        "external_data": True,
        "soft_labels": "logits",
    }
    checker = OptionsBlock(values={"epochs": 5, "batch": 32}, sources={"epochs": "evaluate", "batch": "default"})
    brought = OptionsBlock(values=values, sources=dict.fromkeys(values, "evaluate"))
    one = record(0.5, synthesizer="external:mine", teacher=None).model_copy(
        update={"options": {"synthesizer": brought, "classifier": checker}}
    )
    words = shlex.split(reproduce([one]))
    assert words[:5] == ["ddbench", "evaluate", "PATH", "--name", "mine"]
    asked = typer.main.get_command(app).commands["evaluate"].make_context("evaluate", words[2:]).params
    assert (asked["mean"], asked["std"], asked["teacher"]) == ("0.49,0.48,0.45", "0.2,0.2,0.2", "convnet3-bn")
    assert (asked["class_check"], asked["external_data"], asked["option"]) == (True, True, ["teacher.epochs=5"])
    assert asked["soft_labels"] == "logits"
    unchecked = brought.model_copy(update={"values": {**values, "class_check": "", "mean": None, "std": None, "space": "zca"}})
    words = shlex.split(reproduce([one.model_copy(update={"options": {"synthesizer": unchecked}})]))
    assert "--no-class-check" in words
    assert words[words.index("--space") + 1] == "zca"
