"""Accuracy against what it costs: images per class, bytes, seconds; the Pareto front is marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ddbench.report.figures import style
from ddbench.report.figures.choosing import Asked, Chosen, bars, choose, unit
from ddbench.report.figures.style import Drawing
from ddbench.report.layout import bytes_text, plain
from ddbench.report.tables import stage_seconds, total_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ddbench.records import Record

MAKING_NOT = {"student", "test"}
"""Stages that judge a set and do not make it."""

HOUR_S = 3600.0

LEAST_S = 1e-3
"""What takes less is drawn here: a logarithmic axis has no zero."""


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
    caption = chosen.caption(f"{plain(asked.metric)} against images per class.", bars(chosen))
    drawing = _drawn(chosen, points, caption, "images per class")
    (axes,) = drawing.figure.axes
    ticks = sorted({point.x for point in points})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    return drawing


def against_bytes(asked: Asked) -> Drawing:
    """Return a metric against the bytes of the set with its labels, and the Pareto front."""
    chosen = choose(asked, free_ipc=True, metric=asked.metric)
    points = _points(chosen, lambda records: fmean(total_bytes(record) for record in records))
    about = f"{plain(asked.metric)} against what a set takes with its labels (a teacher's answers as the cheaper of storing "
    caption = chosen.caption(f"{about}them and storing the teacher). {FRONT}", bars(chosen))
    drawing = _drawn(chosen, points, caption, "bytes", front=True)
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
    scaled = [Point(one.label, one.ipc, one.x / HOUR_S, one.value, one.half_width) for one in points] if hours else points
    stages = sorted({stage for record in chosen.records for stage in record.cost} - MAKING_NOT)
    about = f"{plain(asked.metric)} against the time of making one set ({', '.join(stages)}; what sets share counts whole)"
    caption = chosen.caption(f"{about}, each stage as measured when it ran, on {device}. {FRONT}", bars(chosen))
    return _drawn(chosen, scaled, caption, f"{name} to make one set", front=True)


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


def _drawn(chosen: Chosen, points: Sequence[Point], caption: str, title: str, *, front: bool = False) -> Drawing:
    figure, (axes,) = style.panels(1, caption=caption, size=(6.4, 3.8))
    factor = style.percent(unit(chosen))
    labels = list(dict.fromkeys(point.label for point in points))
    best = pareto(points, higher_is_better=chosen.block is None or chosen.block.higher_is_better) if front else []
    _draw_front(axes, best, factor)
    for label, look in style.looks(labels).items():
        mine = sorted((point for point in points if point.label == label), key=lambda one: one.ipc)
        axes.errorbar(
            [one.x for one in mine],
            [factor * one.value for one in mine],
            yerr=[factor * (one.half_width or 0.0) for one in mine],
            label=style.text(label),
            color=look.colour,
            marker=look.marker,
            linestyle=look.line,
            linewidth=1.4,
            markersize=5,
            capsize=2.5,
            elinewidth=0.9,
        )
        if front:
            for one in mine:
                axes.annotate(f"{one.ipc}", (one.x, factor * one.value), (5, 4), textcoords="offset points", fontsize=6.5)
    style.stretch(axes, [point.x for point in points])
    axes.set_xlabel(f"{title} (numbers at points: images per class)" if front else title)
    axes.set_ylabel(style.axis_title(chosen.block.name if chosen.block else "", unit(chosen)))
    style.legend(axes)
    data: dict[str, Any] = {"x": title, "points": [vars(point) for point in points], "front": [vars(point) for point in best]}
    return Drawing(figure, data, caption)


def _draw_front(axes: Axes, front: Sequence[Point], factor: float) -> None:
    if front:
        x, y = [one.x for one in front], [factor * one.value for one in front]
        axes.step(x, y, where="post", color="#bbbbbb", linewidth=5, alpha=0.6, zorder=0, solid_capstyle="butt")
        axes.plot(x, y, linestyle="none", marker="o", markersize=11, markerfacecolor="none", markeredgecolor="#888888", zorder=0)
