"""Ranks that are intervals: every pair of methods of a column is compared, and Holm corrects for how many there are."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ddbench.report.comparisons import p_values, told_apart
from ddbench.report.hits import image_shares, of_image_pairs
from ddbench.report.spread import block
from ddbench.report.statistics import MIN_DRAWS, ONE_SHARED, ONE_STUDENT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ddbench.report.hits import Hits
    from ddbench.report.spread import Numbers
    from ddbench.report.statistics import Scores


Method = TypeVar("Method", bound=Hashable)


@dataclass(frozen=True)
class Place:
    """Where a method stands in a column, or why it has no place there."""

    rank: tuple[int, int] | None
    """The best and the worst rank that the comparisons leave open, from 1."""
    group: int | None = None
    """From 1: whoever is not told apart from the best of those that no earlier group holds."""
    why: str = ""
    """Why there is no rank."""

    @property
    def text(self) -> str:
        """`1–3`, `2`, or nothing."""
        if self.rank is None:
            return ""
        first, last = self.rank
        return str(first) if first == last else f"{first}–{last}"


def places(
    scores: Mapping[Method, Scores],
    control: Method | None,
    *,
    higher_is_better: bool = True,
    hits: Mapping[Method, Hits] | None = None,
) -> dict[Method, Place]:
    """Return each method's place in a column; a method that is not complete has none.

    Complete is who has every eval seed of `ranked_seeds` with every one of its sets; the control itself needs three draws.
    Methods with the same sets and scores are one competitor, and share its place.

    Args:
        scores: By method.
        control: The method that is the random control, where the column has it.
        higher_is_better: Of the metric.
        hits: By method, where the predictions of all are known: test images are then a sample too.
    """
    seeds = ranked_seeds(scores, control)
    found = {name: Place(None, why=why) for name, one in scores.items() if (why := _missing(one, seeds))}
    if control is not None and len(scores[control]) < MIN_DRAWS:
        found[control] = Place(None, why=f"random has {len(scores[control])} of at least {MIN_DRAWS} draws")
    ranked = [name for name in scores if name not in found]
    if len(ranked) < 2:
        return found | {name: Place(None, why="there is no other complete row to compare it with") for name in ranked}
    first_of = distinct({name: scores[name] for name in ranked}, seeds)
    rivals = list(dict.fromkeys(first_of.values()))
    if len(rivals) < 2:
        return found | {name: Place(None, why="all complete rows are the same sets") for name in ranked}
    means, p = compared({name: scores[name] for name in rivals}, seeds, hits)
    standing = dict(zip(rivals, placed(means if higher_is_better else -means, p), strict=True))
    return found | {name: standing[first] for name, first in first_of.items()}


def distinct(ranked: Mapping[Method, Scores], seeds: Sequence[int]) -> dict[Method, Method]:
    """Return for each method the first one that has its sets and its scores: they are one competitor, and compared once.

    A set that was entered several times, under other names or with options that it does not depend on, is no rival of itself, and
    what it varies by is known no better for it.
    """
    first: dict[object, Method] = {}
    return {name: first.setdefault(_under(scores, seeds), name) for name, scores in ranked.items()}


def _under(scores: Scores, seeds: Sequence[int]) -> object:
    """Return distilled sets and their scores under some eval seeds."""
    return frozenset((name, tuple(one_set[seed] for seed in seeds)) for name, one_set in scores.items())


def compared(ranked: Mapping[Method, Scores], seeds: Sequence[int], hits: Mapping[Method, Hits] | None) -> tuple[Numbers, Numbers]:
    """Return the means of methods that are complete, (methods,), and the p values of all pairs, (methods, methods), in their order.

    Args:
        ranked: Their scores, of which those under other eval seeds do not count.
        seeds: The eval seeds that all of them have.
        hits: As of `places`.
    """
    blocks = [block(one, seeds) for one in ranked.values()]
    images = of_image_pairs([image_shares(block(hits[name], seeds)) for name in ranked]) if hits else None
    return np.array([one.mean() for one in blocks]), p_values(blocks, images)


def ranked_seeds(scores: Mapping[Method, Scores], control: Method | None) -> list[int]:
    """Return the eval seeds that a method must have to be ranked: the control's, or those of any method where there is none.

    Seeds that the control alone has ask nothing of others: where no method has all of the control's with all of its sets, those
    count that the method with most of them has.
    """
    asked = list(scores.values()) if control is None else [scores[control]]
    every = {seed for one in asked for one_set in one.values() for seed in one_set}
    rivals = [one for name, one in scores.items() if name != control and one]
    if control is None or not rivals:
        return sorted(every)
    shared = ({seed for seed in every if all(seed in one_set for one_set in one.values())} for one in rivals)
    most = max((sorted(seeds) for seeds in shared), key=lambda seeds: (len(seeds), [-seed for seed in seeds]))
    return most or sorted(every)


def _missing(scores: Scores, seeds: Sequence[int]) -> str:
    """Return what a method lacks to be ranked, or nothing."""
    lacking = sum(seed not in one_set for one_set in scores.values() for seed in seeds)
    if lacking:
        return f"{lacking} of {len(scores) * len(seeds)} students are missing"
    if len(scores) > 1 or len(seeds) > 1:
        return ""
    return ONE_STUDENT if all(len(one_set) == 1 for one_set in scores.values()) else ONE_SHARED


def placed(means: Numbers, p: Numbers) -> list[Place]:
    """Return the places of methods with these means, higher is better, from the p values of all pairs."""
    apart = told_apart(p)
    above = apart & (means[None, :] > means[:, None])
    """[i, j]: j is told apart from i, and better."""
    first, last = 1 + above.sum(1), len(means) - above.sum(0)
    groups = _groups(means, apart)
    return [Place((int(a), int(b)), group) for a, b, group in zip(first, last, groups, strict=True)]


def _groups(means: Numbers, apart: NDArray[np.bool_]) -> list[int]:
    """Return a group per method: the best one that is left, and whoever is not told apart from it."""
    groups = [0] * len(means)
    number = 0
    for leader in np.argsort(-means, kind="stable"):
        if groups[leader]:
            continue
        number += 1
        for other in range(len(means)):
            if not groups[other] and (other == leader or not apart[leader, other]):
                groups[other] = number
    return groups
