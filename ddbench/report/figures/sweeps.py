"""Sweeps: a metric against one option with its interval as a band (DWA, fig. 3), or over two options as a heat map (fig. 5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.errors import BadRequest, DataMissing
from ddbench.report.figures import intervals, style
from ddbench.report.figures.choosing import Asked, Chosen, choose, unit
from ddbench.report.figures.legends import legend
from ddbench.report.figures.naming import in_order, names, refuse_many
from ddbench.report.figures.spacing import SIDE_BY_SIDE, draw_bars, scaled, side_by_side
from ddbench.report.figures.style import Drawing
from ddbench.report.grouping import Variant, labels
from ddbench.report.layout import plain
from ddbench.report.statistics import estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ddbench.report.figures.style import Look
    from ddbench.report.statistics import Estimate, Scores

Line = Mapping[float, "Estimate"]

Lines = Mapping[str, Mapping[float, "Scores"]]

BANDS = 6
"""Up to so many lines have bands; more have bars, side by side: bands over bands hide each other."""

AXES_INCHES = 4.8

CHARACTERS_PER_INCH = 12
"""Of the numbers at ticks."""


def sweep(asked: Asked) -> Drawing:
    """Return a metric against one option, a line for each method, with its interval as a band, or above a few lines as bars.

    The random control, as tables take it, is a level.
    """
    (option,) = _options(asked, 1)
    chosen = choose(asked, metric=asked.metric)
    found = lines(chosen, option)
    if not found:
        raise DataMissing(_no_sweep(chosen, [option]))
    refuse_many(list(found))
    called, control = names(list(found)), _control(chosen)
    caption = chosen.caption(f"{plain(asked.metric)} against {option}.", _said(found, control), called.note)
    figure, (axes,) = style.panels(1, caption=caption, size=(AXES_INCHES + 0.8, 3.6))
    estimates = {label: {place: estimate(scores) for place, scores in line.items()} for label, line in {**control, **found}.items()}
    marks = intervals.marks(estimates)
    shown = {label: style.text(f"{called.shown.get(label, label)}{mark}") for label, mark in marks.items()}
    _draw(axes, estimates, (shown, set(control)), style.percent(unit(chosen)))
    axes.set_xlabel(option)
    axes.set_ylabel(style.axis_title(asked.metric, unit(chosen)))
    legend(axes, caption)
    data: dict[str, Any] = {
        "option": option,
        "lines": {label: [{"x": x, **_numbers(one)} for x, one in sorted(estimates[label].items())] for label in found},
        "random": [_numbers(one) for label in control for one in estimates[label].values()],
        "shown_as": dict(called.shown),
    }
    return Drawing(figure, data, caption)


def heatmap(asked: Asked) -> Drawing:
    """Return a metric over two options: the first up, the second across; each cell says its number and interval.

    Raises:
        DataMissing: Nothing was swept over both.
        BadRequest: More than one method was.
    """
    up, across = _options(asked, 2)
    chosen = choose(asked, metric=asked.metric)
    maps = {label: cells for label, cells in grids(chosen, up, across).items() if min(_spans(cells)) > 1}
    if not maps:
        raise DataMissing(_no_sweep(chosen, [up, across]))
    if len(maps) > 1:
        raise BadRequest(
            f"{len(maps)} methods were swept over {up} and {across}: {', '.join(sorted(maps))}; choose with --where or --method"
        )
    ((label, cells),) = maps.items()
    said = intervals.sentences(cells.values(), "±")
    caption = chosen.caption(f"{plain(label)}: {plain(asked.metric)} over {up} and {across}.", said)
    estimates = {place: estimate(scores) for place, scores in cells.items()}
    rows, columns = (sorted({place[axis] for place in cells}) for axis in range(2))
    figure, (axes,) = style.panels(1, caption=caption, size=(1.1 + 0.95 * len(columns) + 0.9, 1.0 + 0.62 * len(rows)))
    _heat(axes, estimates, (rows, columns), (unit(chosen), asked.metric))
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    data = {"method": label, "rows": rows, "columns": columns, "option_up": up, "option_across": across}
    values = [{up: place[0], across: place[1], **_numbers(one)} for place, one in sorted(estimates.items())]
    return Drawing(figure, {**data, "cells": values}, caption)


def lines(chosen: Chosen, option: str) -> dict[str, dict[float, Scores]]:
    """Return by method the scores at each value of an option that was given at least two; all else is equal on a line."""
    found = {label: {place[0]: one for place, one in cells.items()} for label, cells in grids(chosen, option).items()}
    return {label: line for label, line in found.items() if len(line) > 1}


def grids(chosen: Chosen, *options: str) -> dict[str, dict[tuple[float, ...], Scores]]:
    """Return by method, told apart by all its other settings, the scores at each combination of the options' numbers."""
    (ipc,) = chosen.ipcs
    found: dict[Variant, dict[tuple[float, ...], Scores]] = defaultdict(dict)
    for variant in chosen.variants:
        settings = dict(variant.settings)
        numbers = [_number(settings.pop(option, None)) for option in options]
        if None not in numbers:
            rest = Variant(variant.synthesizer, tuple(sorted(settings.items())))
            found[rest][tuple(number for number in numbers if number is not None)] = chosen.scores(variant, ipc)
    swept = {rest: cells for rest, cells in found.items() if len(cells) > 1}
    called = labels(swept)
    return {called[rest]: swept[rest] for rest in sorted(swept, key=lambda rest: in_order(called[rest]))}


