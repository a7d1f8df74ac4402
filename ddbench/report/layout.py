"""A table as a grid of texts, before any format: percent, one decimal, marks explained by the table's notes."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddbench.report.statistics import Difference
    from ddbench.report.tables import Result, Row, Table

NOT_MEASURED = "–"

SIDE_BY_SIDE = 2
"""Up to this many students, differences have columns of their own; with more they stand under the student's score."""


@dataclass(frozen=True)
class Marks:
    """How a format writes what is not plain text."""

    plus_minus: str = " ± "
    one_set: str = "¹"
    same: str = "†"
    better: str = " ▲"
    worse: str = " ▼"


@dataclass(frozen=True)
class Grid:
    """Headers and rows of equal length; the first column is text, the others are numbers."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def grid(table: Table, marks: Marks = Marks(), *, apart: bool | None = None) -> Grid:
    """Return a table's texts.

    Args:
        table: The table.
        marks: How the format writes marks.
        apart: Differences in columns of their own, or as a second line under the score; by default by the number of students.
    """
    apart = len(table.students) <= SIDE_BY_SIDE if apart is None else apart
    compared = [any(has_difference(row, student) for row in table.rows) for student in table.students]
    headers = ["method"]
    for student, has in zip(table.students, compared, strict=True):
        headers += [plain(student), f"Δ random ({plain(student)})"] if apart and has else [plain(student)]
    rows = [_row(table, row, (apart, compared), marks) for row in table.rows]
    return Grid((*headers, "n", "bytes", "seconds"), tuple(rows))


def has_difference(row: Row, student: str) -> bool:
    """Return whether a row's cell is compared with the control."""
    result = row.results.get(student)
    return result is not None and result.difference is not None


def _row(table: Table, row: Row, layout: tuple[bool, Sequence[bool]], marks: Marks) -> tuple[str, ...]:
    apart, compared = layout
    cells = [plain(row.label)]
    for student, has in zip(table.students, compared, strict=True):
        result = row.results.get(student)
        text = score(table, result, marks)
        difference = result.difference if result else None
        against = change(table, difference, marks) if difference else ""
        if apart:
            cells += [text, against] if has else [text]
        else:
            cells.append(f"{text}\n{against}" if against else text)
    return (*cells, counts(row), bytes_text(row.bytes), seconds_text(row.seconds.get("recover")))


def score(table: Table, result: Result | None, marks: Marks) -> str:
    """Return `45.3 ± 1.2`, marked where it needs a note."""
    if result is None:
        return NOT_MEASURED
    text = number(table, result.estimate.value)
    if result.estimate.half_width is not None:
        text += f"{marks.plus_minus}{number(table, result.estimate.half_width)}"
        text += marks.one_set if result.estimate.given_one_set else ""
    return text + (marks.same if result.same_architecture else "")


def change(table: Table, difference: Difference, marks: Marks) -> str:
    """Return `+3.1 [+0.4, +5.8] ▲`; without interval where there is none."""
    if difference.value is None:
        return NOT_MEASURED
    text = number(table, difference.value, sign=True)
    if difference.interval is not None:
        low, high = difference.interval
        text += f" [{number(table, low, sign=True)}, {number(table, high, sign=True)}]"
    return text + {1: marks.better, -1: marks.worse, 0: ""}[table.better(difference)]


def number(table: Table, value: float, *, sign: bool = False) -> str:
    """Return a fraction as percent with one decimal, any other unit with four digits."""
    plus = "+" if sign else ""
    return f"{100 * value:{plus}.1f}" if table.unit == "fraction" else f"{value:{plus}.4g}"


def counts(row: Row) -> str:
    """Return `3 × 5` for three distilled sets with five students each; each different count of the row once."""
    found = []
    for result in row.results.values():
        per_set = sorted({len(seeds) for seeds in result.scores.values()})
        found.append(f"{result.estimate.sets} × {'–'.join(str(count) for count in per_set)}")
    return ", ".join(dict.fromkeys(found))


def bytes_text(size: float | None) -> str:
    """Return a size with a decimal prefix: `15.4 MB`."""
    if size is None:
        return NOT_MEASURED
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size:.0f} B"


def seconds_text(seconds: float | None) -> str:
    """Return seconds, with one decimal below a hundred."""
    if seconds is None:
        return NOT_MEASURED
    return f"{seconds:.1f}" if seconds < 100 else f"{seconds:.0f}"


def plain(text: str) -> str:
    """Return text on one line without control characters: names come from plugins and from other people's records."""
    spaced = " ".join(text.split())
    return "".join(char for char in spaced if unicodedata.category(char)[0] != "C")
