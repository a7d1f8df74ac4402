"""A table as a grid of texts, before any format: percent, one decimal, marks explained by the table's notes."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddbench.report.columns import Result
    from ddbench.report.statistics import Difference
    from ddbench.report.tables import Row, Table

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
    columns = [_Column(table, student, apart) for student in table.students]
    headers = ["method", *(header for column in columns for header in column.headers), "n", "bytes", "seconds"]
    rows = [
        (
            plain(row.label),
            *(text for column in columns for text in column.texts(row, marks)),
            counts(row),
            bytes_text(row.bytes),
            seconds_text(row.seconds.get("recover")),
        )
        for row in table.rows
    ]
    return Grid(tuple(headers), tuple(rows))


def has_difference(row: Row, student: str) -> bool:
    """Return whether a row's cell is compared with the control."""
    result = row.results.get(student)
    return result is not None and result.difference is not None


def is_ranked(row: Row, student: str) -> bool:
    """Return whether a row has a rank in a student's column."""
    result = row.results.get(student)
    return result is not None and result.rank is not None


@dataclass(frozen=True)
class _Column:
    """A student's column: its score, and what is said of the score, beside or below it."""

    table: Table
    student: str
    apart: bool

    @property
    def headers(self) -> list[str]:
        """One header per column of the grid; a table of one student need not repeat its name."""
        of = "" if len(self.table.students) == 1 else f" ({plain(self.student)})"
        found = [plain(self.student)]
        if self.apart and self._compared:
            found.append(f"Δ random ({plain(self.student)})")
        return [*found, f"rank{of}"] if self.apart and self._ranked else found

    def texts(self, row: Row, marks: Marks) -> list[str]:
        """One text per header."""
        result = row.results.get(self.student)
        found = [score(self.table, result, marks)]
        if self._compared:
            found.append(change(self.table, result.difference, marks) if result and result.difference else "")
        if self._ranked:
            rank = result.place.text if result else ""
            found.append(rank if self.apart or not rank else f"rank {rank}")
        return found if self.apart else ["\n".join(text for text in found if text)]

    @property
    def _compared(self) -> bool:
        return any(has_difference(row, self.student) for row in self.table.rows)

    @property
    def _ranked(self) -> bool:
        return any(is_ranked(row, self.student) for row in self.table.rows)


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
