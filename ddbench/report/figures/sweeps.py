"""Sweeps: a metric against one option with its interval as a band (DWA, fig. 3), or over two options as a heat map (fig. 5)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.errors import BadRequest, DataMissing
from ddbench.report.figures import style
from ddbench.report.figures.choosing import Asked, Chosen, choose, unit
from ddbench.report.figures.style import Drawing
from ddbench.report.grouping import CONTROL, Variant, labels
from ddbench.report.layout import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ddbench.report.figures.style import Look
    from ddbench.report.statistics import Estimate

Line = Mapping[float, "Estimate"]


def sweep(asked: Asked) -> Drawing:
    """Return a metric against one option, a line with a band for each method; the random control as a level."""
    (option,) = _options(asked, 1)
    chosen = choose(asked, metric=asked.metric)
    found = lines(chosen, option)
    if not found:
        raise DataMissing(_no_sweep(chosen, [option]))
    caption = chosen.caption(f"{plain(asked.metric)} against {option}. Bands: 95 % intervals over distilled sets.")
    figure, (axes,) = style.panels(1, caption=caption, size=(5.6, 3.6))
    factor = style.percent(unit(chosen))
    (ipc,) = chosen.ipcs
    controls = [chosen.estimate(variant, ipc) for variant in chosen.variants if variant.synthesizer == CONTROL]
    for one in controls[:1]:
        _level(axes, one, factor)
    for label, look in style.looks(list(found)).items():
        _band(axes, found[label], (label, look), factor)
    values = sorted({value for line in found.values() for value in line})
    style.stretch(axes, values)
    axes.minorticks_off()
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.set_xlabel(option)
    axes.set_ylabel(style.axis_title(asked.metric, unit(chosen)))
    style.legend(axes)
    data: dict[str, Any] = {
        "option": option,
        "lines": {label: [{"x": x, **_numbers(one)} for x, one in sorted(line.items())] for label, line in found.items()},
        "random": [_numbers(one) for one in controls[:1]],
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
    caption = chosen.caption(f"{plain(label)}: {plain(asked.metric)} over {up} and {across}; ±: 95 % interval over distilled sets.")
    rows, columns = (sorted({place[axis] for place in cells}) for axis in range(2))
    figure, (axes,) = style.panels(1, caption=caption, size=(1.1 + 0.95 * len(columns) + 0.9, 1.0 + 0.62 * len(rows)))
    _heat(axes, cells, (rows, columns), (unit(chosen), asked.metric))
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    data = {"method": label, "rows": rows, "columns": columns, "option_up": up, "option_across": across}
    values = [{up: place[0], across: place[1], **_numbers(one)} for place, one in sorted(cells.items())]
    return Drawing(figure, {**data, "cells": values}, caption)


def lines(chosen: Chosen, option: str) -> dict[str, dict[float, Estimate]]:
    """Return by method the estimates at each value of an option that was given at least two; all else is equal on a line."""
    found = {label: {place[0]: one for place, one in cells.items()} for label, cells in grids(chosen, option).items()}
    return {label: line for label, line in found.items() if len(line) > 1}


def grids(chosen: Chosen, *options: str) -> dict[str, dict[tuple[float, ...], Estimate]]:
    """Return by method, told apart by all its other settings, the estimates at each combination of the options' numbers."""
    (ipc,) = chosen.ipcs
    found: dict[Variant, dict[tuple[float, ...], Estimate]] = defaultdict(dict)
    for variant in chosen.variants:
        settings = dict(variant.settings)
        numbers = [_number(settings.pop(option, None)) for option in options]
        if None not in numbers:
            rest = Variant(variant.synthesizer, tuple(sorted(settings.items())))
            found[rest][tuple(number for number in numbers if number is not None)] = chosen.estimate(variant, ipc)
    swept = {rest: cells for rest, cells in found.items() if len(cells) > 1}
    names = labels(swept)
    return {names[rest]: cells for rest, cells in swept.items()}


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


def _spans(cells: Mapping[tuple[float, ...], Estimate]) -> list[int]:
    return [len({place[axis] for place in cells}) for axis in range(2)]


def _numbers(one: Estimate) -> dict[str, float | None]:
    return {"value": one.value, "half_width": one.half_width}


def _band(axes: Axes, line: Line, who: tuple[str, Look], factor: float) -> None:
    label, look = who
    x = sorted(line)
    mean = np.asarray([factor * line[value].value for value in x])
    width = np.asarray([factor * (line[value].half_width or 0.0) for value in x])
    axes.fill_between(x, mean - width, mean + width, color=look.colour, alpha=0.18, linewidth=0, hatch=look.hatch or None)
    axes.plot(
        x, mean, color=look.colour, marker=look.marker, linestyle=look.line, markersize=5, linewidth=1.4, label=style.text(label)
    )


def _level(axes: Axes, one: Estimate, factor: float) -> None:
    look = style.looks([CONTROL])[CONTROL]
    axes.axhline(factor * one.value, color=look.colour, linestyle=look.line, linewidth=1.2, label=CONTROL)
    width = factor * (one.half_width or 0.0)
    axes.axhspan(factor * one.value - width, factor * one.value + width, color="#000000", alpha=0.06, linewidth=0)


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
        width = "" if one.half_width is None else f"\n± {factor * one.half_width:.1f}"
        dark = high > low and (value - low) / (high - low) < 0.5
        where = (columns.index(column), rows.index(row))
        axes.text(*where, f"{value:.1f}{width}", ha="center", va="center", fontsize=7.5, color="white" if dark else "black")
    axes.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
    axes.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
    axes.grid(visible=False)
    axes.figure.colorbar(image, ax=axes, label=style.axis_title(metric[1], metric[0]))
