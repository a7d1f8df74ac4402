"""The same results along another axis: columns of ipc or of datasets, for one student, under one protocol."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from ddbench.report import grouping
from ddbench.report.notes import average_notes, of_rows
from ddbench.report.tables import Network, Row, Table, ordered_rows

if TYPE_CHECKING:
    from ddbench.report.columns import Result
    from ddbench.report.grouping import Heading, Variant

Axis = Literal["student", "ipc", "dataset"]

Cell = tuple[Table, str]
"""A table with one of its students: what becomes a column."""


def along(tables: Sequence[Table], axis: Axis) -> list[Table]:
    """Return tables whose columns are students (as given), ipcs, or datasets.

    What is no column stays in the title: nothing but the axis differs between the columns of a table. Two protocols, label
    regimes or numerics versions never share one; along datasets, each column has its own dataset, resolution and teacher.
    """
    if axis == "student":
        return list(tables)
    groups: dict[Heading, dict[Network, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for table in tables:
        for student in table.students:
            groups[_kept(table, axis)][_network(table, student, axis)].append((table, student))
    return [
        made
        for _, by_network in sorted(groups.items(), key=lambda group: group[0])
        for made in sorted(_tables(by_network, axis), key=lambda table: table.title)
    ]


def _tables(by_network: Mapping[Network, Sequence[Cell]], axis: Axis) -> Iterator[Table]:
    names = grouping.column_titles({network: network.name for network in by_network})
    for network, cells in by_network.items():
        yield _table(cells, names[network], axis)


def _kept(table: Table, axis: Axis) -> Heading:
    """Return what all columns of a table share."""
    heading = replace(table.heading, evaluator=table.evaluator)
    if axis == "ipc":
        return replace(heading, ipc=0)
    return replace(heading, dataset="", num_classes=0, shape=(0, 0, 0), teacher_key="", dataset_sha256="", classes_sha256="")


def _network(table: Table, student: str, axis: Axis) -> Network:
    """Return which student a column is of; along datasets it is fitted to each, and several fittings to one are told by number."""
    network = table.networks[student]
    if axis == "ipc":
        return network
    fittings = [own for own in table.networks.values() if own.name == network.name]
    return Network(network.name, str(fittings.index(network)))


def _table(cells: Sequence[Cell], student: str, axis: Axis) -> Table:
    cells = sorted(cells, key=lambda cell: (cell[0].heading.ipc, cell[0].title))
    names = _names([table.heading for table, _ in cells], axis)
    columns = dict(zip(names, cells, strict=True))
    first = cells[0][0]
    results = {name: _column(cell) for name, cell in columns.items()}
    labels = _labels(table for table, _ in cells)
    bare = [
        Row(label, variant, mine, None, {})  # costs are of one table
        for variant, label in sorted(labels.items(), key=lambda item: item[1])
        if (mine := {name: found[variant] for name, found in results.items() if variant in found})
    ]
    controls = {table.control for table, _ in cells}
    control = next(iter(controls)) if len(controls) == 1 else None  # columns that have several are averaged without a comparison
    rows, averaged = ordered_rows(bare, results, control, higher_is_better=first.higher_is_better, smoke=first.heading.smoke)
    return replace(
        first,
        title=_title(first.heading, student, axis),
        students=tuple(names),
        rows=rows,
        notes=_notes([table for table, _ in cells], rows, averaged),
        averaged=averaged,
        origins={name: (table.heading, own) for name, (table, own) in columns.items()},
        control=control,
        networks={name: table.networks[own] for name, (table, own) in columns.items()},
    )


def _names(headings: Sequence[Heading], axis: Axis) -> list[str]:
    if axis == "ipc":
        return [f"ipc {heading.ipc}" for heading in headings]
    names = [heading.dataset for heading in headings]
    return [
        name if names.count(name) == 1 else f"{name} ({heading.dataset_sha256[:8]} {heading.teacher_key[:8]})".replace(" )", ")")
        for name, heading in zip(names, headings, strict=True)
    ]


def _column(cell: Cell) -> dict[Variant, Result]:
    table, student = cell
    return {row.variant: row.results[student] for row in table.rows if student in row.results}


def _labels(tables: Iterable[Table]) -> dict[Variant, str]:
    """Return a label per row of any of the tables, with every option that one of them shows."""
    shown: dict[str, set[str]] = defaultdict(set)
    variants: set[Variant] = set()
    named: dict[Variant, str] = {}
    for table in tables:
        variants |= {row.variant for row in table.rows}
        named |= table.named
        for name, options in table.asked.items():
            shown[name] |= options
    return grouping.labels(variants, shown, named)


def _title(heading: Heading, student: str, axis: Axis) -> str:
    parts = {"ipc": [heading.dataset, f"{heading.num_classes} classes"], "dataset": [f"ipc {heading.ipc}"]}[axis]
    smoke = ["SMOKE: shortened training"] if heading.smoke else []
    return " · ".join([*parts, heading.protocol, heading.label_regime, f"student {student}", f"by {axis}", *smoke])


def _notes(tables: Sequence[Table], rows: Sequence[Row], averaged: Sequence[str]) -> tuple[str, ...]:
    """Return what the columns' own tables say, once each, less what is only true of one of them, and how these rows are read."""
    of_one = {note for table in tables for note in of_rows(table.rows)}
    every = dict.fromkeys(note for table in tables for note in table.notes if note not in of_one)
    own = [note for note in every if not note.startswith(("n: ", "mean of ", "No mean: ", "Mean not ranked: "))]
    if len({table.control for table in tables}) > 1:
        own.append("The columns have different versions of random: their mean is compared with none.")
    return (*own, *of_rows(rows), *average_notes(rows, averaged), "n: distilled sets × students of each.")