def _control(chosen: Chosen) -> dict[str, dict[float, Scores]]:
    """Return the control's scores under its label, as a line of one place; nothing where there is none."""
    (ipc,), control = chosen.ipcs, chosen.control
    return {} if control is None else {chosen.labels[control]: {0.0: chosen.scores(control, ipc)}}


def _said(found: Lines, control: Lines) -> str:
    """Return what the caption says of bands, or bars."""
    drawn = [scores for line in [*found.values(), *control.values()] for scores in line.values()]
    banded = len(found) <= BANDS
    said = intervals.sentences(drawn, "Bands" if banded else "Bars")
    return said if banded else f"{said} {SIDE_BY_SIDE}"


def _options(asked: Asked, count: int) -> tuple[str, ...]:
    if len(asked.options) != count:
        given = ", ".join(asked.options) or "none"
        example = "--option r_var" if count == 1 else "--option steps --option rho"
        raise BadRequest(f"this figure has {count} option{'s' if count > 1 else ''} as axes, given {given}; for example {example}")
    return asked.options


def _no_sweep(chosen: Chosen, options: Sequence[str]) -> str:
    known = sorted({name for variant in chosen.labels for name, _ in variant.settings})
    missing = [option for option in options if option not in known]
    if missing:
        return f"no method here has the option {missing[0]!r}; they have: {', '.join(known)}"
    values = " ".join(f"-o {option}=…" for option in options)
    return f"no method here was run with several values of {' and '.join(options)}; make some with: ddbench run METHOD {values}"


def _number(value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _spans(cells: Mapping[tuple[float, ...], object]) -> list[int]:
    return [len({place[axis] for place in cells}) for axis in range(2)]


def _numbers(one: Estimate) -> dict[str, float | None]:
    return {"value": one.value, "half_width": one.half_width}


def _draw(axes: Axes, drawn: Mapping[str, Line], texts: tuple[Mapping[str, str], set[str]], factor: float) -> None:
    """Draw lines, and the control as a level; `texts` are what labels are shown as, and which are the control's."""
    shown, controls = texts
    places = sorted({place for label, line in drawn.items() if label not in controls for place in line})
    style.stretch(axes, places)
    _ticks(axes, places)
    others = [label for label in drawn if label not in controls]
    banded = len(others) <= BANDS
    rows = [sorted(drawn[label]) for label in others]
    drawn_at = dict(zip(others, rows if banded else side_by_side(axes, rows, AXES_INCHES), strict=True))
    for label, look in style.looks(list(drawn)).items():
        estimates = [drawn[label][place] for place in sorted(drawn[label])]
        at = zip(drawn_at.get(label, [0.0]), estimates, strict=True)
        line = [(x, factor * one.value, factor * (one.half_width or 0.0)) for x, one in at]
        draw = _level if label in controls else _band if banded else draw_bars
        draw(axes, line, (shown[label], look))


def _ticks(axes: Axes, places: Sequence[float]) -> None:
    """Put a tick at each value, its number upright where numbers side by side would touch."""
    axes.minorticks_off()
    numbers = [f"{place:g}" for place in places]
    nearest = float(np.diff(scaled(axes, places)).min())
    crowded = nearest * AXES_INCHES * CHARACTERS_PER_INCH < max(len(number) for number in numbers) + 1
    axes.set_xticks(places, numbers, rotation=90 if crowded else 0)


def _band(axes: Axes, line: Sequence[tuple[float, float, float]], who: tuple[str, Look]) -> None:
    label, look = who
    x, mean, width = (np.asarray(values) for values in zip(*line, strict=True))
    axes.fill_between(x, mean - width, mean + width, color=look.colour, alpha=0.18, linewidth=0, hatch=look.hatch or None)
    axes.plot(x, mean, color=look.colour, marker=look.marker, linestyle=look.line, markersize=5, linewidth=1.4, label=label)


def _level(axes: Axes, line: Sequence[tuple[float, float, float]], who: tuple[str, Look]) -> None:
    ((_, mean, width),), (label, look) = line, who
    axes.axhline(mean, color=look.colour, linestyle=look.line, linewidth=1.2, label=label)
    axes.axhspan(mean - width, mean + width, color=look.colour, alpha=0.06, linewidth=0)


def _heat(
    axes: Axes, cells: Mapping[tuple[float, ...], Estimate], places: tuple[list[float], list[float]], metric: tuple[str, str]
) -> None:
    (rows, columns), factor = places, style.percent(metric[0])
    table = np.full((len(rows), len(columns)), np.nan)
    for (row, column), one in cells.items():
        table[rows.index(row), columns.index(column)] = factor * one.value
    image = axes.imshow(table, cmap="cividis", aspect="auto", origin="lower")
    low, high = float(np.nanmin(table)), float(np.nanmax(table))
    for (row, column), one in cells.items():
        value = factor * one.value
        width = "" if one.half_width is None else f"\n± {factor * one.half_width:.1f}{intervals.mark(one, cells.values())}"
        dark = high > low and (value - low) / (high - low) < 0.5
        where = (columns.index(column), rows.index(row))
        axes.text(*where, f"{value:.1f}{width}", ha="center", va="center", fontsize=7.5, color="white" if dark else "black")
    axes.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
    axes.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
    axes.grid(visible=False)
    axes.figure.colorbar(image, ax=axes, label=style.axis_title(metric[1], metric[0]))
