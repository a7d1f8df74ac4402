"""Tables from records: methods × students, each cell with its interval and its difference to the random control."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from ddbench.reading import no_search_for_cycles
from ddbench.report import grouping, notes
from ddbench.report.averages import Columns, averaged_columns, averages
from ddbench.report.columns import Result, column
from ddbench.report.grouping import CONTROL, Code, Heading, Variant
from ddbench.report.statistics import Difference

if TYPE_CHECKING:
    import pandas as pd

    from ddbench.provenance import Level
    from ddbench.records import MetricBlock, Record
    from ddbench.report.sidecars import Sidecars


AVERAGE = "mean"
"""The name of the average where a student's would stand."""


class Network(NamedTuple):
    """A student that is fitted to images and classes."""

    name: str
    """Its full name."""
    fitted: str
    """What tells it from others of that name, as text."""


@dataclass(frozen=True)
class Row:
    """One method as it was configured."""

    label: str
    variant: Variant
    results: dict[str, Result]
    """By column; a column that is missing here was not measured."""
    bytes: float | None
    """What the set takes, labels included, as the `storage` evaluator counts it, else what is on disk."""
    seconds: dict[str, float]
    """By stage: mean over the records' stages, each as measured when it ran."""
    average: Result | None = None
    """Over the table's `averaged` columns; None where one of them was not measured, or there are none."""
    level: Level | None = None
    """The lowest of its records' provenance levels; None where they were not asked about."""
    altered: tuple[str, ...] = ()
    """Options, of its teacher too, that were set by hand or by `--preset cpu`: its recipe is no paper's."""

    @property
    def control(self) -> bool:
        return self.variant.synthesizer == CONTROL


@dataclass(frozen=True)
class Table:
    """Records of one dataset, ipc, protocol, label regime and resolution."""

    heading: Heading
    title: str
    metric: str
    unit: str
    higher_is_better: bool
    students: tuple[str, ...]
    """Its columns, by the names they are shown under."""
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """Printed under the table: the protocol, the teacher, how intervals and differences are made."""
    protocol: Mapping[str, Any]
    """The recipe of all its students."""
    asked: Mapping[str, set[str]]
    """By synthesizer, the options that labels show because somebody set them by hand."""
    named: Mapping[Variant, str] = field(default_factory=dict)
    """What a suite calls some of its rows, instead of a label made of options."""
    averaged: tuple[str, ...] = ()
    """The columns that rows are averaged over; none where there are not two to take."""
    origins: Mapping[str, tuple[Heading, str]] = field(default_factory=dict)
    """By column, its heading and student, where the columns are no students (`axes.along`)."""
    control: Variant | None = None
    """The row that others are compared with; of several versions of the control, the one that was taken."""
    networks: Mapping[str, Network] = field(default_factory=dict)
    """By column, its student."""
    evaluator: str = ""
    """What made the metric, as `Heading.evaluator` has it."""

    def column_like(self, network: Network) -> str | None:
        """Return the column of a student, whatever it is called here."""
        return next((name for name, own in self.networks.items() if own == network), None)

    def better(self, difference: Difference) -> int:
        """Return 1 where the interval says better than random, -1 where it says worse, 0 where it does not say."""
        if self.heading.smoke:
            return 0  # students of a shortened training are near chance
        return difference.verdict if self.higher_is_better else -difference.verdict


@no_search_for_cycles()
def summary(
    records: Iterable[Record],
    *,
    metric: str = "top1",
    code: Code = "newest",
    sidecars: Sidecars | None = None,
    names: Mapping[str, str] | None = None,
) -> list[Table]:
    """Return one table for every dataset, ipc, protocol, label regime and resolution among the records.

    Records of different protocols, label regimes, resolutions, answering teachers, numerics or schema versions, and metrics made
    with other options of their evaluator, never share a table, and so never a column. Rows: as in `ordered_rows`; variants of a
    synthesizer are told apart by the options that differ, or by what a suite calls them (`names`, by record key). Columns: in the
    order in which the records name their students.
    Records without the metric are left out. With sidecars that say which test images were named right, differences and ranks count
    the images as a sample.
    """
    by_heading: dict[Heading, list[Record]] = defaultdict(list)
    for record in records:
        if grouping.has_metric(record, metric):
            by_heading[grouping.heading_for(record, metric)].append(record)
    titles = grouping.titles(by_heading)
    every = (record for group in by_heading.values() for record in group)
    named = grouping.named({record.key: grouping.variant_of(record, code) for record in every}, names) if names else {}
    return [_table(titles[heading], by_heading[heading], (metric, code), sidecars, named) for heading in sorted(by_heading)]


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per record, numbers as the record holds them.

    Columns: the cell's coordinates, checksums and versions, one per metric, `seconds.<stage>`, `peak_bytes.<stage>`,
    `bytes.<part>`, `option.<name>` of the synthesizer.
    """
    import pandas as pd

    return pd.DataFrame([_long_row(record) for record in records])


def table_frame(tables: Iterable[Table]) -> pd.DataFrame:
    """Return one row per method and student of all tables; means, intervals and differences as fractions."""
    import pandas as pd

    return pd.DataFrame([row for table in tables for row in flat_rows(table)])


def flat_rows(table: Table) -> list[dict[str, Any]]:
    """Return a table in long form: one dict per method and student, numbers in the metric's own unit."""
    return [
        {**_coordinates(table, column), "method": row.label, **_of_column(table, row, column), **_costs(row)}
        for row in table.rows
        for column in [*table.students, *([AVERAGE] if table.averaged else [])]
        if _result(row, column) is not None
    ]


