"""Published numbers on the board: claimed, never ranked, each in a group of its own recipe; beside what was measured of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddbench.report.published import GRADES, Comparison, Published, comparisons, published
from ddbench.report.site.details import Facts

if TYPE_CHECKING:
    from ddbench.report.tables import Table

LEVEL = "claimed"

WHY = "stated by its source, not measured here"
"""Why a claim has no rank."""


@dataclass(frozen=True)
class Stated:
    """Published numbers of one dataset, ipc, student, label regime and recipe."""

    dataset: str
    ipc: int | None
    """None where they stand for every ipc."""
    student: str
    label_regime: str
    recipe: str
    claims: tuple[Published, ...]
    """By method."""


def stated(datasets: Iterable[str]) -> tuple[Stated, ...]:
    """Return the published numbers on some datasets, those under one recipe together."""
    wanted = set(datasets)
    groups: dict[tuple[str, int, str, str, str], list[Published]] = defaultdict(list)
    for one in published():
        if one.dataset in wanted:
            groups[one.dataset, one.ipc or 0, one.student, one.label_regime, one.recipe].append(one)
    return tuple(
        Stated(dataset, ipc or None, student, regime, recipe, tuple(sorted(found, key=lambda one: (one.method, one.value))))
        for (dataset, ipc, student, regime, recipe), found in sorted(groups.items())
    )


def of_method(groups: Sequence[Stated], method: str) -> Facts:
    """Return a method's published numbers as a table."""
    found = [(group, one) for group in groups for one in group.claims if one.method == method]
    rows = tuple(
        (
            f"{group.dataset} · ipc {group.ipc or 'any'} · {group.student.rpartition('/')[2]}",
            text(one),
            group.recipe,
            one.label_regime,
            one.source,
            GRADES[one.grade],
            one.caveat,
        )
        for group, one in found
    )
    headers = ("cell", "published, %", "recipe", "labels", "source", "how it is known", "caveat")
    return Facts(f"Published numbers of {method}", headers, rows)


def beside(tables: Sequence[Table]) -> Mapping[tuple[int, str], list[Comparison]]:
    """Return the published numbers beside every measured cell, by the identity of its row and its student's column."""
    found: dict[tuple[int, str], list[Comparison]] = defaultdict(list)
    for one in comparisons(tables):
        found[id(one.row), one.student].append(one)
    return found


def compared(found: Sequence[Comparison]) -> Facts:
    """Return published numbers beside a measured one as a table."""
    rows = tuple(
        (
            text(one.published),
            one.published.recipe,
            f"{100 * one.difference:+.1f}",
            one.verdict,
            one.published.source,
            GRADES[one.published.grade],
            one.published.caveat,
        )
        for one in found
    )
    headers = ("published, %", "recipe", "measured less published", "met", "source", "how it is known", "caveat")
    return Facts("Published beside measured", headers, rows)


def text(one: Published) -> str:
    """Return `33.4 (sd 0.4)`: a published spread is a standard deviation, nearly always over students of one set."""
    return f"{100 * one.value:.1f}" + (f" (sd {100 * one.sd:.1f})" if one.sd is not None else "")
