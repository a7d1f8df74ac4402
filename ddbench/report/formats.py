"""Tables as rich, Markdown, CSV, LaTeX and JSON. Fractions inside, percent in every view but JSON, which says its unit."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ddbench.report.grouping import heading_json
from ddbench.report.layout import Grid, Marks, grid, plain
from ddbench.report.tables import flat_rows

if TYPE_CHECKING:
    from rich.console import Console

    from ddbench.report.tables import Table

LATEX_MARKS = Marks(r" $\pm$ ", r"$^{1}$", r"$^{\dagger}$", r" $\uparrow$", r" $\downarrow$")

LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}

LATEX_SYMBOLS = {
    "±": r"$\pm$",
    "×": r"$\times$",
    "Δ": r"$\Delta$",
    "▲": r"$\uparrow$",
    "▼": r"$\downarrow$",
    "¹": r"$^{1}$",
    "†": r"$^{\dagger}$",
    "·": r"$\cdot$",
    "–": "--",
}

PERCENT_COLUMNS = ("mean", "low", "high", "difference_to_random", "difference_low", "difference_high")


def render(tables: Sequence[Table], form: str) -> str:
    """Return tables as text in one of `TEXT_FORMS`.

    Raises:
        KeyError: The form is unknown.
    """
    return TEXT_FORMS[form](tables)


def print_rich(tables: Sequence[Table], console: Console) -> None:
    """Print tables for a terminal; names in them are shown as text, never as markup."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    for number, table in enumerate(tables):
        content = _fitted(table, console.width)
        console.print(Text("\n" if number else "") + Text(f"{plain(table.title)}{_draws(table)}", style="bold"))
        drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_lines=False)
        for header in content.headers:
            drawn.add_column(
                Text(header), justify="left" if header == "method" else "right", no_wrap=" " not in header, overflow="fold"
            )
        for row in content.rows:
            drawn.add_row(*(Text(cell) for cell in row))
        console.print(drawn)
        for note in table.notes:
            console.print(Text(plain(note), style="dim"))


def _fitted(table: Table, width: int) -> Grid:
    """Return the grid with differences in columns of their own where they fit."""
    content = grid(table, apart=True)
    cells = [[len(row[column]) for row in content.rows] for column in range(len(content.headers))]
    words = [max(len(word) for word in header.split()) for header in content.headers]
    needed = sum(max(word, *lengths) + 2 for word, lengths in zip(words, cells, strict=True))
    return content if needed <= width else grid(table, apart=False)


def markdown(tables: Sequence[Table]) -> str:
    """Return tables in Markdown, notes as a list under each."""
    return "\n".join(_markdown(table) for table in tables)


def comma_separated(tables: Sequence[Table]) -> str:
    """Return all tables as one CSV in long form, fractions as percent with the columns saying so."""
    rows = [_percent(row) for table in tables for row in flat_rows(table)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv_cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def latex(tables: Sequence[Table]) -> str:
    """Return tables for LaTeX with booktabs, each in its own `table` environment, notes as comments and caption."""
    return "\n".join(_latex(table) for table in tables)


def as_json(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Return tables as JSON values, numbers in the unit that stands beside them."""
    return [
        {
            "title": table.title,
            "heading": heading_json(table.heading),
            "metric": table.metric,
            "unit": table.unit,
            "higher_is_better": table.higher_is_better,
            "students": list(table.students),
            "rows": flat_rows(table),
            "notes": list(table.notes),
        }
        for table in tables
    ]


def _markdown(table: Table) -> str:
    content = grid(table)
    rule = ["---", *("---:" for _ in content.headers[1:])]
    lines = [f"**{markdown_text(table.title)}**{_draws(table)}", ""]
    lines += [f"| {' | '.join(row)} |" for row in (_markdown_row(content.headers), rule, *map(_markdown_row, content.rows))]
    return "\n".join([*lines, "", *(f"- {markdown_text(note)}" for note in table.notes), ""])


def _markdown_row(cells: Sequence[str]) -> list[str]:
    return ["<br>".join(markdown_text(line) for line in cell.split("\n")) for cell in cells]


def markdown_text(text: str) -> str:
    """Return text that Markdown shows as it is: no cell border, emphasis, link or markup comes out of a name."""
    escaped = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|`*]|\](?=\())", r"\\\1", escaped)


def _latex(table: Table) -> str:
    content = grid(table, LATEX_MARKS, apart=True)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(table.title)}. {' '.join(latex_text(note) for note in table.notes)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(content.headers) - 1)}}}",
        r"\toprule",
        _latex_row([latex_text(header) for header in content.headers]),
        r"\midrule",
        *(_latex_row([latex_text(row[0]), *map(_latex_number, row[1:])]) for row in content.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def latex_text(text: str) -> str:
    """Return text in which LaTeX's special characters stand for themselves."""
    return "".join(LATEX_SPECIAL.get(char, LATEX_SYMBOLS.get(char, char)) for char in plain(text))


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_number(text: str) -> str:
    """Return a number cell, whose marks are LaTeX already."""
    return re.sub(r"-(?=\d)", "$-$", text).replace("×", r"$\times$").replace("–", "--")


def _draws(table: Table) -> str:
    """Return how often random was drawn and trained on, where all columns agree: ` · 3 draws × 3 students each`."""
    counts = {
        (result.estimate.sets, tuple(sorted({len(seeds) for seeds in result.scores.values()})))
        for row in table.rows
        for result in row.results.values()
        if row.control
    }
    if len(counts) != 1:
        return ""
    draws, per_draw = counts.pop()
    students = "–".join(str(count) for count in per_draw)
    return f" · random: {draws} draw{'s' * (draws != 1)} × {students} student{'s' * (students != '1')} each"


def _percent(row: dict[str, Any]) -> dict[str, Any]:
    """Return a long row whose fractions are percent, under names that say so."""
    if row["unit"] != "fraction":
        return row
    changed = {}
    for name, value in row.items():
        if name in PERCENT_COLUMNS:
            changed[f"{name}_percent"] = None if value is None else round(100 * value, 4)
        else:
            changed[name] = "percent" if name == "unit" else value
    return changed


def _csv_cell(value: object) -> object:
    """Return a value as CSV holds it; text that a spreadsheet would run as a formula is quoted."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{plain(value)}" if value[:1] in {"=", "+", "-", "@"} else plain(value)
    return value


def _json_text(tables: Sequence[Table]) -> str:
    return json.dumps(as_json(tables), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


TEXT_FORMS: dict[str, Callable[[Sequence[Table]], str]] = {
    "md": markdown,
    "csv": comma_separated,
    "latex": latex,
    "json": _json_text,
}
