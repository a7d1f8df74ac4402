"""Accuracy against what it costs: images per class, bytes, seconds; the Pareto front is marked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from matplotlib.patheffects import withStroke

from ddbench.report.figures import intervals, style
from ddbench.report.figures.choosing import Asked, Chosen, choose, unit
from ddbench.report.figures.legends import legend
from ddbench.report.figures.naming import method_of
from ddbench.report.figures.spacing import SIDE_BY_SIDE, TIGHT_POINTS, draw_bars, scaled, shared, side_by_side
from ddbench.report.figures.style import Drawing
from ddbench.report.grouping import CEILING
from ddbench.report.layout import bytes_text, plain
from ddbench.report.tables import stage_seconds, total_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ddbench.records import Record
    from ddbench.report.statistics import Estimate

MAKING_NOT = {"student", "test"}
"""Stages that judge a set and do not make it."""

HOUR_S = 3600.0

LEAST_S = 1e-3
"""What takes less is drawn here: a logarithmic axis has no zero."""

AXES_INCHES = 5.6

NEAR = (0.04, 0.06)
"""Shares of the axes' width and height: of points of one ipc nearer than that, one is numbered."""

RING: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 11,
    "markerfacecolor": "none",
    "markeredgecolor": "#888888",
    "zorder": 0,
}


@dataclass(frozen=True)
class Point:
    """One row at one ipc."""

    label: str
    ipc: int
    x: float
    value: float
    half_width: float | None


def against_ipc(asked: Asked) -> Drawing:
    """Return a metric against images per class, a line for each method."""
    chosen = choose(asked, free_ipc=True, metric=asked.metric)
    points = _points(chosen, lambda records: float(records[0].cell.ipc))
    drawing = _drawn(chosen, points, f"{plain(asked.metric)} against images per class.", "images per class")
    (axes,) = drawing.figure.axes
    ticks = sorted({point.x for point in points})
    axes.minorticks_off()
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    return drawing


def against_bytes(asked: Asked) -> Drawing:
    """Return a metric against the bytes of the set with its labels, and the Pareto front."""
    chosen = choose(asked, free_ipc=True, metric=asked.metric)
    points = _points(chosen, lambda records: fmean(total_bytes(record) for record in records))
    about = f"{plain(asked.metric)} against what a set takes with its labels (a teacher's answers as the cheaper of storing "
    drawing = _drawn(chosen, points, f"{about}them and storing the teacher). {FRONT}", "bytes", front=True)
    (axes,) = drawing.figure.axes
    axes.xaxis.set_major_formatter(lambda size, _: bytes_text(size))
    axes.xaxis.set_minor_formatter("")
    return drawing


def against_cost(asked: Asked) -> Drawing:
    """Return a metric against the seconds that making a set takes, what it needs included, and the Pareto front."""
    chosen = choose(asked, free_ipc=True, metric=asked.metric)
    points = _points(chosen, _making_s)
    hours = max(point.x for point in points) > 2 * HOUR_S
    device = " and ".join(sorted({_device(record) for record in chosen.records}))
    kind = "GPU-" if all(record.precision.device != "cpu" for record in chosen.records) else ""
    name = f"{kind}hours" if hours else f"{kind}seconds"
    scaled = [replace(point, x=point.x / HOUR_S) for point in points] if hours else points
    stages = sorted({stage for record in chosen.records for stage in record.cost} - MAKING_NOT)
    about = f"{plain(asked.metric)} against the time of making one set ({', '.join(stages)}; what sets share counts whole)"
    about = f"{about}, each stage as measured when it ran, on {device}. {FRONT}"
    return _drawn(chosen, scaled, about, f"{name} to make one set", front=True)


FRONT = "Grey steps: the Pareto front, beyond which nothing here is both cheaper and better."


def pareto(points: Sequence[Point], *, higher_is_better: bool = True) -> list[Point]:
    """Return the points that none beats in both, from cheap to dear; of equally cheap ones the best."""
    sign = 1 if higher_is_better else -1
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (one.x, -sign * one.value)):
        if not front or sign * point.value > sign * front[-1].value:
            front.append(point)
    return front


def _points(chosen: Chosen, cost: Callable[[Sequence[Record]], float]) -> list[Point]:
    found = []
    for variant in chosen.variants:
        for ipc in chosen.ipcs:
            records = chosen.cells.get((variant, ipc))
            if records:
                one = chosen.estimate(variant, ipc)
                found.append(Point(chosen.labels[variant], ipc, cost(records), one.value, one.half_width))
    return found


def _making_s(records: Sequence[Record]) -> float:
    """Return mean seconds before students are trained, of what was needed too."""
    stages = stage_seconds(list(records))
    return max(LEAST_S, sum(seconds for stage, seconds in stages.items() if stage not in MAKING_NOT))


