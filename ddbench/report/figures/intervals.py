"""What a figure says of its intervals: over what they are, in the words under tables (`notes.under_table`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ddbench.report.statistics import estimate

if TYPE_CHECKING:
    from ddbench.report.statistics import Estimate, Scores

ONE_SET = "¹"
"""Marks what is given one distilled set, as in tables, where other intervals beside it are not."""


def sentences(drawn: Iterable[Scores], what: str) -> str:
    """Return what a caption says of the intervals of all points that are drawn.

    Args:
        drawn: The students' scores of each point.
        what: How they are drawn, as a word that a sentence begins with: `Bars`, `Bands`, `±`.
    """
    return " ".join(_sentences(list(drawn), what))


def _sentences(drawn: list[Scores], what: str) -> Iterator[str]:
    found = [estimate(scores) for scores in drawn]
    over_sets, one_set = any(map(_over_sets, found)), any(map(_one_set, found))
    if over_sets:
        yield f"{what}: 95 % t interval over distilled sets and eval seeds."
    if any(_one_seed(scores) for scores in drawn):
        one, place = what.lower().removesuffix("s"), "cell" if what == "±" else "point"
        yield f"Where all students of a {place} have one eval seed, its {one} says nothing of other eval seeds."
    if one_set:
        mark = ONE_SET if over_sets else f"{what}:"
        yield f"{mark} given one distilled set: 95 % t interval on its eval seeds only."
    if any(one.half_width is None for one in found):
        yield f"No {what.lower()}: one student, or students that all score the same, tell no spread."


def marks(lines: Mapping[str, Mapping[float, Estimate]]) -> dict[str, str]:
    """Return the mark of each line's label: whether its intervals, or those at some places, are given one distilled set.

    Nothing is marked where all intervals are of one kind: the caption's sentence says which.

    Args:
        lines: Estimates by label and place on the axis.
    """
    every = [one for line in lines.values() for one in line.values()]
    if not any(map(_over_sets, every)):
        return dict.fromkeys(lines, "")
    found = {}
    for label, line in lines.items():
        places = [f"{place:g}" for place, one in line.items() if _one_set(one)]
        where = "" if len(places) == len(line) else f" at {', '.join(places)}"
        found[label] = f" {ONE_SET}{where}" if places else ""
    return found


def mark(one: Estimate, others: Iterable[Estimate]) -> str:
    """Return the mark of one estimate among others."""
    return ONE_SET if _one_set(one) and any(map(_over_sets, others)) else ""


def _over_sets(one: Estimate) -> bool:
    return one.half_width is not None and not one.given_one_set


def _one_set(one: Estimate) -> bool:
    return one.half_width is not None and one.given_one_set


def _one_seed(scores: Scores) -> bool:
    return len(scores) > 1 and len({seed for seeds in scores.values() for seed in seeds}) == 1
