"""A sheet: whatever is shown as a grid with a title and notes, in every format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddbench.report.layout import Grid, Marks, grid

if TYPE_CHECKING:
    from ddbench.report.tables import Table


GAP = 3
"""Characters between two columns on a terminal."""


@dataclass(frozen=True)
class Sheet:
    """Texts for people, and the same as rows of numbers."""

    title: str
    wide: Callable[[Marks], Grid]
    """As it is shown where there is room."""
    narrow: Callable[[Marks], Grid]
    usual: Callable[[Marks], Grid]
    """As Markdown has it, which knows no width."""
    notes: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    """Long form, fractions as fractions."""
    head: Mapping[str, Any]
    """What JSON says beside rows and notes."""


def plain_sheet(title: str, shown: Grid, notes: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Sheet:
    """Return a sheet that looks the same everywhere; its texts have no marks."""
    return Sheet(title, lambda _: shown, lambda _: shown, lambda _: shown, tuple(notes), tuple(rows), {"title": title})


def sheet_of(table: Table, rows: Sequence[Mapping[str, Any]], head: Mapping[str, Any]) -> Sheet:
    """Return a table as a sheet."""
    return Sheet(
        f"{table.title}{draws(table)}",
        lambda marks: grid(table, marks, apart=True),
        lambda marks: grid(table, marks, apart=False),
        lambda marks: grid(table, marks),
        table.notes,
        tuple(rows),
        head,
    )


def draws(table: Table) -> str:
    """Return how often random was drawn and trained on, where all columns agree: ` · 3 draws × 3 students each`."""
    counts = {
        (result.estimate.sets, tuple(sorted({len(seeds) for seeds in result.scores.values()})))
        for row in table.rows
        for result in row.results.values()
        if row.control
    }
    if len(counts) != 1:
        return ""
    number, per_draw = counts.pop()
    students = "–".join(str(count) for count in per_draw)
    return f" · random: {number} draw{'s' * (number != 1)} × {students} student{'s' * (students != '1')} each"


def pieces(shown: Grid, width: int) -> list[Grid]:
    """Return a grid as grids that are no wider than a number of characters where that can be, each with the first column."""
    needed = [_width(shown, column) + GAP for column in range(len(shown.headers))]
    found: list[list[int]] = []
    room = 0
    for column in range(1, len(needed)):
        if not found or needed[column] > room:
            found.append([0])
            room = width + 1 - needed[0]
        found[-1].append(column)
        room -= needed[column]
    return [
        Grid(
            tuple(shown.headers[column] for column in chosen), tuple(tuple(row[column] for column in chosen) for row in shown.rows)
        )
        for chosen in found or [[0]]
    ]


def fits(shown: Grid, width: int) -> bool:
    """Return whether a grid is no wider than a number of characters."""
    return sum(_width(shown, column) + GAP for column in range(len(shown.headers))) <= width + 1


def _width(shown: Grid, column: int) -> int:
    """Return a column's width: of its longest line, its header wrapped at spaces."""
    words = shown.headers[column].split() or [""]
    lines = [line for row in shown.rows for line in row[column].split("\n")]
    return max(len(text) for text in (*words, *lines))
