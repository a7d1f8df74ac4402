"""How far a table's rows can be trusted: the lowest provenance level of the records that a row is made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ddbench.provenance import LEVELS, UNCHECKED
from ddbench.report import grouping

if TYPE_CHECKING:
    from ddbench.provenance import Level
    from ddbench.records import Record
    from ddbench.report.grouping import Code, Variant
    from ddbench.report.tables import Table

MEANING: Mapping[Level, str] = {
    "claimed": "somebody states it",
    "submitted": "nobody has trained its students again",
    "verified": "students were trained again and agree",
    "reproduced": "the sets were distilled again too and agree",
}


def with_levels(table: Table, records: Sequence[Record], code: Code, levels: Mapping[str, Level]) -> Table:
    """Return a table whose rows have the lowest level of their records, with a sentence that says so.

    Args:
        table: Of some of the records.
        records: Those that tables were made of.
        code: As of `summary`.
        levels: By record key.
    """
    found: dict[Variant, list[Level]] = defaultdict(list)
    for record in (one for one in records if grouping.heading_of(one) == table.heading):
        found[grouping.variant_of(record, code)].append(levels.get(record.key, UNCHECKED))
    lowest = {variant: min(mine, key=LEVELS.index) for variant, mine in found.items()}
    rows = tuple(replace(row, level=lowest[row.variant]) for row in table.rows)
    by_level = {level: [row.label for row in rows if row.level == level] for level in reversed(LEVELS)}
    return replace(table, rows=rows, notes=(*table.notes, "; ".join(_told(by_level)) + "."))


def _told(by_level: Mapping[Level, Sequence[str]]) -> Iterator[str]:
    """Give a phrase for each level that a row has, the highest first."""
    having = {level: ", ".join(labels) for level, labels in by_level.items() if labels}
    last = next(reversed(having))
    having[last] = "every row" if len(having) == 1 else "the others"
    for level, who in having.items():
        yield f"{'' if level != next(iter(having)) else 'level: '}{level}: {who} ({MEANING[level]})"