def _result(row: Row, column: str) -> Result | None:
    return row.average if column == AVERAGE else row.results.get(column)


def _coordinates(table: Table, column: str) -> dict[str, Any]:
    """Return where a column's numbers are from; an average along ipcs or datasets is from none of them."""
    heading = table.origins[column][0] if column in table.origins else table.heading
    across = bool(table.origins) and column == AVERAGE
    return {
        "dataset": None if across else heading.dataset,
        "ipc": None if across else heading.ipc,
        "protocol": heading.protocol,
        "label_regime": heading.label_regime,
        "smoke": heading.smoke,
        "teacher": heading.teacher or None,
        "metric": table.metric,
        "unit": table.unit,
    }


def _of_column(table: Table, row: Row, column: str) -> dict[str, Any]:
    result = _result(row, column)
    student = table.origins[column][1] if column in table.origins else column
    over = {"averaged": ", ".join(table.averaged)} if column == AVERAGE else {}
    return {"student": student, **(_numbers(result) if result else {}), **over}


def _table(
    title: str, every: Sequence[Record], asked_for: tuple[str, Code], sidecars: Sidecars | None, named: Mapping[Variant, str]
) -> Table:
    metric, code = asked_for
    records, left_out = grouping.newest_code(every, code)
    by_row: dict[Variant, dict[Network, list[Record]]] = defaultdict(lambda: defaultdict(list))
    networks: dict[Network, str] = {}
    for record in records:
        network = Network(record.cell.student, grouping.column_of(record))
        networks[network] = network.name
        by_row[grouping.variant_of(record, code)][network].append(record)
    names = grouping.column_titles(networks)
    counted = {variant: grouping.one_per_coordinate(found) for variant, found in by_row.items()}
    cells = {(variant, names[network]): found for variant, row in counted.items() for network, found in row.items()}
    asked = grouping.asked_for(records)
    labels = grouping.labels({variant for variant, _ in cells}, asked, named)
    ordered = sorted(labels, key=lambda variant: _order(variant, labels[variant]))
    control = _control(cells)
    results = {}
    for student in names.values():
        found = {variant: cells[variant, student] for variant in ordered if (variant, student) in cells}
        results[student] = column(found, metric, control, sidecars)
    block = _metric_block(records[0], metric)
    bare = [_row(labels[variant], variant, cells, results) for variant in ordered]
    shortened = records[0].smoke
    rows, averaged = ordered_rows(bare, results, control, higher_is_better=block.higher_is_better, smoke=shortened)
    again = _distilled_again(records, [record for found in cells.values() for record in found])
    under = [*notes.under_table(records, rows, left_out=left_out, averaged=averaged, again=again), *notes.direction(block)]
    return Table(
        heading=grouping.heading_of(records[0]),
        title=title,
        metric=metric,
        unit=block.unit,
        higher_is_better=block.higher_is_better,
        students=tuple(names.values()),
        rows=rows,
        notes=tuple(under),
        protocol=records[0].protocol,
        asked=asked,
        named=named,
        averaged=averaged,
        control=control,
        networks={name: network for network, name in names.items()},
        evaluator=grouping.heading_for(records[0], metric).evaluator,
    )


def _distilled_again(every: Iterable[Record], used: Iterable[Record]) -> int:
    """Return how many records are of sets that no record in use is of: another set of the same distill seed stands for them."""
    known = {record.distilled_sha256 for record in used}
    return sum(record.distilled_sha256 not in known for record in every)


