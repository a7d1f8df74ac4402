"""`ddbench suite`: what it prints of a plan, a run and a run's end, and how it ends."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ddbench.cli.app import app
from small_suites import CELLS, TEXT, suite_file


def suite(*arguments):
    return CliRunner().invoke(app, ["suite", *map(str, arguments)])


@pytest.fixture(autouse=True)
def nothing_but_digits(monkeypatch, tmp_path):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DDBENCH_PLUGINS", "")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A suite, the store it was run into by one worker, and what that said."""
    folder = tmp_path_factory.mktemp("suite")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDBENCH_DATA", str(folder / "no-data"))
        patch.setenv("DDBENCH_PLUGINS", "")
        said = suite("run", suite_file(folder), "--store", folder / "store", "--workers", "1", "--json")
    assert said.exit_code == 0, said.output
    return folder / "few.toml", folder / "store", said


def test_a_plan_counts_cells_by_method_and_prices_them(tmp_path):
    said = suite("plan", suite_file(tmp_path), "--store", tmp_path / "store")
    assert said.exit_code == 0
    assert f"{CELLS} cells (3 of them controls): 0 stored, {CELLS} missing" in said.stdout
    assert "random (control)" in said.stdout
    assert "expected: " in said.stdout
    assert not (tmp_path / "store").exists()


def test_a_plan_as_json_names_every_cell_with_what_the_suite_calls_it(tmp_path):
    told = json.loads(suite("plan", suite_file(tmp_path), "--store", tmp_path / "store", "--json").stdout)
    assert sorted(one["role"] for one in told["cells"]) == ["asked", "asked", "control", "control", "control"]
    assert {label for one in told["cells"] for label in one["labels"]} == {"herding", "still"}


def test_a_dry_run_makes_nothing_and_prints_the_same_plan(tmp_path):
    file, store = suite_file(tmp_path), ("--store", tmp_path / "store")
    dry = suite("run", file, *store, "--dry-run", "--json")
    assert json.loads(dry.stdout)["cells"] == json.loads(suite("plan", file, *store, "--json").stdout)["cells"]
    assert not (tmp_path / "store").exists()


def test_only_chooses_cells_and_a_pattern_that_fits_nothing_is_refused(tmp_path):
    file, store = suite_file(tmp_path), ("--store", tmp_path / "store")
    assert "still" in suite("plan", file, *store, "--only", "still", "--cells").stdout
    assert "herding" not in suite("plan", file, *store, "--only", "still", "--cells").stdout
    nothing = suite("plan", file, *store, "--only", "stil")
    assert nothing.exit_code == 2
    assert "stil" in nothing.stderr


def test_a_run_tells_what_it_made_what_took_longest_and_what_to_run_next(done):
    _, _, said = done
    told = json.loads(said.stdout)
    assert (len(told["made"]), told["failures"], told["unfinished"]) == (CELLS, [], 0)
    assert f"{CELLS} records made, 0 were there, 0 cells failed" in said.stderr
    assert "slowest: " in said.stderr
    assert "next: ddbench table --suite" in said.stderr


def test_what_was_made_is_planned_as_stored_and_not_made_again(done):
    file, store, _ = done
    assert f"{CELLS} stored, 0 missing" in suite("plan", file, "--store", store).stdout
    again = json.loads(suite("run", file, "--store", store, "--workers", "1", "--json").stdout)
    assert (again["made"], again["reused"]) == ([], CELLS)


def test_the_status_of_a_run_that_ended_says_how_and_that_it_was_shortened(done):
    file, store, _ = done
    text = suite("status", file, "--store", store).stdout
    assert "few: ended: done" in text
    assert "shortened to 0.02 of itself" in text
    (told,) = json.loads(suite("status", file, "--store", store, "--json").stdout)
    assert (told["state"], told["live"], told["smoke"]) == ("done", False, 0.02)


def test_a_suite_that_was_never_run_says_how_to_start_it(tmp_path):
    said = suite("status", suite_file(tmp_path), "--store", tmp_path / "store")
    assert said.exit_code == 0
    assert f"ddbench suite run {tmp_path / 'few.toml'}" in said.stderr


def test_rows_of_its_table_have_the_titles_of_its_variants(done):
    file, store, _ = done
    said = CliRunner().invoke(app, ["table", "--suite", str(file), "--store", str(store), "--json"])
    (one,) = json.loads(said.stdout)
    assert {row["method"] for row in one["rows"]} == {"random", "herding", "DM, no step"}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--time-limit", "soon"], "--time-limit: "),
        (["--memory-limit", "12 apples"], "--memory-limit: "),
        (["--max-time", "an hour"], "--max-time: "),
    ],
)
def test_an_amount_that_is_none_is_refused_by_its_flag(tmp_path, flags, says):
    said = suite("run", suite_file(tmp_path), "--store", tmp_path / "store", *flags)
    assert said.exit_code == 2
    assert says in said.stderr


def test_a_file_with_an_unknown_key_is_refused_with_its_place(tmp_path):
    said = suite("plan", suite_file(tmp_path, TEXT.replace("ipc = [1]", "ipcs = [1]")))
    assert said.exit_code == 2
    assert "cells.0.ipc" in said.stderr


def test_a_run_whose_time_is_over_ends_with_1_and_says_what_is_left(tmp_path):
    said = suite("run", suite_file(tmp_path), "--store", tmp_path / "store", "--workers", "1", "--max-time", "1s")
    assert said.exit_code == 1
    assert "ended early: " in said.stderr
    assert "next: ddbench" in said.stderr


def test_more_images_than_a_class_has_is_refused_before_anything_is_made(tmp_path):
    text = TEXT.replace("ipc = [1]", "ipc = [1000]")
    said = suite("run", suite_file(tmp_path, text), "--store", tmp_path / "store")
    assert said.exit_code == 2
    assert not (tmp_path / "store" / "records").exists()
