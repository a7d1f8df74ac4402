from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ddbench.cli.app import app
from ddbench.provenance import Check, as_bytes, beside, with_check
from ddbench.store import Store
from handmade import nested, record


@pytest.fixture
def store(tmp_path):
    """A store with three draws of random and one set of dwa under two protocols."""
    store = Store(tmp_path / "store")
    random = [[0.60, 0.62], [0.63, 0.62], [0.58, 0.60]]
    hard = {"protocol": "dc-hard/1", "label_regime": "hard", "teacher": None}
    for one in [*nested("random", random), *nested("dwa", [[0.7, 0.72]]), *nested("random", random, **hard)]:
        store.add_record(one, None)
    return store


def levels(store):
    """Return the level of each row of the second table, and what is said of them under it."""
    shown = json.loads(table(store, "--json").stdout)[1]
    return {row["method"]: row["level"] for row in shown["rows"]}, shown["notes"][-1]


def table(store, *arguments: str):
    return CliRunner().invoke(app, ["table", "--store", str(store.root), *arguments])


def test_json_has_a_table_for_every_protocol(store):
    tables = json.loads(table(store, "--json").stdout)
    assert [(one["heading"]["protocol"], len(one["rows"])) for one in tables] == [("dc-hard/1", 1), ("quick-soft/1", 2)]


def test_filters_choose_records(store):
    assert len(json.loads(table(store, "--json", "--protocol", "dc-hard/1", "--ipc", "10", "--dataset", "digits").stdout)) == 1


@pytest.mark.parametrize(
    ("form", "sign"),
    [("rich", "Δ random"), ("md", "| method |"), ("csv", "dataset,ipc"), ("latex", r"\toprule"), ("json", '"rows"')],
)
def test_every_format_is_printed(store, form, sign):
    result = table(store, "--format", form)
    assert result.exit_code == 0
    assert sign in result.stdout


@pytest.mark.parametrize(
    ("flag", "value", "sentence"),
    [
        ("--dataset", "digit", "no record has dataset 'digit'; did you mean 'digits'? the records have: digits"),
        ("--protocol", "quick-sof/1", "no record has protocol 'quick-sof/1'; did you mean 'quick-soft/1'? the records have: dc-"),
        ("--ipc", "7", "no record has ipc '7'; the records have: 10"),
        ("--methods", "random,dwaa", "no record has method 'dwaa'; did you mean 'dwa'?"),
        ("--students", "resnet", "no record has student 'resnet'"),
    ],
)
def test_a_filter_that_no_record_fits_says_what_there_is(store, flag, value, sentence):
    result = table(store, flag, value)
    assert (result.exit_code, result.stdout.strip()) == (2, "")
    assert sentence in result.stderr


@pytest.mark.parametrize("student", ["convnet3", "ddbench/convnet3"])
def test_methods_and_students_are_chosen_and_random_stays(store, student):
    for one in [*nested("dm", [[0.5, 0.6]]), *nested("dwa", [[0.3, 0.2]], student="ddbench/resnet18")]:
        store.add_record(one, None)
    every = json.loads(table(store, "--json").stdout)[1]["rows"]
    assert {row["method"] for row in every} == {"random", "dwa", "dm"}
    assert {row["student"] for row in every} == {"convnet3", "resnet18", "mean"}
    asked = json.loads(table(store, "--json", "--methods", "dwa", "--students", student).stdout)[1]["rows"]
    assert {row["method"] for row in asked} == {"random", "dwa"}
    assert {row["student"] for row in asked} == {"convnet3"}
    assert asked[1]["difference_to_random"] == next(row for row in every if row["method"] == "dwa")["difference_to_random"]


def test_an_unknown_metric_says_which_there_are(store):
    result = table(store, "--metric", "top")
    assert (result.exit_code, result.stdout.strip()) == (2, "")
    assert "unknown metric 'top'. Did you mean 'top1'?" in result.stderr


def test_another_name_is_no_slip_and_a_table_without_pairs_says_so(store):
    assert "did you mean" not in table(store, "--protocol", "quick-hard/1").stderr
    result = table(store, "--pairs", "--methods", "random", "--protocol", "dc-hard/1")
    assert result.exit_code == 0
    assert "no column ranks two methods" in result.stderr


def test_rows_tell_how_far_they_can_be_trusted(store):
    check = Check(level="verified", how="retrained", by="a test", when="2026-01-01T00:00:00+00:00")
    told = [levels(store)]
    for made in [one for one in store.records() if one.cell.synthesizer == "dwa"]:
        beside(store.root / "records" / f"{made.key}.json").write_bytes(as_bytes(with_check(None, made, check)))
        told.append(levels(store))
    nothing = ({"random": "submitted", "dwa": "submitted"}, "level: submitted: every row (nobody has trained its students again).")
    others = "submitted: the others (nobody has trained its students again)."
    all_of_dwa = f"level: verified: dwa (students were trained again and agree); {others}"
    assert told == [nothing, nothing, ({"random": "submitted", "dwa": "verified"}, all_of_dwa)]


