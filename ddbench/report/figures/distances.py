"""Distances within classes in a teacher's features, class by class; 1 is as far apart as real images (after DWA, fig. 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.errors import DataMissing
from ddbench.report.figures import style
from ddbench.report.figures.choosing import Asked, Chosen, choose
from ddbench.report.figures.legends import legend
from ddbench.report.figures.style import Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from ddbench.report.figures.style import Look

EVALUATOR = "diversity"

FEW_CLASSES = 20
"""Up to so many classes each has its place on the axis; more are sorted."""

FEW_POINTS = 120
"""Up to so many points, of all methods together, too."""


def distance(asked: Asked) -> Drawing:
    """Return the within-class distance of each class, a line for each method, its distilled sets as a range."""
    chosen = choose(asked, metric="within_class_distance")
    found = {chosen.labels[variant]: by_class(asked, chosen, number) for number, variant in enumerate(chosen.variants)}
    called = chosen.names
    classes = len(next(iter(found.values()))[0])
    few = classes <= FEW_CLASSES and classes * len(found) <= FEW_POINTS
    order = "by class" if few else "classes of each method sorted by it"
    bars = "Bars: range over distilled sets; in" if few else "In"
    caption = chosen.caption(
        "Mean distance between the images of a class in a teacher's last features, divided by that between real train images of "
        f"it: 1 is as diverse as real images; {order}. {bars} brackets: mean over classes.",
        called.note,
    )
    figure, (axes,) = style.panels(1, caption=caption, size=(6.8, 3.6))
    axes.axhline(1.0, color="#888888", linewidth=1, label="real images (1)")
    step = min(0.12, 0.8 / len(found))
    for number, (label, look) in enumerate(style.looks(list(found)).items()):
        _draw(axes, found[label], (called.shown[label], look), offset=(number - (len(found) - 1) / 2) * step if few else None)
    axes.set_xlabel("class" if few else "classes, sorted")
    axes.set_ylabel("normalised feature distance")
    axes.set_ylim(bottom=0)
    if few:
        axes.set_xticks(range(classes))
    legend(axes, caption)
    methods = {label: _json(values) for label, values in found.items()}
    data: dict[str, Any] = {"methods": methods, "shown_as": dict(called.shown)}
    return Drawing(figure, data, caption)


def by_class(asked: Asked, chosen: Chosen, number: int) -> NDArray[np.float64]:
    """Return float64 (3, classes): mean, lowest and highest distance over a method's distilled sets; NaN where none has any."""
    (ipc,) = chosen.ipcs
    records = chosen.cells[chosen.variants[number], ipc]
    sets = {record.distilled_sha256: asked.sidecars.kept(record, EVALUATOR)["distance"] for record in records}
    rows = np.stack(list(sets.values())).astype(np.float64)
    if np.isnan(rows).all():
        raise DataMissing("no class of these sets has two images, so there is no distance; take a larger --ipc")
    return np.stack([rows.mean(axis=0), rows.min(axis=0), rows.max(axis=0)])


def _draw(axes: Axes, values: NDArray[np.float64], who: tuple[str, Look], *, offset: float | None) -> None:
    label, look = who
    mean, low, high = values
    name = f"{style.text(label)} ({np.nanmean(mean):.2f})"
    if offset is None:
        axes.plot(np.sort(mean), color=look.colour, linestyle=look.line, linewidth=1.6, label=name)
        return
    x = np.arange(len(mean)) + offset
    axes.errorbar(
        x,
        mean,
        yerr=[mean - low, high - mean],
        color=look.colour,
        marker=look.marker,
        linestyle="none",
        markersize=5,
        capsize=2,
        label=name,
    )


def _json(values: NDArray[np.float64]) -> dict[str, list[float | None]]:
    names = ("mean", "low", "high")
    return {name: [None if np.isnan(one) else float(one) for one in row] for name, row in zip(names, values, strict=True)}
