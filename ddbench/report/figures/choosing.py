"""Which records a figure is drawn from: what may stand on one pair of axes, by the rules of tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from ddbench.errors import BadRequest, DataMissing
from ddbench.report import grouping, notes
from ddbench.report.figures.naming import Names, in_order, names, refuse_many
from ddbench.report.statistics import Estimate, Scores, estimate
from ddbench.report.tables import summary

if TYPE_CHECKING:
    from ddbench.records import MetricBlock, Record
    from ddbench.report.figures.sidecars import Sidecars
    from ddbench.report.grouping import Variant

FLAGS = {"dataset": "--dataset", "protocol": "--protocol", "ipc": "--ipc", "label_regime": "--protocol", "smoke": "--protocol"}
"""How to choose between records that differ."""


@dataclass(frozen=True)
class Asked:
    """What a figure is to be drawn from, and how."""

    records: tuple[Record, ...]
    sidecars: Sidecars
    metric: str = "top1"
    options: tuple[str, ...] = ()
    """Of a synthesizer: the axes of a sweep or a heat map."""
    classes: int = 10
    images: int = 5
    """Of each class and method, in a grid."""


@dataclass(frozen=True)
class Chosen:
    """Records that may share axes, by row and by ipc."""

    records: tuple[Record, ...]
    labels: Mapping[Variant, str]
    cells: Mapping[tuple[Variant, int], tuple[Record, ...]] = field(default_factory=dict)
    block: MetricBlock | None = None

    @property
    def first(self) -> Record:
        return self.records[0]

    @property
    def variants(self) -> list[Variant]:
        """Rows: the control first, then by label, numbers in labels by size."""
        return sorted(self.labels, key=lambda one: in_order(self.labels[one]))

    @property
    def ipcs(self) -> list[int]:
        return sorted({ipc for _, ipc in self.cells})

    @property
    def metric(self) -> str:
        return self.block.name if self.block else "top1"

    @property
    def names(self) -> Names:
        """What rows are called where they are drawn.

        Raises:
            BadRequest: There are more than a figure can tell apart.
        """
        shown = [self.labels[variant] for variant in self.variants]
        refuse_many(shown)
        return names(shown)

    def scores(self, variant: Variant, ipc: int) -> Scores:
        """Return the metric in one cell, by distilled set and eval seed."""
        return grouping.scores(self.cells[variant, ipc], self.metric)

    def estimate(self, variant: Variant, ipc: int) -> Estimate:
        """Return the metric's mean with its interval in one cell."""
        return estimate(self.scores(variant, ipc))

    @property
    def control(self) -> Variant | None:
        """The control that tables of these records compare with: of several versions, the one that was made last."""
        controls = [record for record in self.records if record.cell.synthesizer == grouping.CONTROL]
        return next((table.control for table in summary(controls, metric=self.metric)), None)

    def caption(self, *parts: str) -> str:
        """Return what stands under every figure: what is drawn, on what, under which protocol, and what its bars mean."""
        heading = replace(grouping.heading_of(self.first), ipc=self.ipcs[0])
        title = heading.title if len(self.ipcs) == 1 else heading.title.replace(f"ipc {heading.ipc}", f"ipc {_list(self.ipcs)}")
        student = self.first.cell.student.rpartition("/")[2]
        ceiling = any(variant.synthesizer == grouping.CEILING for variant in self.labels)
        whole = [f"{grouping.CEILING}: the whole train split, at any ipc, and no rival."] if ceiling else []
        said = [part for part in parts if part]
        return " ".join([*said, *whole, f"{title}, student {student}.", notes.protocol_line(self.first)])


