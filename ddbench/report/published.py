"""Published numbers beside measured ones: landmarks, each with its recipe, its source and how it was read."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from ddbench.report.layout import LONGEST_NAME, Grid, number, plain, score
from ddbench.report.layout import Marks as PlainMarks
from ddbench.report.sheets import Sheet

if TYPE_CHECKING:
    from ddbench.report.columns import Result
    from ddbench.report.layout import Marks
    from ddbench.report.tables import Row, Table

DRAWS = 5
"""Distilled sets that a verdict needs: a perfect implementation lands within a point with one draw only 58 % of the time."""

NEAR = 0.01
"""A number is met where the 95 % interval overlaps the published value give or take this."""

MOST_NAMED = 2
"""Options that are named where a verdict would stand."""

GRADES = {
    "C": "read in the leaderboard's or the authors' own files",
    "P": "from a paper's table",
    "F": "read off a figure or a picture of a table",
    "2": "second-hand",
}
"""How a number is known, from the surest."""

HEADERS = ("method", "cell", "protocol", "measured", "n", "published", "recipe published", "difference", "met", "grade")


@dataclass(frozen=True)
class Published:
    """One published number."""

    dataset: str
    ipc: int | None
    """None where it stands for every ipc (the whole train split)."""
    method: str
    student: str
    """Full name."""
    value: float
    """top1, a fraction."""
    sd: float | None
    """As published: nearly always over students of one distilled set."""
    label_regime: str
    """As its source has it."""
    recipe: str
    source: str
    grade: str
    """A key of `GRADES`."""
    same: tuple[str, ...]
    """Protocols that are this recipe."""
    near: tuple[str, ...]
    """Protocols beside which it is worth seeing; it is never met or missed under them."""
    caveat: str


@dataclass(frozen=True)
class Comparison:
    """A measured cell beside a published number."""

    table: Table
    row: Row
    student: str
    result: Result
    published: Published

    @property
    def same_recipe(self) -> bool:
        return self.table.heading.protocol in self.published.same

    @property
    def difference(self) -> float:
        """Measured less published, a fraction."""
        return self.result.estimate.value - self.published.value

    @property
    def met(self) -> bool | None:
        """Whether the interval of at least five draws overlaps the number give or take a point; None where nothing is said."""
        interval = self.result.estimate.interval
        if not self.same_recipe or self.row.altered or interval is None or self.result.estimate.sets < DRAWS:
            return None
        return interval[0] <= self.published.value + NEAR and interval[1] >= self.published.value - NEAR

    @property
    def verdict(self) -> str:
        """`yes`, `no`, or why neither."""
        if not self.same_recipe:
            return "other recipe"
        if self.row.altered:
            return f"other {', '.join(self.row.altered[:MOST_NAMED])}{' …' if len(self.row.altered) > MOST_NAMED else ''}"
        if self.met is None and self.result.estimate.sets >= DRAWS:
            return "all score the same"
        if self.met is None:
            return f"{self.result.estimate.sets} of {DRAWS} draws"
        return "yes" if self.met else "no"


@cache
def published() -> tuple[Published, ...]:
    """Return the published numbers that ddbench ships."""
    text = resources.files("ddbench.report").joinpath("data", "published.csv").read_text("utf-8")
    return tuple(_published(row) for row in csv.DictReader(text.splitlines()))


def comparisons(tables: Iterable[Table]) -> list[Comparison]:
    """Return every measured cell that has published numbers; those of shortened training have none."""
    return [
        Comparison(table, row, student, result, one)
        for table in tables
        if table.metric == "top1" and not table.heading.smoke
        for row in table.rows
        for student, result in row.results.items()
        for one in _matching(table, row, result)
    ]


def published_sheet(tables: Sequence[Table]) -> Sheet | None:
    """Return published beside measured as a sheet, or None where no measured cell has a published number."""
    found = comparisons(tables)
    if not found:
        return None
    title = "published beside measured"
    notes = tuple(_notes(found))
    return Sheet(
        title,
        *(lambda marks: Grid(HEADERS, tuple(_texts(one, marks) for one in found)),) * 3,
        notes=notes,
        rows=tuple(_numbers(one) for one in found),
        head={"title": title, "view": "published"},
    )


def _published(row: dict[str, str]) -> Published:
    return Published(
        dataset=row["dataset"],
        ipc=int(row["ipc"]) if row["ipc"] else None,
        method=row["method"],
        student=row["student"],
        value=float(row["value"]) / 100,
        sd=float(row["sd"]) / 100 if row["sd"] else None,
        label_regime=row["label_regime"],
        recipe=row["recipe"],
        source=row["source"],
        grade=row["evidence"],
        same=tuple(row["same"].split()),
        near=tuple(row["near"].split()),
        caveat=row["caveat"],
    )


def _matching(table: Table, row: Row, result: Result) -> Iterator[Published]:
    """Give the numbers of a cell's method, dataset, ipc, student and family of protocols."""
    heading = table.heading
    for one in published():
        if (
            (one.dataset, one.method, one.student) == (heading.dataset, row.variant.synthesizer, result.student)
            and one.ipc in (None, heading.ipc)
            and heading.protocol in (*one.same, *one.near)
        ):
            yield one


