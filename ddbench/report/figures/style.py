"""How figures look: colours that the colour-blind tell apart; markers, lines and hatches say the same in black and white."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator

from ddbench.errors import BadRequest, EnvironmentProblem
from ddbench.report.grouping import CONTROL
from ddbench.report.layout import plain

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito (2008), without yellow, which white paper swallows; black is the control's."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")

LINES = ("-", (0, (6, 2)), (0, (6, 2, 1, 2)), (0, (2, 1)), (0, (8, 2, 2, 2, 2, 2)))

HATCHES = ("", "///", "...", "\\\\\\", "xxx", "++", "oo")

FORMATS = (".svg", ".png", ".pdf")

DPI = 150

DECADE = 10.0

CAPTION_SIZE, LINE_INCHES = 7.5, 0.145

SETTINGS: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "ddbench",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Look:
    """How a method is drawn, in every panel of a figure."""

    colour: str
    marker: str
    line: Any
    hatch: str


@dataclass(frozen=True)
class Drawing:
    """A figure and the numbers in it."""

    figure: Figure
    data: dict[str, Any]
    """What is drawn, as JSON values."""
    caption: str


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """Return a look per label: black and dashed for the control, the others told apart by colour, marker and line at once."""
    found = {}
    others = [label for label in labels if not is_control(label)]
    for number, label in enumerate(others):
        found[label] = Look(
            COLOURS[number % len(COLOURS)],
            MARKERS[number % len(MARKERS)],
            LINES[number % len(LINES)],
            HATCHES[number % len(HATCHES)],
        )
    return found | {label: Look("#000000", "x", (0, (1, 1.5)), "|||") for label in labels if is_control(label)}


def is_control(label: str) -> bool:
    """Return whether a row's label is the random control's."""
    return label.partition(" ")[0] == CONTROL


def panels(count: int, *, caption: str, size: tuple[float, float] = (4.2, 3.2), columns: int = 3) -> tuple[Figure, list[Axes]]:
    """Return a figure of equal panels with a caption under them.

    Args:
        count: Panels.
        caption: Printed under them; wrapped to the figure's width.
        size: Of one panel, in inches.
        columns: Panels next to each other, at most.
    """
    across = min(count, columns)
    down = -(-count // across)
    width = max(size[0] * across, 4.5)
    lines = wrapped(caption, width)
    below = LINE_INCHES * len(lines) + 0.1
    height = size[1] * down + below
    with rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), dpi=DPI)
        figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0.0, below / height, 1.0, 1 - below / height)))
        axes = figure.subplots(down, across, squeeze=False).ravel().tolist()
    for empty in axes[count:]:
        empty.set_visible(False)
    figure.text(0.01, 0.05 / height, "\n".join(lines), fontsize=CAPTION_SIZE, va="bottom", color="#333333", parse_math=False)
    return figure, axes[:count]


def wrapped(caption: str, width: float) -> list[str]:
    """Return a caption's lines for a figure so many inches wide."""
    return textwrap.wrap(plain(caption), int(width * 16.5)) or [""]


def legend(axes: Axes) -> None:
    """Put the legend of a figure with one panel above it, where it hides no point."""
    handles, labels = axes.get_legend_handles_labels()
    figure = axes.get_figure(root=True)
    if figure is None:
        return
    width = figure.get_figwidth()
    columns = max(1, min(len(labels), int(width * 13 / max(12, *(len(label) + 7 for label in labels)))))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, fontsize=8, frameon=False)


def stretch(axes: Axes, values: Sequence[float]) -> None:
    """Make the x axis logarithmic where positive values span more than a decade."""
    if min(values) > 0 and max(values) / min(values) >= DECADE:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))


def percent(unit: str) -> float:
    """Return what a metric's values are multiplied by to be shown: fractions are shown as percent."""
    return 100.0 if unit == "fraction" else 1.0


def axis_title(metric: str, unit: str) -> str:
    """Return a metric's name with its unit as it is shown."""
    shown = "%" if unit == "fraction" else unit
    return f"{plain(metric)} [{shown}]" if shown else plain(metric)


def text(label: str) -> str:
    """Return a label that comes from records as text: one line, no control characters, no mathematics."""
    return plain(label).replace("$", r"\$")


def save(drawing: Drawing, out: Path) -> list[Path]:
    """Write a figure by its suffix, or as SVG and PNG where there is none; equal figures give equal bytes.

    Returns:
        The files written.

    Raises:
        BadRequest: The suffix is none of `FORMATS`.
        EnvironmentProblem: A file cannot be written.
    """
    if out.suffix and out.suffix not in FORMATS:
        raise BadRequest(f"{out} has the suffix {out.suffix!r}; figures are written as {', '.join(FORMATS)}")
    files = [out] if out.suffix else [out.with_suffix(".svg"), out.with_suffix(".png")]
    for file in files:
        try:
            with rc_context(SETTINGS):
                drawing.figure.savefig(file, dpi=DPI, metadata=_metadata(file.suffix))
        except OSError as error:
            raise EnvironmentProblem(f"{file} cannot be written ({error.strerror}); name another file with --out") from error
    return files


def _metadata(suffix: str) -> dict[str, Any]:
    """Return metadata without a date or a version, so that files can be compared."""
    if suffix == ".svg":
        return {"Date": None, "Creator": "ddbench"}
    return {"Software": None} if suffix == ".png" else {"CreationDate": None, "Producer": None, "Creator": "ddbench"}