def _device(record: Record) -> str:
    """Return the accelerator's name, or the processor's."""
    host = record.host
    name = host.get("cpu") if record.precision.device == "cpu" else host.get("device")
    return str(name or record.precision.device)


def _drawn(chosen: Chosen, points: Sequence[Point], about: str, title: str, *, front: bool = False) -> Drawing:
    """Return the points with their intervals, rows at one place side by side; the caption begins with what they are about."""
    names = chosen.names
    beside = SIDE_BY_SIDE if shared([[point.x] for point in points]) else ""
    said = intervals.sentences([chosen.scores(*place) for place in chosen.cells], "Bars")
    caption = chosen.caption(about, said, beside, names.note)
    figure, (axes,) = style.panels(1, caption=caption, size=(AXES_INCHES + 0.8, 3.8))
    best, factor = _front(chosen, points) if front else [], style.percent(unit(chosen))
    style.stretch(axes, [point.x for point in points])
    _draw_front(axes, best, factor)
    marks = _marks(chosen)
    drawn_at = _draw_rows(axes, points, best, {label: f"{name}{marks[label]}" for label, name in names.shown.items()}, factor)
    several = front and len(chosen.ipcs) > 1
    if several:
        _number(axes, drawn_at, factor)
    axes.set_xlabel(f"{title} (numbers at points: images per class)" if several else title)
    axes.set_ylabel(style.axis_title(chosen.metric, unit(chosen)))
    legend(axes, caption)
    data: dict[str, Any] = {"x": title, "points": [vars(point) for point in points], "front": [vars(point) for point in best]}
    return Drawing(figure, data | {"shown_as": dict(names.shown)}, caption)


def _front(chosen: Chosen, points: Sequence[Point]) -> list[Point]:
    """Return the Pareto front of all methods; the ceiling is no rival of theirs."""
    rivals = [point for point in points if method_of(point.label) != CEILING]
    return pareto(rivals, higher_is_better=chosen.block is None or chosen.block.higher_is_better)


def _marks(chosen: Chosen) -> dict[str, str]:
    lines: dict[str, dict[float, Estimate]] = defaultdict(dict)
    for variant, ipc in sorted(chosen.cells, key=lambda place: place[1]):
        lines[chosen.labels[variant]][ipc] = chosen.estimate(variant, ipc)
    return intervals.marks(lines)


def _by_label(points: Sequence[Point]) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {point.label: [] for point in points}
    for point in sorted(points, key=lambda one: one.ipc):
        found[point.label].append(point)
    return found


def _draw_rows(
    axes: Axes, points: Sequence[Point], best: Sequence[Point], shown: Mapping[str, str], factor: float
) -> dict[Point, float]:
    """Draw a line for each row, with a ring around the best; return where along the axis points are drawn, beside each other."""
    rows = _by_label(points)
    step = TIGHT_POINTS if best else None
    drawn_at = side_by_side(axes, [[point.x for point in row] for row in rows.values()], AXES_INCHES, step=step)
    for (label, look), xs in zip(style.looks(list(rows)).items(), drawn_at, strict=True):
        line = [(x, factor * one.value, factor * (one.half_width or 0.0)) for x, one in zip(xs, rows[label], strict=True)]
        draw_bars(axes, line, (style.text(shown[label]), look))
        ringed = [(x, y) for (x, y, _), one in zip(line, rows[label], strict=True) if one in best]
        axes.plot([x for x, _ in ringed], [y for _, y in ringed], **RING)
    return {point: x for row, xs in zip(rows.values(), drawn_at, strict=True) for point, x in zip(row, xs, strict=True)}


def _number(axes: Axes, drawn_at: Mapping[Point, float], factor: float) -> None:
    """Write images per class at points: of those that lie together, or at one place, at the highest."""
    points = list(drawn_at)
    high, low = max(point.value for point in points), min(point.value for point in points)
    places = dict(zip(points, scaled(axes, [point.x for point in points]).tolist(), strict=True))

    def near(one: Point, other: Point) -> bool:
        across, up = abs(places[one] - places[other]), abs(one.value - other.value)
        return one.ipc == other.ipc and (across == 0 or (across < NEAR[0] and up <= NEAR[1] * (high - low)))

    numbered: list[Point] = []
    for point in sorted(points, key=lambda one: (-one.value, one.x)):
        if method_of(point.label) == CEILING or any(near(one, point) for one in numbered):
            continue
        numbered.append(point)
        where = (drawn_at[point], factor * point.value)
        text = axes.annotate(f"{point.ipc}", where, (5, 4), textcoords="offset points", fontsize=6.5, zorder=5)
        text.set_path_effects([withStroke(linewidth=2, foreground="white")])


def _draw_front(axes: Axes, front: Sequence[Point], factor: float) -> None:
    if front:
        x, y = [one.x for one in front], [factor * one.value for one in front]
        axes.step(x, y, where="post", color="#bbbbbb", linewidth=5, alpha=0.6, zorder=0, solid_capstyle="butt")