def _texts(one: Comparison, marks: Marks) -> tuple[str, ...]:
    table, source = one.table, one.published
    spread = "" if source.sd is None else f"{marks.plus_minus}{number(table, source.sd)}"
    return (
        plain(one.row.label, LONGEST_NAME),
        plain(f"{table.heading.dataset} ipc {table.heading.ipc} {one.student}"),
        table.heading.protocol,
        score(table, one.result, marks),
        f"{one.result.estimate.sets} × {one.result.estimate.students // one.result.estimate.sets}",
        f"{number(table, source.value)}{spread}",
        source.recipe,
        number(table, one.difference, sign=True),
        one.verdict,
        source.grade,
    )


def _numbers(one: Comparison) -> dict[str, Any]:
    estimate, heading, source = one.result.estimate, one.table.heading, one.published
    low, high = estimate.interval or (None, None)
    return {
        "method": one.row.label,
        "dataset": heading.dataset,
        "ipc": heading.ipc,
        "student": one.student,
        "protocol": heading.protocol,
        "label_regime": heading.label_regime,
        "unit": one.table.unit,
        "mean": estimate.value,
        "low": low,
        "high": high,
        "sets": estimate.sets,
        "students": estimate.students,
        "published": source.value,
        "published_sd": source.sd,
        "published_recipe": source.recipe,
        "published_label_regime": source.label_regime,
        "difference_to_published": one.difference,
        "met": one.met,
        "met_text": one.verdict,
        "source": source.source,
        "grade": source.grade,
        "caveat": source.caveat or None,
    }


def _notes(found: Sequence[Comparison]) -> Iterator[str]:
    yield (
        f"met: the 95 % interval of at least {DRAWS} distilled sets overlaps the published number ± {100 * NEAR:g} point, under "
        "the same recipe, with no option set by hand. Published numbers are landmarks, not bars; their ± is nearly always over "
        "students of one set."
    )
    grades = sorted({one.published.grade for one in found})
    yield "grade: " + "; ".join(f"{grade} {GRADES[grade]}" for grade in grades) + "."
    for source in sorted({one.published.source for one in found}):
        recipes = sorted({one.published.recipe for one in found if one.published.source == source})
        yield f"{source}: {'; '.join(recipes)}."
    for caveat in sorted({one.published.caveat for one in found if one.published.caveat}):
        methods = sorted({one.published.method for one in found if one.published.caveat == caveat})
        yield f"{', '.join(methods)}: {caveat}."
    protocols = {one.table.heading.protocol: one.table.notes[0] for one in found}
    yield from (protocols[name] for name in sorted(protocols))
    if any(one.result.estimate.given_one_set for one in found):
        yield f"{PlainMarks().one_set} given one distilled set: 95 % t interval on its eval seeds only."
