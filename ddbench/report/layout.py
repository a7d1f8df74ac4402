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

LONGEST = 2000
"""Characters of a line that is shown; what is longer is cut."""

LONGEST_NAME = 200
"""Of a name in a table."""

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
    if table.averaged:
        columns.append(_Column(table, None, apart))
    costs = any(row.bytes is not None for row in table.rows)  # one ipc and dataset: what a set costs can be said
    headers = [
        "method",
        *(header for column in columns for header in column.headers),
        "n",
        *(["bytes", "seconds"] if costs else []),
    ]
    rows = []
    for row in table.rows:
        cost = (bytes_text(row.bytes), seconds_text(row.seconds.get("recover"))) if costs else ()
        rows.append(
            (plain(row.label, LONGEST_NAME), *(text for column in columns for text in column.texts(row, marks)), counts(row), *cost)
        )
    return Grid(tuple(headers), tuple(rows))


@dataclass(frozen=True)
class _Column:
    """A column of results: their score, and what is said of the score, beside or below it."""

    table: Table
    name: str | None
    """None for the average."""
    apart: bool

    @property
    def headers(self) -> list[str]:
        """One header per column of the grid; a table of one column need not repeat its name."""
        title = f"mean of {len(self.table.averaged)}" if self.name is None else plain(self.name, LONGEST_NAME)
        found = [title]
        if self.apart and self._compared:
            found.append(f"Δ random ({title})")
        rank = "rank" if len(self.table.students) == 1 else f"rank ({title})"
        return [*found, rank] if self.apart and self._ranked else found

    def texts(self, row: Row, marks: Marks) -> list[str]:
        """One text per header."""
        result = self._result(row)
        found = [score(self.table, result, marks)]
        if self._compared:
            found.append(change(self.table, result.difference, marks) if result and result.difference else "")
        if self._ranked:
            rank = result.place.text if result else ""
            found.append(rank if self.apart or not rank else f"rank {rank}")
        return found if self.apart else ["\n".join(text for text in found if text)]

    def _result(self, row: Row) -> Result | None:
        return row.average if self.name is None else row.results.get(self.name)

    @property
    def _compared(self) -> bool:
        return any(result is not None and result.difference is not None for result in map(self._result, self.table.rows))

    @property
    def _ranked(self) -> bool:
        return any(result is not None and result.rank is not None for result in map(self._result, self.table.rows))


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
    mark = {1: marks.better, -1: marks.worse, 0: ""}[table.better(difference)]
    return between(table, difference) + ("" if difference.value is None else mark)


def between(table: Table, difference: Difference) -> str:
    """Return `+3.1 [+0.4, +5.8]`, without a verdict."""
    if difference.value is None:
        return NOT_MEASURED
    text = number(table, difference.value, sign=True)
    if difference.interval is not None:
        low, high = difference.interval
        text += f" [{number(table, low, sign=True)}, {number(table, high, sign=True)}]"
    return text


def number(table: Table, value: float, *, sign: bool = False) -> str:
    """Return a fraction as percent with one decimal, any other unit with four digits."""
    plus = "+" if sign else ""
    text = f"{100 * value:{plus}.1f}" if table.unit == "fraction" else f"{value:{plus}.4g}"
    return text if float(text) else text.replace("-", "+" if sign else "")  # never -0.0


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


def plain(text: str, most: int = LONGEST) -> str:
    """Return text on one line without control characters, cut where it is too long: names come from plugins and other people."""
    spaced = " ".join(text[: 2 * most].split())
    clean = "".join(char for char in spaced if unicodedata.category(char)[0] != "C")
    return clean if len(clean) <= most and len(text) <= 2 * most else f"{clean[: most - 1]}…"
