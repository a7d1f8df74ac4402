"""Where the lines of small pictures run: numbers for templates, no markup. They need no script and print well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from ddbench.report.site.texts import Whole

if TYPE_CHECKING:
    from ddbench.report.site.admission import Entry
    from ddbench.report.site.board import Line, Ranking

WIDTH, HEIGHT = 640, 220
"""Of a curve's plot, in the units of its view box."""

MOST_CURVES = 12

WHISKERS = 200
"""Width of a whisker plot."""


@dataclass(frozen=True)
class Curve:
    """A student's training loss."""

    name: str
    points: Whole
    """For a polyline."""
    dash: int
    """0 to 3: which line style tells it from others; distill seeds take turns."""


@dataclass(frozen=True)
class Curves:
    """Training losses of a line, on one pair of axes."""

    curves: tuple[Curve, ...]
    low: float
    high: float
    first_epoch: int
    last_epoch: int
    begins: float
    """Mean loss at the first point; what a reader without the picture is told."""
    ends: float
    logarithmic: bool
    left_out: int


@dataclass(frozen=True)
class Whisker:
    """An interval on an axis: where it begins, stands and ends, and where zero is."""

    low: float | None
    at: float
    high: float | None
    zero: float


def curves(entries: Sequence[Entry]) -> Curves | None:
    """Return the training losses of records, or None where none has a curve."""
    with_curve = [entry.record for entry in entries if len(entry.record.training.curve) > 1]
    if not with_curve:
        return None
    shown = with_curve[:MOST_CURVES]
    points = [point for record in shown for point in record.training.curve]
    first, last = min(epoch for epoch, _ in points), max(epoch for epoch, _ in points)
    low, high = min(loss for _, loss in points), max(loss for _, loss in points)
    scale = math.log if low > 0 else float
    across, up = WIDTH / max(1, last - first), HEIGHT / ((scale(high) - scale(low)) or 1.0)
    drawn = tuple(
        Curve(
            f"distill seed {record.cell.distill_seed}, eval seed {record.cell.eval_seed}",
            Whole(
                " ".join(
                    f"{(epoch - first) * across:.0f},{HEIGHT - (scale(loss) - scale(low)) * up:.1f}"
                    for epoch, loss in record.training.curve
                )
            ),
            record.cell.distill_seed % 4,
        )
        for record in shown
    )
    begins = fmean(record.training.curve[0][1] for record in shown)
    ends = fmean(record.training.curve[-1][1] for record in shown)
    return Curves(drawn, low, high, first, last, begins, ends, low > 0, len(with_curve) - len(shown))


def differences(lines: Sequence[tuple[Ranking, Line]]) -> dict[str, Whisker]:
    """Return where the lines' differences to random lie on one axis that has zero on it, by the lines' ids."""
    found = {line.id: line.result.difference for _, line in lines if line.result.difference is not None}
    ends = [end for one in found.values() for end in (one.interval or (one.value,)) if end is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    scale = WHISKERS / ((high - low) or 1.0)

    def place(value: float) -> float:
        return round((value - low) * scale, 1)

    return {
        name: Whisker(
            place(one.interval[0]) if one.interval else None,
            place(one.value),
            place(one.interval[1]) if one.interval else None,
            place(0),
        )
        for name, one in found.items()
        if one.value is not None
    }
