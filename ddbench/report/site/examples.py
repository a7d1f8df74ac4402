"""The row that a method's page shows from close up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddbench.report.site import pictures

if TYPE_CHECKING:
    from ddbench.report.site.board import Line, Ranking


@dataclass(frozen=True)
class Example:
    """One of a method's lines, with its pictures."""

    ranking: Ranking
    line: Line
    pictures: tuple[pictures.Picture, ...]
    why: str
    """How it was chosen; ends a sentence that begins with "This is"."""


def example(lines: Sequence[tuple[Ranking, Line]]) -> Example:
    """Return a method's example: the line with the largest difference to random among those with a picture, else among all.

    Lines without a difference come after those with one, and equals in the site's order. Scores take no part in it: those of two
    rankings can't be compared.
    """
    ordered = sorted(lines, key=_difference, reverse=True)
    found = ((one, pictures.beside(one[1].entries)) for one in ordered)
    (ranking, line), shown = next((one for one in found if one[1]), (ordered[0], []))
    return Example(ranking, line, tuple(shown), _why(line, len(lines), pictured=bool(shown)))


def _difference(one: tuple[Ranking, Line]) -> float:
    difference = one[1].result.difference
    return -float("inf") if difference is None or difference.value is None else difference.value


def _why(line: Line, count: int, *, pictured: bool) -> str:
    if count == 1:
        return "the only row"
    among = " among those with a picture" if pictured else ""
    return f"the first row{among}" if line.result.difference is None else f"the row with the largest difference to random{among}"
