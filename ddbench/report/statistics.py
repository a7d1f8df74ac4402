"""Intervals and paired differences: Student's t over distilled sets and eval seeds (`evaluation.md` section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from ddbench.report import spread
from ddbench.report.hits import image_shares, of_images
from ddbench.report.spread import block

if TYPE_CHECKING:
    from ddbench.report.hits import Hits
    from ddbench.report.spread import Spread

MIN_DRAWS = 3
"""Draws of the control that a verdict needs: with one draw, 'beats random' would be false one time in five."""

ONE_STUDENT = "one student tells no spread"

ONE_SHARED = "one eval seed in common tells no spread"

Scores = Mapping[str, Mapping[int, float]]
"""By distilled set, by eval seed: one number per student. Equal sets stand under one name, so that none counts twice."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its uncertainty."""

    value: float
    half_width: float | None
    """Of the 95 % interval; None where the spread is not known, never a made-up 0."""
    sets: int
    students: int
    """In all sets together."""
    given_one_set: bool
    """True where the interval knows nothing of how another distilled set would do."""

    @property
    def interval(self) -> tuple[float, float] | None:
        return None if self.half_width is None else (self.value - self.half_width, self.value + self.half_width)


@dataclass(frozen=True)
class Difference:
    """A paired difference of two methods, or why there is none."""

    value: float | None
    half_width: float | None = None
    given_one_set: bool = False
    why: str = ""
    """Why the value, the interval or the verdict is missing."""

    @property
    def interval(self) -> tuple[float, float] | None:
        if self.value is None or self.half_width is None:
            return None
        return (self.value - self.half_width, self.value + self.half_width)

    @property
    def verdict(self) -> int:
        """1 where the whole interval is above 0, -1 where it is below, else 0; also 0 where no verdict is allowed."""
        if self.interval is None or self.why:
            return 0
        low, high = self.interval
        return int(low > 0) - int(high < 0)


def estimate(scores: Scores) -> Estimate:
    """Return the mean of the sets' means with its 95 % interval.

    Sets and eval seeds are both a sample: the interval is t over the sets' means, widened by what an eval seed does to all
    sets alike (`spread.crossed`). With one set it is t on its eval seeds and says nothing of other sets (`given_one_set`).
    Where sets have different eval seeds, those that all have show what a seed does. One student, or students that all score
    the same, tell no spread: no interval.

    Raises:
        ValueError: There is no student.
    """
    means = _set_means(scores)
    students = [value for seeds in scores.values() for value in seeds.values()]
    if not students:
        raise ValueError("an estimate needs at least one student")
    one = len(means) == 1
    return Estimate(fmean(means), _width(_of_scores(scores)), len(means), len(students), given_one_set=one)


def paired_difference(first: Scores, second: Scores, hits: tuple[Hits, Hits] | None = None) -> Difference:
    """Return the mean difference `first - second` over the eval seeds that every set of both has, with its 95 % interval.

    What an eval seed does to both alike cancels. The variance adds up (`spread.of_difference`), at Satterthwaite's degrees of
    freedom: for each side with several sets how its sets vary, so that the draw of random images is part of the uncertainty;
    how the difference varies over eval seeds beyond that; and, with `hits`, how it varies over test images. A side with one
    set is taken as given; without `hits`, the test split is.
    """
    shared = _shared_seeds(first, second)
    if not shared:
        return Difference(None, why="no eval seed in common")
    one, two = block(first, shared), block(second, shared)
    value = float(one.mean() - two.mean())
    of_students = spread.of_difference(one, two)
    width = _width(of_students)
    if width is not None and hits is not None:
        pair = [image_shares(block(side, shared)) for side in hits]
        width = _width(of_students + of_images(pair[0], pair[1]))
    given_one_set = min(len(one), len(two)) == 1
    why = "students that are too few, or all score the same, tell no spread"
    return Difference(value, width, given_one_set, "" if width is not None else why)


def difference_to_control(method: Scores, control: Scores, hits: tuple[Hits, Hits] | None = None) -> Difference:
    """Return the paired difference to the random control.

    `why` forbids a verdict where the control has under three draws, and where the method has one student: nothing is known of how
    another set, or another student of this one, would do.
    """
    found = paired_difference(method, control, hits)
    if found.value is None:
        return found
    if len(control) < MIN_DRAWS:
        why = f"random has {len(control)} of at least {MIN_DRAWS} draws"
        return Difference(found.value, found.half_width if len(control) > 1 else None, found.given_one_set, why)
    alone = len(method) == 1 and len(_shared_seeds(method, control)) == 1
    if found.why or not alone:
        return found
    return replace(found, why=ONE_STUDENT if len(next(iter(method.values()))) == 1 else ONE_SHARED)


def half_width(values: Sequence[float]) -> float | None:
    """Return half the width of the 95 % t interval of a mean, sample sd (ddof 1); None where the values tell no spread."""
    return None if len(values) < 2 else _width(spread.of_mean(np.array(values)))


def _of_scores(scores: Scores) -> Spread:
    """Return the spread of the mean of the sets' means; sets may have eval seeds that others lack."""
    sets = [seeds for seeds in scores.values() if seeds]
    if len(sets) == 1:
        values = np.array(list(sets[0].values()))
        return spread.of_mean(values) if len(values) > 1 else spread.none(values.mean())
    shared = sorted(set.intersection(*(set(seeds) for seeds in sets)))
    found = spread.of_mean(np.array(_set_means(scores)))
    if len(shared) < 2:
        return found
    y = block(scores, shared)
    return found + spread.excess(spread.of_mean(y.mean(-2)).variance, spread.rest(y), len(shared) - 1)


def _width(found: Spread) -> float | None:
    width = float(found.half_width())
    return None if isnan(width) else width


def _set_means(scores: Scores) -> list[float]:
    return [fmean(seeds.values()) for seeds in scores.values() if seeds]


def _shared_seeds(first: Scores, second: Scores) -> list[int]:
    every = [set(seeds) for scores in (first, second) for seeds in scores.values() if seeds]
    return sorted(set.intersection(*every)) if first and second and every else []
