"""One column of a table: every method's mean, its difference to random, and its rank among the methods of the column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ddbench.report import grouping
from ddbench.report.grouping import CEILING, CONTROL, Variant
from ddbench.report.ranking import Place, places
from ddbench.report.statistics import Difference, Estimate, Scores, difference_to_control, estimate

if TYPE_CHECKING:
    from ddbench.records import Record
    from ddbench.report.hits import Hits
    from ddbench.report.sidecars import Sidecars


@dataclass(frozen=True)
class Result:
    """One cell of a table."""

    student: str
    """Its full name; empty for an average."""
    estimate: Estimate
    difference: Difference | None
    """To the random control in the same column; None in the control's own row, or where the table has no control."""
    same_architecture: bool
    """The student has the teacher's architecture: left out of averages over architectures."""
    scores: Scores
    keys: tuple[str, ...]
    """Of the records behind it."""
    place: Place
    """Among the methods of the column."""
    hits: Hits | None = field(default=None, repr=False, compare=False)
    """Which test images its students got right, where the sidecars are there: differences and ranks then count the images."""

    @property
    def rank(self) -> tuple[int, int] | None:
        """The best and the worst rank that the comparisons with all others leave open; None for a row that is not ranked."""
        return self.place.rank

    @property
    def tie_group(self) -> int | None:
        """From 1; None for a row that is not ranked."""
        return self.place.group


@dataclass(frozen=True)
class Measured:
    """What is known of a row in a column."""

    scores: Scores
    keys: tuple[str, ...]
    hits: Hits | None = None


def column(
    found: Mapping[Variant, Sequence[Record]], metric: str, control: Variant | None, sidecars: Sidecars | None = None
) -> dict[Variant, Result]:
    """Return the results of one column from the records of its methods, each coordinate once."""
    first = next(iter(found.values()))[0]
    block = next(one for one in first.metrics if one.name == metric)
    orders = {record.dataset.test_order_sha256 for records in found.values() for record in records}
    paired = sidecars if metric == "top1" and len(orders) == 1 else None
    rows = {
        variant: Measured(
            grouping.scores(records, metric),
            tuple(sorted(record.key for record in records)),
            paired.hits(records) if paired else None,
        )
        for variant, records in found.items()
    }
    results = column_of(rows, control, higher_is_better=block.higher_is_better, smoke=first.smoke)
    return {
        variant: replace(
            result,
            student=found[variant][0].cell.student,
            same_architecture=any(grouping.same_architecture(record) for record in found[variant]),
        )
        for variant, result in results.items()
    }


def column_of(
    rows: Mapping[Variant, Measured], control: Variant | None, *, higher_is_better: bool, smoke: bool = False
) -> dict[Variant, Result]:
    """Return the results of a column from what is known of its rows; students of a shortened training have no rank."""
    reference = rows.get(control) if control else None
    unranked = dict.fromkeys(rows, Place(None, why="training was shortened"))
    standing = unranked if smoke else _places(rows, control, higher_is_better=higher_is_better)
    return {
        variant: Result(
            student="",
            estimate=estimate(own.scores),
            difference=_difference(own, reference) if reference and variant.synthesizer != CONTROL else None,
            same_architecture=False,
            scores=own.scores,
            keys=own.keys,
            place=standing[variant],
            hits=own.hits,
        )
        for variant, own in rows.items()
    }


def _difference(own: Measured, reference: Measured) -> Difference:
    both = (own.hits, reference.hits) if own.hits is not None and reference.hits is not None else None
    return difference_to_control(own.scores, reference.scores, both)


def _places(rows: Mapping[Variant, Measured], control: Variant | None, *, higher_is_better: bool) -> dict[Variant, Place]:
    """Return every method's place; the ceiling is no rival and has none."""
    rivals = {variant: one.scores for variant, one in rows.items() if variant.synthesizer != CEILING}
    known = {variant: hits for variant in rivals if (hits := rows[variant].hits) is not None}
    all_known = known if len(known) == len(rivals) else None
    ranked = places(rivals, control if control in rivals else None, higher_is_better=higher_is_better, hits=all_known)
    return {variant: ranked.get(variant, Place(None, why="the whole train split is no rival")) for variant in rows}
