"""Every pair of a column's ranked methods: how far apart they are, and whether that can be told among so many pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.report.comparisons import adjusted
from ddbench.report.grouping import CEILING, heading_json
from ddbench.report.layout import LONGEST_NAME, Grid, Marks, between, plain
from ddbench.report.ranking import compared, distinct, ranked_seeds
from ddbench.report.sheets import plain_sheet
from ddbench.report.spread import LEVEL
from ddbench.report.statistics import Difference, paired_difference
from ddbench.report.tables import AVERAGE

if TYPE_CHECKING:
    from ddbench.report.columns import Result
    from ddbench.report.hits import Hits
    from ddbench.report.sheets import Sheet
    from ddbench.report.tables import Row, Table

HEADERS = ("column", "first", "second", "first - second", "p (Holm)", "told apart")

NOTES = (
    "first - second: paired over the eval seeds that both have, with its 95 % interval by itself; the better method comes first.",
    "p (Holm): of the comparison that ranks are made of, adjusted for all its pairs (Holm 1979). Told apart: at most 0.05.",
    "An interval may leave out 0 where a pair is not told apart among so many; never the other way round.",
    "Rows without a rank are in no pair; of rows that are the same sets with the same scores, only the first is.",
)

ONE_SET = Marks().one_set

OF_ONE_SET = (
    f"{ONE_SET} given one distilled set: neither the interval nor p knows how another set of that method would do; a small p is "
    "about these sets alone."
)


@dataclass(frozen=True)
class Pair:
    """Two ranked methods of a column, the better first."""

    column: str
    """A student, or the average over students."""
    first: Row
    second: Row
    difference: Difference
    p: float
    """Adjusted for all pairs of the column."""

    @property
    def apart(self) -> bool:
        return self.p <= 1 - LEVEL


def pair_sheets(tables: Sequence[Table]) -> list[Sheet]:
    """Return a sheet for every table of which some column ranks two methods."""
    return [_sheet(table, found) for table in tables if (found := pairs(table))]


def pairs(table: Table) -> list[Pair]:
    """Return every pair of ranked methods, column by column, those furthest apart first; none of shortened trainings."""
    columns = [*table.students, *([AVERAGE] if table.averaged else [])]
    return [pair for column in columns for pair in sorted(_of_column(table, column), key=lambda pair: (pair.p, -_size(pair)))]


def _of_column(table: Table, column: str) -> Iterator[Pair]:
    """Give the pairs of a column's methods that have a rank, compared as they were for it."""
    rivals = [(row, result) for row in table.rows if row.variant.synthesizer != CEILING and (result := _result(row, column))]
    ranked = [one for one in rivals if one[1].place.rank is not None]
    if len(ranked) < 2:
        return
    known = {row.variant: result.scores for row, result in rivals}
    seeds = ranked_seeds(known, table.control if table.control in known else None)
    first_of = distinct({number: result.scores for number, (_, result) in enumerate(ranked)}, seeds)
    ranked = [ranked[number] for number in dict.fromkeys(first_of.values())]
    hits = _hits(rivals, ranked)
    scores = {number: result.scores for number, (_, result) in enumerate(ranked)}
    means, p = compared(scores, seeds, hits)
    upper = np.triu_indices(len(ranked), 1)
    for one, two, own in zip(*upper, adjusted(p[upper]), strict=True):
        better = (one, two) if (means[one] >= means[two]) == table.higher_is_better else (two, one)
        first, second = (int(place) for place in better)
        both = (hits[first], hits[second]) if hits else None
        found = paired_difference(scores[first], scores[second], both)
        yield Pair(column, ranked[first][0], ranked[second][0], found, float(own))


def _result(row: Row, column: str) -> Result | None:
    return row.average if column == AVERAGE else row.results.get(column)


def _hits(rivals: Sequence[tuple[Row, Result]], ranked: Sequence[tuple[Row, Result]]) -> dict[int, Hits] | None:
    """Return which test images the ranked methods got right, by number; None unless all rivals' are known, as for ranks."""
    if any(result.hits is None for _, result in rivals):
        return None
    return {number: result.hits for number, (_, result) in enumerate(ranked) if result.hits is not None}


def _size(pair: Pair) -> float:
    return abs(pair.difference.value or 0.0)


def _sheet(table: Table, found: Sequence[Pair]) -> Sheet:
    title = f"{table.title} · all pairs"
    grid = Grid(HEADERS, tuple(_texts(table, pair) for pair in found))
    given = [OF_ONE_SET] if any(1 in _sets(pair) for pair in found) else []
    sheet = plain_sheet(title, grid, [*NOTES, *given, table.notes[0]], [_numbers(table, pair) for pair in found])
    return replace(sheet, head={"title": title, "view": "pairs"})


def _texts(table: Table, pair: Pair) -> tuple[str, ...]:
    rows = zip((pair.first, pair.second), _sets(pair), strict=True)
    names = (plain(row.label, LONGEST_NAME) + (ONE_SET if sets == 1 else "") for row, sets in rows)
    return (plain(_name(table, pair)), *names, between(table, pair.difference), f"{pair.p:.3g}", "yes" if pair.apart else "no")


def _sets(pair: Pair) -> tuple[int, ...]:
    """Return how many distilled sets of each method were compared."""
    found = (_result(row, pair.column) for row in (pair.first, pair.second))
    return tuple(result.estimate.sets for result in found if result is not None)


def _name(table: Table, pair: Pair) -> str:
    return f"mean of {len(table.averaged)}" if pair.column == AVERAGE else pair.column


def _numbers(table: Table, pair: Pair) -> dict[str, Any]:
    low, high = pair.difference.interval or (None, None)
    return {
        **{
            name: value
            for name, value in heading_json(table.heading).items()
            if name in {"dataset", "ipc", "protocol", "label_regime"}
        },
        "column": _name(table, pair),
        "first": pair.first.label,
        "second": pair.second.label,
        "first_sets": _sets(pair)[0],
        "second_sets": _sets(pair)[1],
        "unit": table.unit,
        "difference": pair.difference.value,
        "difference_low": low,
        "difference_high": high,
        "p_holm": pair.p,
        "told_apart": pair.apart,
    }