def choose(asked: Asked, *, free_ipc: bool = False, metric: str | None = None) -> Chosen:
    """Return the newest records of one dataset, protocol, label regime, resolution, student and, unless it is free, ipc.

    Args:
        asked: The records and what is wanted.
        free_ipc: Records of several ipc may share the axes.
        metric: Only records that hold it; None takes all.

    Raises:
        DataMissing: There is no such record.
        BadRequest: Records of more than one kind are there; the message says how to choose.
    """
    records = [one for one in asked.records if metric is None or grouping.has_metric(one, metric)]
    records = [one for one in records if not one.smoke] or records  # shortened runs are drawn only where there are no others
    if not records:
        raise DataMissing(_nothing(asked, metric))
    _refuse_mixed(records, free_ipc=free_ipc, metric=metric)
    kept, _ = grouping.newest_code(records, "newest")
    by_row: dict[Variant, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    rows = _rows(kept, free_ipc=free_ipc)
    for record in kept:
        by_row[rows[grouping.variant_of(record)]][record.cell.ipc].append(record)
    counted = {variant: grouping.one_per_coordinate(found) for variant, found in by_row.items()}
    by_cell = {(variant, ipc): tuple(found) for variant, row in counted.items() for ipc, found in row.items()}
    labels = grouping.labels({variant for variant, _ in by_cell}, grouping.asked_for(kept))
    block = next((one for one in kept[0].metrics if one.name == metric), None)
    return Chosen(tuple(kept), labels, by_cell, block)


def _rows(records: Sequence[Record], *, free_ipc: bool) -> dict[Variant, Variant]:
    """Return the line that each row belongs to: over ipc, rows that differ only in the dtype of recover are one line.

    That dtype is chosen by how much work a set is, and so by its ipc. Where one ipc has both, they stay apart.
    """
    apart = {variant: variant for variant in map(grouping.variant_of, records)}
    if not free_ipc:
        return apart
    joined = {one: replace(one, settings=tuple(pair for pair in one.settings if pair[0] != "recover")) for one in apart}
    places: dict[tuple[Variant, int], set[Variant]] = defaultdict(set)
    for record in records:
        variant = grouping.variant_of(record)
        places[joined[variant], record.cell.ipc].add(variant)
    clashing = {line for (line, _), rows in places.items() if len(rows) > 1}
    return {one: one if line in clashing else line for one, line in joined.items()}


def unit(chosen: Chosen) -> str:
    """Return the unit of the chosen metric."""
    return chosen.block.unit if chosen.block else ""


def _refuse_mixed(records: Sequence[Record], *, free_ipc: bool, metric: str | None) -> None:
    """Raise BadRequest where records may not share axes."""
    headings = {grouping.heading_of(record) for record in records}
    if free_ipc:
        headings = {replace(heading, ipc=0) for heading in headings}
    if len(headings) > 1:
        _refuse_headings([asdict(heading) for heading in headings])
    students = {grouping.column_of(record): record.cell.student for record in records}
    if len(students) > 1:
        names = sorted(set(students.values()))
        raise BadRequest(f"these records are of {len(students)} students: {', '.join(names)}; name one with --student")
    measured = {grouping.heading_for(record, metric).evaluator for record in records} if metric else set()
    if len(measured) > 1:
        raise BadRequest(
            f"{metric} was measured in {len(measured)} ways: {'; '.join(sorted(measured))}; give records of one with --records"
        )


def _refuse_headings(headings: list[dict[str, object]]) -> None:
    differing = [name for name in headings[0] if len({str(one[name]) for one in headings}) > 1]
    name = next((one for one in FLAGS if one in differing), differing[0])
    values = sorted({str(one[name]) for one in headings})
    how = f"choose with {FLAGS[name]}" if name in FLAGS else "give records of one with --records"
    raise BadRequest(f"records of {len(values)} different {name} share no axes: {', '.join(values)}; {how}")


def _nothing(asked: Asked, metric: str | None) -> str:
    if not asked.records:
        return "no record matches; make some with: ddbench run dwa"
    known = sorted({one.name for record in asked.records for one in record.metrics})
    return f"no record here has the metric {metric!r}; they have: {', '.join(known)}"


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)
