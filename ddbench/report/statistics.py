"""Intervals and paired differences: Student's t on the means of distilled sets (`evaluation.md` section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

LEVEL = 0.95

MIN_DRAWS = 3
"""Draws of the control that a verdict needs: with one draw, 'beats random' would be false one time in five."""

SAME = 1e-12
"""A standard deviation below this is rounding, not spread."""

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


@dataclass(frozen=True)
class _Spread:
    """Variance of a mean, with its degrees of freedom."""

    variance: float
    freedom: int


def estimate(scores: Scores) -> Estimate:
    """Return the mean of the sets' means with its 95 % interval.

    With n >= 2 sets the interval is t(n - 1) on the sets' means. With one set it is t on its eval seeds and says nothing of
    other sets (`given_one_set`). One student, or students that all score the same, tell no spread: no interval.
    Eval seeds are taken as a sample of their own in each set: what an eval seed shifts in all sets alike is not counted.

    Raises:
        ValueError: There is no student.
    """
    means = _set_means(scores)
    students = [value for seeds in scores.values() for value in seeds.values()]
    if not students:
        raise ValueError("an estimate needs at least one student")
    one = len(means) == 1
    return Estimate(fmean(means), half_width(students if one else means), len(means), len(students), given_one_set=one)


def paired_difference(first: Scores, second: Scores) -> Difference:
    """Return the mean difference `first - second` over the eval seeds that every set of both has, with its 95 % interval.

    With y[d, e] the score of set d and eval seed e, and means over what an index leaves out, the value is y1 - y2. What an
    eval seed does to both alike cancels in it. Its variance adds up

    - for each side with n >= 2 sets: s^2(y[d]) / n over its sets, n - 1 degrees of freedom, so that the draw of random
      images is part of the uncertainty;
    - where a side has one set, which is then taken as given: s^2(y1[e] - y2[e]) / m over the m eval seeds, m - 1 degrees.

    The half width is t times the root of the sum, at Welch-Satterthwaite degrees of freedom (Welch 1947, Biometrika 34, for
    sums of independent variance estimates). With one set on one side and n on the other, the second part holds 1/n of the
    other side's training noise once more: at three sets an interval a few percent too wide, never too narrow.
    """
    shared = _shared_seeds(first, second)
    if not shared:
        return Difference(None, why="no eval seed in common")
    one, two = _restricted(first, shared), _restricted(second, shared)
    value = fmean(_set_means(one)) - fmean(_set_means(two))
    given_one_set = min(len(one), len(two)) == 1
    parts = [_of_values(_set_means(side)) for side in (one, two) if len(side) > 1]
    if given_one_set:
        by_one, by_two = _seed_means(one, shared), _seed_means(two, shared)
        parts.append(_of_values([a - b for a, b in zip(by_one, by_two, strict=True)]))
    width = _welch([part for part in parts if part is not None]) if None not in parts else None
    return Difference(value, width, given_one_set, "" if width is not None else "too few students to tell a spread")


def difference_to_control(method: Scores, control: Scores) -> Difference:
    """Return the paired difference to the random control; `why` forbids a verdict where the control has under three draws."""
    found = paired_difference(method, control)
    if found.value is None or len(control) >= MIN_DRAWS:
        return found
    why = f"random has {len(control)} of at least {MIN_DRAWS} draws"
    return Difference(found.value, found.half_width if len(control) > 1 else None, found.given_one_set, why)


def half_width(values: Sequence[float]) -> float | None:
    """Return half the width of the 95 % t interval of a mean, sample sd (ddof 1); None where the values tell no spread."""
    spread = _of_values(values)
    return None if spread is None else _welch([spread])


def _welch(parts: Sequence[_Spread]) -> float | None:
    """Return the half width for a sum of independent variances; None where the sum is 0 but for rounding."""
    from scipy.special import stdtrit  # a tenth of scipy.stats' import time

    variance = sum(part.variance for part in parts)
    if variance < SAME**2:
        return None
    freedom = variance**2 / sum(part.variance**2 / part.freedom for part in parts)
    return float(stdtrit(freedom, (1 + LEVEL) / 2)) * sqrt(variance)


def _of_values(values: Sequence[float]) -> _Spread | None:
    return None if len(values) < 2 else _Spread(stdev(values) ** 2 / len(values), len(values) - 1)


def _set_means(scores: Scores) -> list[float]:
    return [fmean(seeds.values()) for seeds in scores.values() if seeds]


def _seed_means(scores: Scores, seeds: Sequence[int]) -> list[float]:
    return [fmean(one_set[seed] for one_set in scores.values()) for seed in seeds]


def _shared_seeds(first: Scores, second: Scores) -> list[int]:
    every = [set(seeds) for scores in (first, second) for seeds in scores.values() if seeds]
    return sorted(set.intersection(*every)) if first and second and every else []


def _restricted(scores: Scores, seeds: Sequence[int]) -> dict[str, dict[int, float]]:
    return {name: {seed: one_set[seed] for seed in seeds} for name, one_set in scores.items() if one_set}
