"""How far a table's rows can be trusted: the lowest provenance level of the records that a row is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ddbench.provenance import LEVELS, UNCHECKED

if TYPE_CHECKING:
    from ddbench.provenance import Level
    from ddbench.report.tables import Row, Table

MEANING: Mapping[Level, str] = {
    "claimed": "somebody states it",
    "submitted": "nobody has trained its students again",
    "verified": "students were trained again and agree",
    "reproduced": "the sets were distilled again too and agree",
}


def with_levels(table: Table, levels: Mapping[str, Level]) -> Table:
    """Return a table whose rows have the lowest level of the records that they are made of, with a sentence that says so.

    Args:
        table: Along any axis.
        levels: By record key.
    """
    rows = tuple(replace(row, level=_lowest(row, levels)) for row in table.rows)
    by_level = {level: [row.label for row in rows if row.level == level] for level in reversed(LEVELS)}
    return replace(table, rows=rows, notes=(*table.notes, "; ".join(_told(by_level)) + "."))


def _lowest(row: Row, levels: Mapping[str, Level]) -> Level:
    found = (levels.get(key, UNCHECKED) for result in row.results.values() for key in result.keys)
    return min(found, key=LEVELS.index)


def _told(by_level: Mapping[Level, Sequence[str]]) -> Iterator[str]:
    """Give a phrase for each level that a row has, the highest first."""
    having = {level: ", ".join(labels) for level, labels in by_level.items() if labels}
    last = next(reversed(having))
    having[last] = "every row" if len(having) == 1 else "the others"
    for level, who in having.items():
        yield f"{'' if level != next(iter(having)) else 'level: '}{level}: {who} ({MEANING[level]})"
