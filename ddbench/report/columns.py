"""One column of a table: every method's mean, its difference to random, and its rank among the methods of the column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """Its full name."""
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
    scores = {variant: grouping.scores(records, metric) for variant, records in found.items()}
    reference = scores.get(control) if control else None
    standing = _places(found, scores, metric, control)
    results = {}
    for variant, records in found.items():
        compared = reference if variant.synthesizer != CONTROL else None
        results[variant] = Result(
            student=records[0].cell.student,
            estimate=estimate(scores[variant]),
            difference=difference_to_control(scores[variant], compared) if compared else None,
            same_architecture=any(grouping.same_architecture(record) for record in records),
            scores=scores[variant],
            keys=tuple(sorted(record.key for record in records)),
            place=standing[variant],
        )
    return results


def _places(
    found: Mapping[Variant, Sequence[Record]], scores: Mapping[Variant, Scores], metric: str, control: Variant | None
) -> dict[Variant, Place]:
    """Return every method's place; the ceiling has none, and students of a shortened training have none."""
    first = next(iter(found.values()))[0]
    if first.smoke:
        return dict.fromkeys(found, Place(None, why="training was shortened"))
    block = next(one for one in first.metrics if one.name == metric)
    rivals = {variant: one for variant, one in scores.items() if variant.synthesizer != CEILING}
    ranked = places(rivals, control if control in rivals else None, higher_is_better=block.higher_is_better)
    return {variant: ranked.get(variant, Place(None, why="the whole train split is no rival")) for variant in found}
