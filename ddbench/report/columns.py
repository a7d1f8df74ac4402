"""One column of a table: every method's mean, its difference to random, and its rank among the methods of the column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ddbench.report import grouping
from ddbench.report.grouping import CEILING, CONTROL, Variant
from ddbench.report.ranking import Place, places
from ddbench.report.statistics import Difference, Estimate, Scores, difference_to_control, estimate

if TYPE_CHECKING:
    from ddbench.records import Record


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

    @property
    def rank(self) -> tuple[int, int] | None:
        """The best and the worst rank that the comparisons with all others leave open; None for a row that is not ranked."""
        return self.place.rank

    @property
    def tie_group(self) -> int | None:
        """From 1; None for a row that is not ranked."""
        return self.place.group


def column(found: Mapping[Variant, Sequence[Record]], metric: str, control: Variant | None) -> dict[Variant, Result]:
    """Return the results of one column from the records of its methods, each coordinate once."""
    first = next(iter(found.values()))[0]
    block = next(one for one in first.metrics if one.name == metric)
    scores = {variant: grouping.scores(records, metric) for variant, records in found.items()}
    keys = {variant: tuple(sorted(record.key for record in records)) for variant, records in found.items()}
    results = column_of_scores(scores, keys, control, higher_is_better=block.higher_is_better, smoke=first.smoke)
    return {
        variant: replace(
            result,
            student=found[variant][0].cell.student,
            same_architecture=any(grouping.same_architecture(record) for record in found[variant]),
        )
        for variant, result in results.items()
    }


def column_of_scores(
    scores: Mapping[Variant, Scores],
    keys: Mapping[Variant, tuple[str, ...]],
    control: Variant | None,
    *,
    higher_is_better: bool,
    smoke: bool = False,
) -> dict[Variant, Result]:
    """Return the results of a column from its scores; students of a shortened training have no rank."""
    reference = scores.get(control) if control else None
    unranked = dict.fromkeys(scores, Place(None, why="training was shortened"))
    standing = unranked if smoke else _places(scores, control, higher_is_better=higher_is_better)
    return {
        variant: Result(
            student="",
            estimate=estimate(own),
            difference=difference_to_control(own, reference) if reference and variant.synthesizer != CONTROL else None,
            same_architecture=False,
            scores=own,
            keys=keys[variant],
            place=standing[variant],
        )
        for variant, own in scores.items()
    }


def _places(scores: Mapping[Variant, Scores], control: Variant | None, *, higher_is_better: bool) -> dict[Variant, Place]:
    """Return every method's place; the ceiling is no rival and has none."""
    rivals = {variant: one for variant, one in scores.items() if variant.synthesizer != CEILING}
    ranked = places(rivals, control if control in rivals else None, higher_is_better=higher_is_better)
    return {variant: ranked.get(variant, Place(None, why="the whole train split is no rival")) for variant in scores}