def ordered_rows(
    rows: Sequence[Row], columns: Columns, control: Variant | None, *, higher_is_better: bool, smoke: bool = False
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Return rows that are in alphabetical order with their averages, in the order of a table, and the columns averaged over.

    The random control comes first. Under one column the others follow by tie group, those without a rank last; under several, by
    their average's difference to random, those without one last.
    """
    names = averaged_columns(columns)
    found = averages(columns, names, control, higher_is_better=higher_is_better, smoke=smoke) if names else {}
    full = [replace(row, average=found.get(row.variant)) for row in rows]

    def standing(row: Row) -> tuple[bool, bool, float]:
        if len(columns) == 1:
            group = next(iter(row.results.values())).tie_group
            return (not row.control, group is None, group or 0)
        lead = row.average.difference.value if row.average and row.average.difference else None
        return (not row.control, lead is None, 0 if lead is None else -lead if higher_is_better else lead)

    return tuple(sorted(full, key=standing)), names


def _row(
    label: str,
    variant: Variant,
    cells: Mapping[tuple[Variant, str], list[Record]],
    results: Mapping[str, Mapping[Variant, Result]],
) -> Row:
    mine = {student: found[variant] for student, found in results.items() if variant in found}
    records = [record for (owner, _), found in cells.items() if owner == variant for record in found]
    altered = sorted({name for record in records for name in grouping.altered(record)})
    size = fmean(total_bytes(record) for record in records)
    return Row(label, variant, mine, size, stage_seconds(records), altered=tuple(altered))


def _control(cells: dict[tuple[Variant, str], list[Record]]) -> Variant | None:
    """Return the control's row that others are compared with: of several, the one made last."""
    made = {variant: max(map(grouping.finished, found)) for (variant, _), found in cells.items() if variant.synthesizer == CONTROL}
    return max(made, key=lambda variant: made[variant], default=None)


def _order(variant: Variant, label: str) -> tuple[bool, str]:
    return (variant.synthesizer != CONTROL, label)


def total_bytes(record: Record) -> int:
    """Return what a distilled set takes, labels included: as the `storage` evaluator counts it, else by its rule from the parts.

    A teacher's answers are charged at the cheaper of storing them and storing the teacher.
    """
    if grouping.has_metric(record, "total_bytes"):
        return int(record.metric("total_bytes"))
    own = sum(record.bytes.get(part, 0) for part in ("images", "labels", "soft_labels", "extras"))
    return own + min(record.bytes.get("stored_labels", 0), record.bytes.get("teacher", 0))


def stage_seconds(records: Sequence[Record]) -> dict[str, float]:
    """Return mean seconds by stage, each distinct stage result counted once."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for record in records:
        for stage, cost in record.cost.items():
            owner = record.key if stage == "student" else record.distilled_key
            found[stage][owner] = cost.seconds
    return {stage: fmean(values.values()) for stage, values in sorted(found.items())}


def _metric_block(record: Record, metric: str) -> MetricBlock:
    return next(block for block in record.metrics if block.name == metric)


def _numbers(result: Result) -> dict[str, Any]:
    low, high = result.estimate.interval or (None, None)
    difference = result.difference or Difference(None, why="is the control")
    from_control = difference.interval or (None, None)
    return {
        "mean": result.estimate.value,
        "low": low,
        "high": high,
        "sets": result.estimate.sets,
        "students": result.estimate.students,
        "given_one_set": result.estimate.given_one_set,
        "difference_to_random": difference.value,
        "difference_low": from_control[0],
        "difference_high": from_control[1],
        "verdict": difference.verdict,
        "rank_first": result.rank[0] if result.rank else None,
        "rank_last": result.rank[1] if result.rank else None,
        "tie_group": result.tie_group,
        "unranked_because": result.place.why or None,
        "no_verdict_because": difference.why or None,
        "same_architecture": result.same_architecture,
    }


def _costs(row: Row) -> dict[str, Any]:
    level = {"level": row.level} if row.level else {}
    return {"bytes": row.bytes, **{f"seconds.{stage}": value for stage, value in row.seconds.items()}, **level}


def _long_row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {"key": record.key, **record.cell.model_dump()}
    row |= {"smoke": record.smoke, "start": record.start, "images": record.images, "finished": grouping.finished(record)[0]}
    row |= {"teacher_key": record.teacher_key, "distilled_key": record.distilled_key, "distilled_sha256": record.distilled_sha256}
    row |= {"protocol_sha256": record.protocol_sha256, "dataset_sha256": record.dataset.sha256}
    row |= {"synthesizer_version": grouping.synthesizer_version(record), "numerics_version": record.numerics_version}
    row |= {metric.name: metric.value for metric in record.metrics}
    row |= {f"seconds.{stage}": cost.seconds for stage, cost in record.cost.items()}
    row |= {f"peak_bytes.{stage}": cost.peak_bytes for stage, cost in record.cost.items()}
    row |= {f"bytes.{part}": size for part, size in record.bytes.items()}
    chosen = record.options.get("synthesizer")
    options = dict(chosen.values) if chosen else {}
    return row | {f"option.{name}": value for name, value in options.items()}
