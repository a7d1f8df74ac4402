"""The board: lines in rankings. A ranking is one dataset, ipc, protocol, label regime, student and teacher; nothing crosses it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from ddbench.provenance import LEVELS
from ddbench.records import canonical
from ddbench.report import grouping
from ddbench.report.sidecars import Sidecars
from ddbench.report.site.admission import METRIC, Admitted, Entry, LeftOut
from ddbench.report.tables import summary, total_bytes

if TYPE_CHECKING:
    from ddbench.provenance import Level
    from ddbench.records import Record
    from ddbench.report.columns import Result
    from ddbench.report.grouping import Code, Heading
    from ddbench.report.tables import Row, Table

ID_LENGTH = 16


@dataclass(frozen=True)
class Line:
    """A method as it was configured, under one ranking's conditions."""

    id: str
    """Hash of what makes the line: it stays when records are added."""
    label: str
    row: Row
    result: Result
    entries: tuple[Entry, ...]
    """Its records, by distill seed and eval seed."""

    @property
    def method(self) -> str:
        return self.row.variant.synthesizer

    @property
    def first(self) -> Record:
        return self.entries[0].record

    @property
    def level(self) -> Level:
        """The lowest of its records' levels."""
        return min((entry.standing.level for entry in self.entries), key=LEVELS.index)

    @property
    def bytes(self) -> float:
        return fmean(total_bytes(entry.record) for entry in self.entries)


@dataclass(frozen=True)
class Ranking:
    """Lines that may be compared: one table's column."""

    id: str
    table: Table
    student: str
    """As the table's column says it."""
    lines: tuple[Line, ...]

    @property
    def heading(self) -> Heading:
        return self.table.heading

    @property
    def title(self) -> str:
        return f"{self.table.title} · {self.student}"

    @property
    def ranked(self) -> int:
        """How many lines have a rank."""
        return sum(line.result.rank is not None for line in self.lines)

    @property
    def control(self) -> float | None:
        """The mean of random, as a fraction; None where it was not measured."""
        return next((line.result.estimate.value for line in self.lines if line.row.control), None)


@dataclass(frozen=True)
class Board:
    """Everything the site shows."""

    rankings: tuple[Ranking, ...]
    left_out: tuple[LeftOut, ...]
    records: int
    """How many stand behind the lines."""

    @property
    def lines(self) -> Iterable[tuple[Ranking, Line]]:
        return ((ranking, line) for ranking in self.rankings for line in ranking.lines)


def board(admitted: Admitted, code: Code = "newest") -> Board:
    """Return the board of what was admitted; records that a newer one stands in for join what was left out."""
    records = [entry.record for entry in admitted.entries]
    kept, _ = grouping.newest_code(records, code)
    by_key = {entry.record.key: entry for entry in admitted.entries}
    sidecars = Sidecars({key: entry.path.with_suffix(".npz") for key, entry in by_key.items()})
    rows = "any" if code == "newest" else code  # the newest were chosen above
    tables = summary(kept, metric=METRIC, code=rows, sidecars=sidecars)
    rankings = [ranking for table in tables for ranking in _rankings(table, by_key)]
    used = {entry.record.key for ranking in rankings for line in ranking.lines for entry in line.entries}
    of_this_code = {record.key for record in kept}
    unused = [
        _unused(entry, "superseded" if key in of_this_code else "older code") for key, entry in by_key.items() if key not in used
    ]
    left_out = sorted([*admitted.left_out, *unused], key=lambda one: (one.name, one.why))
    return Board(tuple(rankings), tuple(left_out), len(used))


def _rankings(table: Table, by_key: dict[str, Entry]) -> Iterable[Ranking]:
    """Give a ranking for every student of a table, by name: the order of records is no order."""
    for student in sorted(table.students):
        lines = [_line(table, row, student, by_key) for row in table.rows if student in row.results]
        ordered = tuple(sorted(lines, key=_order))
        column = grouping.column_of(ordered[0].first)
        yield Ranking(_id(_conditions(table.heading), column), table, student, ordered)


def _line(table: Table, row: Row, student: str, by_key: dict[str, Entry]) -> Line:
    result = row.results[student]
    entries = [by_key[key] for key in result.keys]
    entries.sort(key=lambda entry: (entry.record.cell.distill_seed, entry.record.cell.eval_seed, entry.record.key))
    variant = [row.variant.synthesizer, *row.variant.settings]
    return Line(
        _id(_conditions(table.heading), grouping.column_of(entries[0].record), variant), row.label, row, result, tuple(entries)
    )


def _order(line: Line) -> tuple[bool, int, str, str]:
    """Return the order of a ranking: tie groups, inside each by name; lines without a rank last."""
    return (line.result.rank is None, line.result.tie_group or 0, line.label, line.id)


def _unused(entry: Entry, reason: Literal["superseded", "older code"]) -> LeftOut:
    name = f"{entry.path.parent.name}/{entry.path.name}"
    if reason == "older code":
        made_by = entry.record.cell.synthesizer
        why = f"{name} was made by other files of {made_by}, or of what it works with, than its newest record"
    else:
        why = f"{name} has another record of the same row and seeds in its place"
    return LeftOut(name, reason, why)


def _conditions(heading: Heading) -> dict[str, object]:
    """Return what a ranking's conditions are; the form in which records are kept is none of them."""
    return {name: value for name, value in asdict(heading).items() if name != "schema_version"}


def _id(*parts: object) -> str:
    return hashlib.sha256(canonical(parts)).hexdigest()[:ID_LENGTH]


def by_method(rankings: Sequence[Ranking]) -> dict[str, list[tuple[Ranking, Line]]]:
    """Return every line by method, methods and rankings in order."""
    found: dict[str, list[tuple[Ranking, Line]]] = defaultdict(list)
    for ranking in rankings:
        for line in ranking.lines:
            found[line.method].append((ranking, line))
    return {name: found[name] for name in sorted(found)}
