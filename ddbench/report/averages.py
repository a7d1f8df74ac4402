"""Averages over columns: set by set and seed by seed, so that they are compared and ranked as a column is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ddbench.report.columns import Measured, Result, column_of
from ddbench.report.grouping import Variant

if TYPE_CHECKING:
    from ddbench.report.hits import Hits

Columns = Mapping[str, Mapping[Variant, Result]]
"""Results by column and row."""


def averaged_columns(columns: Columns) -> tuple[str, ...]:
    """Return the columns of an average: those in which no student has the architecture of its teacher, if there are several."""
    others = tuple(name for name, results in columns.items() if not any(result.same_architecture for result in results.values()))
    return others if len(others) > 1 else ()


def averages(
    columns: Columns, names: Sequence[str], control: Variant | None, *, higher_is_better: bool, smoke: bool = False
) -> dict[Variant, Result]:
    """Return the average over the named columns of every row that has them all; other rows are incomplete and have none."""
    found: dict[Variant, Measured] = {}
    for variant in dict.fromkeys(variant for name in names for variant in columns[name]):
        parts = [columns[name][variant] for name in names if variant in columns[name]]
        merged = _merged([part.scores for part in parts]) if len(parts) == len(names) else {}
        if merged:
            keys = tuple(sorted({key for part in parts for key in part.keys}))
            found[variant] = Measured(merged, keys, _hits(parts))
    known = control if control in found else None
    return column_of(found, known, higher_is_better=higher_is_better, smoke=smoke) if found else {}


def _hits(parts: Sequence[Result]) -> Hits | None:
    """Return how often each test image was named right over the columns, where all columns have the same images."""
    known = [part.hits for part in parts if part.hits is not None]
    images = {len(one) for hits in known for seeds in hits.values() for one in seeds.values()}
    return _merged(known) if len(known) == len(parts) and len(images) == 1 else None


def _merged(parts: Sequence[Mapping[str, Mapping[int, Any]]]) -> dict[str, dict[int, Any]]:
    """Return the mean of several columns' numbers, or arrays, over the eval seeds that all sets have.

    Columns of one distilled set of images share its name; else, at another ipc or on another dataset, the first set of each
    column makes the first of the average, and so on: they are independent draws, and any order does. Columns with unequal
    numbers of sets have no average.
    """
    seeds = sorted(set.intersection(*(set(one) for scores in parts for one in scores.values())))
    if not seeds or len({len(scores) for scores in parts}) > 1:
        return {}
    same = len({frozenset(scores) for scores in parts}) == 1
    rows = [[scores[name] for name in parts[0]] if same else list(scores.values()) for scores in parts]
    count = len(rows)
    return {
        name: {seed: sum(1.0 * row[number][seed] for row in rows) / count for seed in seeds} for number, name in enumerate(parts[0])
    }
