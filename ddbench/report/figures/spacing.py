"""Rows that stand at one place of an axis, drawn side by side, so that none hides another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from ddbench.report.figures.style import Look

SIDE_BY_SIDE = "Points at one place stand side by side."
"""For the caption."""

STEP_POINTS, TIGHT_POINTS, ALONE_POINTS = 6.0, 3.0, 18.0
"""Between neighbours, where there is room: at ticks, along an axis of quantities, and where there is one place only."""

MARGIN_POINTS = 16.0

SHARE = 0.6
"""Of the way to the next place, at most, that the rows of one take up."""

ALONE = 2.0
"""The way to the next place, in lengths of the axis, where there is only one."""


def side_by_side(axes: Axes, rows: Sequence[Sequence[float]], inches: float, *, step: float | None = None) -> list[list[float]]:
    """Return where the points of each row are drawn along the x axis, which gets limits that hold them all.

    A point that no other shares its place with stays there; of several each stands a step to the right of the one before.

    Args:
        axes: With the scale of its x axis set.
        rows: Places of each row's points.
        inches: The axes' width, about.
        step: Between neighbours, in typographic points, where there is room; by default wide where there is one place only.
    """
    sharing = Counter(place for row in rows for place in row)
    places, most = sorted(sharing), max(sharing.values())
    whole, gap = 72 * inches - 2 * MARGIN_POINTS, _gap(axes, sharing)
    wide = step or (ALONE_POINTS if len(places) == 1 else STEP_POINTS)
    spread = min(wide * (most - 1), SHARE * gap * whole / (1 + SHARE * gap))
    _limit(axes, places, (spread / 2 + MARGIN_POINTS) / (whole - spread))
    between, seen = spread / max(1, most - 1), Counter[float]()
    found = []
    for row in rows:
        found.append([_moved(axes, places, one, between * (seen[one] - (sharing[one] - 1) / 2) / (whole - spread)) for one in row])
        seen.update(row)
    return found


def shared(rows: Sequence[Sequence[float]]) -> bool:
    """Return whether several points stand at one place."""
    return len({place for row in rows for place in row}) < sum(len(row) for row in rows)


def draw_bars(axes: Axes, line: Sequence[tuple[float, float, float]], who: tuple[str, Look]) -> None:
    """Draw a line through points (x, y, half width) with their intervals as bars."""
    label, look = who
    x, y, width = (list(values) for values in zip(*line, strict=True))
    axes.errorbar(
        x,
        y,
        yerr=width,
        label=label,
        color=look.colour,
        marker=look.marker,
        linestyle=look.line,
        linewidth=1.4,
        markersize=5,
        capsize=2.5,
        elinewidth=0.9,
    )


def scaled(axes: Axes, places: Sequence[float]) -> NDArray[np.float64]:
    """Return where places stand along the axis, the first at 0, the last at 1."""
    values = np.asarray(places, dtype=np.float64)
    if axes.get_xscale() == "log":
        values = np.log(values)
    found: NDArray[np.float64] = (values - values.min()) / (float(values.max() - values.min()) or 1.0)
    return found


def _gap(axes: Axes, sharing: Counter[float]) -> float:
    """Return the least way, in lengths of the axis, from a place that points share to the next."""
    places = sorted(sharing)
    pairs = zip(pairwise(places), pairwise(scaled(axes, places).tolist()), strict=True)
    return min((right - left for pair, (left, right) in pairs if max(sharing[one] for one in pair) > 1), default=ALONE)


def _moved(axes: Axes, places: Sequence[float], place: float, share: float) -> float:
    """Return a place moved by a share of the axis' length."""
    low, high = places[0], places[-1]
    if share == 0:
        return place
    if axes.get_xscale() == "log":
        return float(place * (high / low) ** share)
    return place + share * ((high - low) or abs(low) or 1.0)


def _limit(axes: Axes, places: Sequence[float], margin: float) -> None:
    """Leave a share of the axis' length before the first place and after the last."""
    if len(places) == 1:
        axes.set_xlim(*(_moved(axes, places, places[0], share) for share in (-0.5 - margin, 0.5 + margin)))
    else:
        axes.set_xlim(_moved(axes, places, places[0], -margin), _moved(axes, places, places[-1], margin))
