from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from ddbench.report.axes import along
from ddbench.report.formats import LATEX_SYMBOLS, TEXT_FORMS, print_rich, render
from ddbench.report.pairs import pair_sheets
from ddbench.report.published import published_sheet
from ddbench.report.robustness_sheet import robustness_sheets
from ddbench.report.sources import load
from ddbench.report.tables import summary
from handmade import nested, record

GOLDEN = Path(__file__).parent / "golden"

NASTY = r"a|b<script>x</script>[link](javascript:1)_$&%#{}~^\[red]" + "\x1b[31m\n"


def small_table():
    """One draw-complete random, one method with one set, one student, in one table."""
    random = [[0.60, 0.62, 0.61], [0.63, 0.62, 0.64], [0.58, 0.60, 0.61]]
    return summary([*nested("random", random), *nested("dwa", [[0.71, 0.74, 0.72]]), *nested("herding", [[0.6, 0.6, 0.6]])])


def shown(tables, width: int) -> str:
    target = io.StringIO()
    print_rich(tables, Console(file=target, width=width, highlight=False))
    return "\n".join(line.rstrip() for line in target.getvalue().splitlines()) + "\n"


def cross_table():
    """Three students, of which one has the teacher's architecture, and their average."""
    random = [[0.60, 0.62, 0.61], [0.63, 0.62, 0.64], [0.58, 0.60, 0.61]]
    better = [[value + 0.1 for value in values] for values in random]
    students = ("ddbench/convnet3", "timm/resnet10t", "ddbench/convnet3-bn")
    methods = {"random": random, "dwa": better}
    return summary([one for student in students for name in methods for one in nested(name, methods[name], student=student)])


def by_ipc():
    random = [[0.60, 0.62], [0.63, 0.62], [0.58, 0.60]]
    return along(summary([one for ipc in (1, 10) for name in ("random", "dm") for one in nested(name, random, ipc=ipc)]), "ipc")


def beside_published():
    cell = {"dataset": "cifar10", "ipc": 10, "shape": (3, 32, 32), "protocol": "dc-hard/1", "label_regime": "hard", "teacher": None}
    return [published_sheet(summary(nested("random", [[0.305], [0.315], [0.308], [0.312], [0.310]], **cell)))]


def robust():
    hard = {"protocol": "dc-hard/1", "label_regime": "hard", "teacher": None}
    random, dwa = [[0.40, 0.42], [0.44, 0.43], [0.39, 0.40]], [[0.55, 0.56], [0.57, 0.58]]
    records = [*nested("random", random), *nested("dwa", dwa), *nested("dwa", [[0.60, 0.61], [0.62, 0.60]], **hard)]
    return robustness_sheets(summary([*records, *nested("full", [[0.80, 0.82]], **hard), *nested("sre2l", dwa)]))


def every_pair():
    return pair_sheets([*small_table(), *cross_table()])


GOLDENS = {
    "pairs": every_pair,
    "small": small_table,
    "cross": cross_table,
    "by-ipc": by_ipc,
    "published": beside_published,
    "robustness": robust,
}
SUFFIXES = {"md": "md", "csv": "csv", "latex": "tex", "json": "json"}


@pytest.mark.parametrize("name", GOLDENS)
@pytest.mark.parametrize("form", SUFFIXES)
def test_a_table_is_written_as_before(form, name):
    assert render(GOLDENS[name](), form) == (GOLDEN / f"{name}.{SUFFIXES[form]}").read_text("utf-8")


@pytest.mark.parametrize("name", GOLDENS)
@pytest.mark.parametrize("width", [80, 120])
def test_a_table_is_shown_on_a_terminal_as_before(name, width):
    text = shown(GOLDENS[name](), width)
    assert text == (GOLDEN / f"{name}.{width}.txt").read_text("utf-8")
    assert max(map(len, text.splitlines())) <= width


def test_every_text_form_is_held_by_a_golden_file():
    assert set(TEXT_FORMS) == set(SUFFIXES)


def test_on_a_narrow_terminal_differences_go_below_the_scores():
    narrow = shown(small_table(), 60)
    assert "Δ random (convnet3)" not in narrow
    assert "+11.1 [+8.0, +14.2] ▲" in narrow
    assert max(len(line) for line in narrow.splitlines()) <= 60


