"""Robustness scores as sheets, what is missing told under them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ddbench.report.layout import LONGEST_NAME, Grid, plain
from ddbench.report.robustness import WEIGHT, Value, View, augmentation_robustness, label_robustness
from ddbench.report.sheets import Sheet, plain_sheet

if TYPE_CHECKING:
    from ddbench.report.tables import Table

LRS_TITLE = "label robustness"
ARS_TITLE = "augmentation robustness"
LRS_HEADERS = ("method", "cell", "hard protocol", "soft protocol", "LRS", "HLR", "IOR", "n")
ARS_HEADERS = ("method", "cell", "augmented", "not augmented", "ARS", "β", "n")


def robustness_sheets(tables: Sequence[Table]) -> list[Sheet]:
    """Return label and augmentation robustness, of which either may have no row and only say what it needs."""
    label, augmentation = label_robustness(tables), augmentation_robustness(tables)
    protocols = {table.heading.protocol: table.notes[0] for table in tables}
    return [
        _sheet(LRS_TITLE, LRS_HEADERS, label, [*_label_notes(label), *_protocols(label, protocols)]),
        _sheet(ARS_TITLE, ARS_HEADERS, augmentation, [*_augmentation_notes(augmentation), *_protocols(augmentation, protocols)]),
    ]


def _sheet(title: str, headers: tuple[str, ...], views: Sequence[View], notes: Sequence[str]) -> Sheet:
    kind = headers[4]
    shown = [view for view in views if view.score is not None]
    grid = Grid(headers, tuple(_texts(view) for view in shown))
    return plain_sheet(f"{title} ({kind})", grid, notes, [_numbers(view) for view in views])


def _texts(view: View) -> tuple[str, ...]:
    score = "" if view.score is None else _text(view.score, "{:.3f}", 1)
    parts = [_text(value, "{:+.1f}", 100) for value in (view.parts or {}).values()]
    cell = plain(f"{view.dataset} ipc {view.ipc} {view.student}")
    return (plain(view.method, LONGEST_NAME), cell, *view.protocols, score, *parts, f"{view.sets} × {view.seeds}")


def _text(value: Value, form: str, factor: float) -> str:
    text = form.format(factor * value.value)
    if value.low is None or value.high is None:
        return text
    return f"{text} [{form.format(factor * value.low)}, {form.format(factor * value.high)}]"


def _numbers(view: View) -> dict[str, Any]:
    found: dict[str, Any] = {
        "score": view.kind,
        "method": view.method,
        "dataset": view.dataset,
        "ipc": view.ipc,
        "student": view.student,
        "protocols": " ".join(view.protocols),
        "unit": "fraction",
    }
    for name, value in {view.kind: view.score, **(view.parts or {})}.items():
        found |= {name.lower(): value and value.value, f"{name.lower()}_low": value and value.low}
        found[f"{name.lower()}_high"] = value and value.high
    return {**found, "sets": view.sets, "eval_seeds": view.seeds, "note": view.note or None, "missing": view.why or None}


def _label_notes(views: Sequence[View]) -> Iterator[str]:
    yield (
        "HLR = full under hard labels - method under hard labels, in points: lower is better. IOR = method - random under the soft "
        f"protocol, in points. LRS = (e^α - e^-1) / (e - e^-1) of α = w IOR - (1 - w) HLR as fractions, w = {WEIGHT:g}; 0.269 "
        "where α = 0. LRS compresses: a point of IOR moves it by 0.002, so read HLR and IOR."
    )
    yield from _common(
        views, "needs the same sets under a hard and a soft protocol, random under the soft one, and `full` under hard labels"
    )


def _augmentation_notes(views: Sequence[View]) -> Iterator[str]:
    yield (
        f"β = g (method - random, augmented) + (1 - g) (method - random, not augmented), g = {WEIGHT:g}, in points. "
        "ARS = (e^β - e^-1) / (e - e^-1) of β as a fraction; 0.269 where β = 0."
    )
    yield from _common(views, "needs the same sets, and random, under two protocols that differ in augmentation, one having none")


def _common(views: Sequence[View], needs: str) -> Iterator[str]:
    if any(view.score for view in views):
        yield (
            "[ , ]: 95 % interval. Of α and β it is t over sets and eval seeds, paired by eval seed; the score grows with α and β, "
            "so its interval is theirs, transformed. Where a side has one set, it is given that set."
        )
    else:
        yield f"No score: it {needs}."
    for note in sorted({view.note for view in views if view.note}):
        yield f"{note}."
    missing: dict[str, set[str]] = defaultdict(set)
    for view in views:
        if view.why:
            missing[view.why].add(f"{view.method} ({view.dataset} ipc {view.ipc} {view.student}, {' and '.join(view.protocols)})")
    for why, cells in sorted(missing.items()):
        yield f"Missing: {why}: {'; '.join(sorted(cells))}."


def _protocols(views: Sequence[View], lines: dict[str, str]) -> Iterator[str]:
    """Give the line of every protocol that a shown score stands on."""
    yield from (lines[name] for name in sorted({name for view in views if view.score for name in view.protocols}))
