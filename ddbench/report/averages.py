"""Averages over columns: set by set and seed by seed, so that they are compared and ranked as a column is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ddbench.report.columns import Result, column_of_scores
from ddbench.report.grouping import Variant

if TYPE_CHECKING:
    from ddbench.report.statistics import Scores

Columns = Mapping[str, Mapping[Variant, Result]]
"""Results by column and row."""


def averaged_columns(columns: Columns) -> tuple[str, ...]:
    """Return the columns of an average: those in which no student has the architecture of its teacher, if there are several."""
    others = tuple(name for name, results in columns.items() if not any(result.same_architecture for result in results.values()))
    return others if len(others) > 1 else ()


def averages(columns: Columns, names: Sequence[str], control: Variant | None, *, higher_is_better: bool) -> dict[Variant, Result]:
    """Return the average over the named columns of every row that has them all; other rows are incomplete and have none."""
    found: dict[Variant, Scores] = {}
    for variant in dict.fromkeys(variant for name in names for variant in columns[name]):
        parts = [columns[name][variant] for name in names if variant in columns[name]]
        merged = _merged([part.scores for part in parts]) if len(parts) == len(names) else {}
        if merged:
            found[variant] = merged
    keys = {variant: tuple(sorted({key for name in names for key in columns[name][variant].keys})) for variant in found}
    return column_of_scores(found, keys, control, higher_is_better=higher_is_better) if found else {}


def _merged(parts: Sequence[Scores]) -> Scores:
    """Return the mean of several columns' scores, over the eval seeds that all sets have.

    Columns of one distilled set of images share its name; else, at another ipc or on another dataset, the first set of each
    column makes the first of the average, and so on: they are independent draws, and any order does. Columns with unequal
    numbers of sets have no average.
    """
    seeds = sorted(set.intersection(*(set(one) for scores in parts for one in scores.values())))
    if not seeds or len({len(scores) for scores in parts}) > 1:
        return {}
    same = len({frozenset(scores) for scores in parts}) == 1
    rows = [[scores[name] for name in parts[0]] if same else list(scores.values()) for scores in parts]
    return {
        name: {seed: sum(row[number][seed] for row in rows) / len(rows) for seed in seeds} for number, name in enumerate(parts[0])
    }