def test_json_says_its_unit_and_holds_fractions():
    (table,) = json.loads(render(small_table(), "json"))
    dwa = table["rows"][1]
    assert table["unit"] == "fraction"
    assert dwa["mean"] == pytest.approx(0.723333, abs=1e-6)
    assert dwa["verdict"] == 1


def test_csv_says_percent_in_its_columns():
    rows = list(csv.DictReader(io.StringIO(render(small_table(), "csv"))))
    assert float(rows[1]["mean_percent"]) == pytest.approx(72.3333)
    assert rows[1]["unit"] == "percent"
    assert rows[2]["low_percent"] == ""


def test_every_form_writes_no_table_for_no_records():
    assert {form: render([], form).strip() for form in TEXT_FORMS} == {"md": "", "csv": "", "latex": "", "json": "[]"}
    assert shown([], 80).strip() == ""


def test_other_peoples_names_are_shown_as_text_in_every_form():
    tables = summary(
        [record(synthesizer=NASTY, teacher=None, label_regime="hard"), record(synthesizer=NASTY, options={"x": NASTY})]
    )
    texts = {form: render(tables, form) for form in ("md", "csv", "latex")} | {"rich": shown(tables, 200)}
    assert not any("\x1b" in text for text in texts.values())
    assert "<script>" not in texts["md"]
    assert r"a\|b" in texts["md"]
    assert r"[link\](javascript" in texts["md"]
    assert r"\textbackslash{}" in texts["latex"]
    assert r"\_\$\&\%\#\{\}" in texts["latex"]
    assert "[red]" in texts["rich"]


def test_a_name_that_a_spreadsheet_would_run_is_quoted():
    text = render(summary([record(synthesizer="=cmd()")]), "csv")
    assert ",'=cmd()," in text


def test_latex_has_as_many_cells_in_every_row():
    text = render(small_table(), "latex")
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count("&") for line in rows} == {6}
    assert r"\toprule" in text


def test_the_notes_name_the_protocol_the_teacher_and_how_numbers_are_made():
    (table,) = small_table()
    notes = "\n".join(table.notes)
    for part in (
        "quick-soft/1 (sha256",
        "300 steps",
        "Source: ours",
        "soft_online",
        "convnet3-bn (key 7777",
        "95 % t interval",
        "given one distilled set",
    ):
        assert part in notes


def test_smoke_tables_say_so_in_title_and_notes():
    (table,) = summary([record(smoke=True)])
    assert "SMOKE" in table.title
    assert any("SMOKE" in note for note in table.notes)


def test_the_reason_for_a_missing_verdict_is_told():
    (table,) = summary([record(0.5), record(0.6, synthesizer="dwa")])
    assert "No verdict for some differences: random has 1 of at least 3 draws." in table.notes


def test_metrics_in_other_units_are_not_turned_into_percent():
    (table,) = summary([record(metrics={"total_bytes": (123456.0, "bytes", False)})], metric="total_bytes")
    assert "1.235e+05" in render([table], "md")


def test_latex_of_every_view_of_real_records_stands_for_itself():
    kept = Path(__file__).parents[2] / "benchmarks" / "results"
    tables = summary(load(None, [kept / name for name in ("cifar10-soft", "digits-all", "fashion-walk")]).records)
    views = [*tables, *along(tables, "ipc"), *along(tables, "dataset"), *pair_sheets(tables), *robustness_sheets(tables)]
    text = render([*views, published_sheet(tables)], "latex")
    assert text.isascii()
    symbols = re.compile("|".join(re.escape(symbol) for symbol in LATEX_SYMBOLS.values()))
    assert re.findall(r"(?<!\\)[_%#$]", symbols.sub("", text)) == []
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert rows
    for sheet in text.split(r"\begin{tabular}")[1:]:
        widths = {len(re.findall(r"(?<!\\)&", line)) for line in sheet.splitlines() if line.endswith(r" \\")}
        assert len(widths) == 1


def test_a_name_with_latex_in_it_is_a_name_in_every_cell():
    records = [*nested("a&b_c", [[0.7, 0.72]]), *nested("random", [[0.60, 0.62], [0.63, 0.62], [0.58, 0.60]])]
    text = render(pair_sheets(summary(records)), "latex")
    assert r"a\&b\_c$^{1}$" in text
    assert "a&b" not in text