def test_an_empty_store_says_how_to_fill_it(tmp_path):
    result = table(Store(tmp_path / "empty"), "--json")
    assert json.loads(result.stdout) == []
    assert "ddbench run dwa" in result.stderr


def test_records_of_a_folder_stand_beside_those_of_the_store(store, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    other = record(0.9, synthesizer="sre2l")
    (folder / "a.json").write_text(json.dumps(other.model_dump(mode="json")))
    (folder / "broken.json").write_text("{")
    result = table(store, "--json", "--protocol", "quick-soft/1", "--records", str(folder))
    assert [row["method"] for row in json.loads(result.stdout)[0]["rows"]] == ["random", "dwa", "sre2l"]
    assert "broken.json" in result.stderr


def test_out_writes_a_file_in_the_form_of_its_suffix(store, tmp_path):
    result = table(store, "--out", str(tmp_path / "t.tex"))
    assert result.stdout == ""
    assert r"\toprule" in (tmp_path / "t.tex").read_text()
    table(store, "--out", str(tmp_path / "t.txt"))
    assert "Δ random" in (tmp_path / "t.txt").read_text()


def test_out_that_cannot_be_written_is_an_error_of_the_environment(store, tmp_path):
    result = table(store, "--out", str(tmp_path / "no" / "t.md"))
    assert result.exit_code == 3
    assert "--out" in result.stderr


def test_a_records_folder_that_is_not_there_is_an_error(store, tmp_path):
    assert table(store, "--records", str(tmp_path / "nowhere")).exit_code == 3


def test_a_suite_chooses_the_records_of_its_cells_as_it_was_last_run(store, tmp_path):
    from ddbench.suites.contents import keep_cells

    file = tmp_path / "few.toml"
    file.write_text('name = "few"\n[[cells]]\nmethods = ["dwa"]\ndatasets = ["digits"]\nipc = [10]\n')
    result = table(store, "--suite", str(file), "--json")
    assert result.exit_code == 2
    assert "suite few was not run in" in result.stderr
    keys = [record.key for record in store.records() if record.cell.protocol == "dc-hard/1"]
    keep_cells(store, "few", dict.fromkeys(keys, ""))
    (one,) = json.loads(table(store, "--suite", str(file), "--json").stdout)
    assert one["heading"]["protocol"] == "dc-hard/1"


def test_rows_of_a_suite_have_the_names_that_it_gives_its_methods(store, tmp_path):
    from ddbench.suites.contents import keep_cells

    file = tmp_path / "few.toml"
    file.write_text('name = "few"\n[[cells]]\nmethods = ["dwa"]\ndatasets = ["digits"]\nipc = [10]\n')
    names = {record.key: "" if record.cell.synthesizer == "random" else "directed" for record in store.records()}
    keep_cells(store, "few", names)
    for axis in ("student", "ipc"):
        shown = json.loads(table(store, "--suite", str(file), "--by", axis, "--json").stdout)
        assert {row["method"] for one in shown for row in one["rows"]} == {"random", "directed"}


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--pairs", "--by", "ipc"), "--by goes with tables alone"),
        (("--published", "--by", "dataset"), "--by goes with tables alone"),
        (("--robustness", "--metric", "real_ratio"), "--robustness is of top1"),
    ],
)
def test_flags_that_would_be_ignored_are_refused(store, flags, sentence):
    result = table(store, *flags)
    assert result.exit_code == 2
    assert sentence in result.output


def test_records_that_newer_code_stands_in_for_lower_no_level(store):
    new = nested("dwa", [[0.7, 0.72]], code="e" * 64, made="2027-01-01")
    check = Check(level="verified", how="retrained", by="a test", when="2026-01-01T00:00:00+00:00")
    for one in new:
        store.add_record(one, None)
        beside(store.root / "records" / f"{one.key}.json").write_bytes(as_bytes(with_check(None, one, check)))
    rows, _ = levels(store)
    assert rows == {"random": "submitted", "dwa": "verified"}


def test_along_ipc_the_level_is_said_once(store):
    for one in nested("dwa", [[0.7, 0.72]], ipc=50):
        store.add_record(one, None)
    (shown,) = [
        one for one in json.loads(table(store, "--json", "--by", "ipc").stdout) if one["heading"]["protocol"] != "dc-hard/1"
    ]
    assert [note.startswith("level: ") for note in shown["notes"]].count(True) == 1
    assert {row["level"] for row in shown["rows"]} == {"submitted"}
