"""Records made to harm: every table shows them harmless, or the file is refused with one sentence."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from ddbench.records import checksum
from ddbench.report.axes import along
from ddbench.report.formats import TEXT_FORMS, print_rich, render
from ddbench.report.published import published_sheet
from ddbench.report.robustness_sheet import robustness_sheets
from ddbench.report.sources import load
from ddbench.report.tables import summary
from handmade import nested, record

HUGE = "h" * 10_000_000
NAMES = {
    "markup": "<script>alert(1)</script>[red]x[/red]",
    "control": "a\x1b]0;title\x07\x1b[2Jb\r\nc\x00\u202ed",
    "latex": r"\input{/etc/passwd}$\write18{x}$",
    "formula": "=HYPERLINK(1)",
    "formula behind a tab": "\t=HYPERLINK(1)",
    "formula behind nothing": "\u200b=HYPERLINK(1)",
    "path": "../../../etc/passwd",
    "huge": "h" * 300_000,
}


def written(folder, content: str) -> list[str]:
    """Return what is said of a record file that must not be read."""
    (folder / "bad.json").write_text(content, "utf-8")
    loaded = load(None, [folder])
    assert loaded.records == ()
    return list(loaded.problems)


def sealed(content: dict) -> str:
    return json.dumps(content | {"sha256": checksum(content)})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", [*TEXT_FORMS, "rich"])
def test_names_of_methods_students_and_datasets_are_harmless_in_every_view(name, form, capsys):
    evil = NAMES[name]
    records = [*nested(evil, [[0.5, 0.6]] * 3), *nested("random", [[0.5, 0.6]] * 3)]
    records += nested("dwa", [[0.5, 0.6]] * 3, options={"x": evil}, protocol="dc-hard/1", label_regime="hard")
    records += [record(student=evil, dataset=evil), record(student=evil, dataset=evil, ipc=50)]
    tables = summary(records)
    views = [*tables, *along(tables, "ipc"), *along(tables, "dataset"), *robustness_sheets(tables)]
    if form == "rich":
        print_rich(views, Console(width=80, force_terminal=False))
        text = capsys.readouterr().out
    else:
        text = render(views, form)
    assert not any(char in text for char in "\x1b\x07\x00\u202e")
    if form != "json":
        assert len(text) < 100_000
    if form == "md":
        assert "<script>" not in text
    if form == "latex":
        assert r"\input" not in text
        assert r"\write" not in text
    if form == "csv":
        assert not any(cell.lstrip().startswith("=") for line in text.splitlines() for cell in line.split(","))
    assert published_sheet(tables) is None


def test_a_name_of_ten_megabytes_is_cut_with_a_mark():
    text = render(summary(nested(HUGE, [[0.5, 0.6]] * 3)), "md")
    assert len(text) < 10_000
    assert "hhh…" in text


def test_content_nested_without_end_is_refused_with_a_sentence(tmp_path):
    (problem,) = written(tmp_path, "[" * 200_000)
    assert "is not a whole record" in problem


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_refused_with_a_sentence(tmp_path, number):
    content = record(0.123456).model_dump_json().replace("0.123456", number)
    (problem,) = written(tmp_path, content)
    assert problem.startswith("left out: ")
    assert len(problem) < 1000


@pytest.mark.parametrize(
    "change",
    [{"schema_version": HUGE}, {"schema_version": {"a": 1}}, {"schema_version": 99}, {"key": 7}, {HUGE: 1}, {"cell": None}],
    ids=["huge version", "version no number", "unknown version", "key no text", "huge field", "no cell"],
)
def test_content_of_another_shape_is_refused_with_a_sentence(tmp_path, change):
    content = json.loads(record(0.5).model_dump_json()) | change
    (problem,) = written(tmp_path, sealed(content))
    assert problem.startswith("left out: ")
    assert len(problem) < 2000


def test_two_records_under_one_key_are_told_and_the_first_stays(tmp_path):
    one = record(0.5)
    other = json.loads(one.model_dump_json())
    other["metrics"][0]["value"] = 0.9
    (tmp_path / "a.json").write_text(one.model_dump_json(), "utf-8")
    (tmp_path / "b.json").write_text(sealed({**other, "sha256": ""}), "utf-8")
    loaded = load(None, [tmp_path])
    assert [found.metric("top1") for found in loaded.records] == [0.5]
    assert any("another record under the key" in problem for problem in loaded.problems)


def test_a_field_that_is_given_twice_fails_the_checksum(tmp_path):
    text = record(0.5).model_dump_json()
    assert written(tmp_path, text.replace('"smoke":false', '"smoke":false,"smoke":true', 1))


def test_records_of_the_first_schema_stand_in_a_table(tmp_path):
    content = json.loads(record(0.5).model_dump_json()) | {"schema_version": 1}
    for new in ("needs", "external_data", "evaluators"):
        content.pop(new, None)
    (tmp_path / "old.json").write_text(sealed({key: value for key, value in content.items() if key != "sha256"}), "utf-8")
    loaded = load(None, [tmp_path])
    assert loaded.problems == ()
    assert summary(loaded.records)[0].rows[0].results["convnet3"].estimate.value == 0.5
