"""Training curves: the students' loss by epoch, the mean of a method's students with the range between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.errors import DataMissing
from ddbench.report.figures import style
from ddbench.report.figures.choosing import Asked, choose
from ddbench.report.figures.legends import legend
from ddbench.report.figures.naming import names, refuse_many
from ddbench.report.figures.style import Drawing

if TYPE_CHECKING:
    from ddbench.records import Record

Curve = tuple[tuple[float, float], ...]


def curves(asked: Asked) -> Drawing:
    """Return training losses by epoch, a line for each method."""
    chosen = choose(asked)
    found: dict[str, dict[str, list[float]]] = {}
    for variant in chosen.variants:
        records = [record for ipc in chosen.ipcs for record in chosen.cells.get((variant, ipc), ())]
        with_curve = [record for record in records if len(record.training.curve) > 1]
        if with_curve:
            found[chosen.labels[variant]] = summarised(with_curve)
    if not found:
        raise DataMissing("these records hold no training curve of more than one epoch; a longer protocol has one")
    refuse_many(list(found))
    called = names(list(found))
    about = "Students' mean training loss by epoch: the mean over students, and the range between them."
    caption = chosen.caption(about, called.note)
    figure, (axes,) = style.panels(1, caption=caption, size=(6.4, 3.6))
    for label, look in style.looks(list(found)).items():
        one = found[label]
        name = style.text(called.shown[label])
        axes.plot(one["epoch"], one["mean"], label=name, color=look.colour, linestyle=look.line, linewidth=1.4)
        axes.fill_between(one["epoch"], one["low"], one["high"], color=look.colour, alpha=min(0.15, 0.9 / len(found)), linewidth=0)
    if all(value > 0 for one in found.values() for value in one["low"]):
        axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("training loss")
    legend(axes, caption)
    data: dict[str, Any] = {"curves": found, "shown_as": dict(called.shown)}
    return Drawing(figure, data, caption)


def summarised(records: Sequence[Record]) -> dict[str, list[float]]:
    """Return `epoch`, and by epoch the `mean`, `low` and `high` loss of students; between points losses are interpolated."""
    epochs = sorted({epoch for record in records for epoch, _ in record.training.curve})
    last = min(record.training.curve[-1][0] for record in records)
    shown = np.asarray([epoch for epoch in epochs if epoch <= last], dtype=float)
    losses = np.stack([np.interp(shown, *np.asarray(record.training.curve, dtype=float).T) for record in records])
    summary = {"mean": losses.mean(axis=0), "low": losses.min(axis=0), "high": losses.max(axis=0)}
    return {"epoch": shown.tolist(), **{name: values.tolist() for name, values in summary.items()}}
