"""Tables as rich, Markdown, CSV, LaTeX and JSON. Fractions inside, percent in every view but JSON, which says its unit."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ddbench.report.grouping import heading_json
from ddbench.report.layout import Grid, Marks, plain
from ddbench.report.sheets import Sheet, fits, pieces, sheet_of
from ddbench.report.tables import flat_rows

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

    from ddbench.report.tables import Table


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
    "\N{MINUS SIGN}": "$-$",
    "…": r"\dots{}",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "½": r"$\frac{1}{2}$",
}

UNSEEN = re.compile(r"[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Characters that JSON leaves as they are and that change how other text is shown."""

PERCENT_COLUMNS = (
    *("mean", "low", "high", "difference", "difference_to_random", "difference_low", "difference_high"),
    *("published", "published_sd", "difference_to_published", "hlr", "hlr_low", "hlr_high", "ior", "ior_low", "ior_high"),
)


def render(shown: Sequence[Table | Sheet], form: str) -> str:
    """Return tables or sheets as text in one of `TEXT_FORMS`.

    Raises:
        KeyError: The form is unknown.
    """
    return TEXT_FORMS[form]([_sheet(one) for one in shown])


def print_rich(shown: Sequence[Table | Sheet], console: Console) -> None:
    """Print tables or sheets for a terminal; names in them are shown as text, never as markup.

    What is too wide is shown in several parts, each with the first column.
    """
    from rich.text import Text

    for number, sheet in enumerate(_sheet(one) for one in shown):
        console.print(Text("\n" if number else "") + Text(plain(sheet.title), style="bold"))
        wide = sheet.wide(Marks())
        content = wide if fits(wide, console.width) else sheet.narrow(Marks())
        for part in pieces(content, console.width):
            console.print(_drawn(part))
        for note in sheet.notes:
            console.print(Text(plain(note), style="dim"))


def _drawn(content: Grid) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_lines=False)
    for number, header in enumerate(content.headers):
        drawn.add_column(
            Text(header), justify="right" if number else "left", no_wrap=" " not in header and number > 0, overflow="fold"
        )
    for row in content.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    return drawn


def markdown(sheets: Sequence[Sheet]) -> str:
    """Return sheets in Markdown, notes as a list under each."""
    return "\n".join(_markdown(sheet) for sheet in sheets)


def comma_separated(sheets: Sequence[Sheet]) -> str:
    """Return all sheets as one CSV in long form, fractions as percent with the columns saying so."""
    rows = [_percent(row) for sheet in sheets for row in sheet.rows]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv_cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def latex(sheets: Sequence[Sheet]) -> str:
    """Return sheets for LaTeX with booktabs, each in its own `table` environment, notes in the caption."""
    return "\n".join(_latex(sheet) for sheet in sheets)


def as_json(shown: Sequence[Table | Sheet]) -> list[dict[str, Any]]:
    """Return tables or sheets as JSON values, numbers in the unit that stands beside them."""
    return [{**sheet.head, "rows": list(sheet.rows), "notes": list(sheet.notes)} for sheet in map(_sheet, shown)]


def _sheet(shown: Table | Sheet) -> Sheet:
    if isinstance(shown, Sheet):
        return shown
    head = {
        "title": shown.title,
        "heading": heading_json(shown.heading),
        "metric": shown.metric,
        "unit": shown.unit,
        "higher_is_better": shown.higher_is_better,
        "students": list(shown.students),
    }
    return sheet_of(shown, flat_rows(shown), head)


def _markdown(sheet: Sheet) -> str:
    content = sheet.usual(Marks())
    rule = ["---", *("---:" for _ in content.headers[1:])]
    lines = [f"**{markdown_text(sheet.title)}**", ""]
    lines += [f"| {' | '.join(row)} |" for row in (_markdown_row(content.headers), rule, *map(_markdown_row, content.rows))]
    return "\n".join([*lines, "", *(f"- {markdown_text(note)}" for note in sheet.notes), ""])


def _markdown_row(cells: Sequence[str]) -> list[str]:
    return ["<br>".join(markdown_text(line) for line in cell.split("\n")) for cell in cells]


def markdown_text(text: str) -> str:
    """Return text that Markdown shows as it is: no cell border, emphasis, link or markup comes out of a name."""
    escaped = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|`*]|\](?=\())", r"\\\1", escaped)


def _latex(sheet: Sheet) -> str:
    content = sheet.wide(Marks())
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(sheet.title)}. {' '.join(latex_text(note) for note in sheet.notes)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(content.headers) - 1)}}}",
        r"\toprule",
        _latex_row([latex_text(header) for header in content.headers]),
        r"\midrule",
        *(_latex_row([latex_text(row[0]), *map(_latex_cell, row[1:])]) for row in content.rows),
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


def _latex_cell(text: str) -> str:
    """Return a cell that holds numbers, or a name: minus signs of numbers are such."""
    return latex_text(re.sub(r"(?<!\w)-(?=\d)", "\N{MINUS SIGN}", text))


def _percent(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a long row whose fractions are percent, under names that say so."""
    if row["unit"] != "fraction":
        return dict(row)
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
        text = plain(value)
        return f"'{text}" if text[:1] in {"=", "+", "-", "@"} else text
    return value


def _json_text(sheets: Sequence[Sheet]) -> str:
    text = json.dumps(as_json(sheets), indent=1, ensure_ascii=False, allow_nan=False)
    return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


TEXT_FORMS: dict[str, Callable[[Sequence[Sheet]], str]] = {
    "md": markdown,
    "csv": comma_separated,
    "latex": latex,
    "json": _json_text,
}
