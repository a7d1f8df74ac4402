"""How figures look: colours that the colour-blind tell apart; markers, lines and hatches say the same in black and white."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator

from ddbench.errors import BadRequest, EnvironmentProblem
from ddbench.report.figures.naming import method_of
from ddbench.report.grouping import CEILING, CONTROL
from ddbench.report.layout import plain

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito (2008), without yellow, which white paper swallows; black is the control's."""

CONTROL_MARKERS = ("x", "+", "1", "2", "3", "4")

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")

LINES = ("-", (0, (6, 2)), (0, (6, 2, 1, 2)), (0, (2, 1)), (0, (8, 2, 2, 2, 2, 2)))

HATCHES = ("", "///", "...", "\\\\\\", "xxx", "++", "oo")

FORMATS = (".svg", ".png", ".pdf")

DPI = 150

DECADE = 10.0

CAPTION_SIZE, LINE_INCHES = 7.5, 0.145

TITLE_SIZE, TITLE_CHARACTERS = 8, 13
"""Of a panel; an inch holds so many."""

PAD_INCHES = 0.06
"""Around panels."""

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
    """Return a look per label, in their order: colour, marker and line differ at once, and repeat after `naming.MOST`.

    The control is black and dotted, its versions told apart by markers; the ceiling is grey.
    """
    found, counts = {}, Counter[str]()
    for label in labels:
        kind = method_of(label) if method_of(label) in {CONTROL, CEILING} else ""
        found[label] = _look(kind, counts[kind])
        counts[kind] += 1
    return found


def _look(kind: str, number: int) -> Look:
    """Return the look of the so-manyeth row of a kind: the control, the ceiling, or a method."""
    if kind == CONTROL:
        return Look("#000000", CONTROL_MARKERS[number % len(CONTROL_MARKERS)], (0, (1, 1.5)), "|||")
    if kind == CEILING:
        return Look("#808080", "*", "-", "---")
    line = number + number // len(COLOURS)  # so that colour and line, and marker and line, repeat no earlier than all three
    return Look(
        COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)], LINES[line % len(LINES)], HATCHES[number % len(HATCHES)]
    )


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
    with rc_context(SETTINGS):
        figure = Figure(dpi=DPI)
        axes = figure.subplots(down, across, squeeze=False).ravel().tolist()
    for empty in axes[count:]:
        empty.set_visible(False)
    lay_out(figure, (max(size[0] * across, 4.5), size[1] * down), caption)
    return figure, axes[:count]


def lay_out(figure: Figure, inches: tuple[float, float], caption: str) -> None:
    """Give a figure its size, width and height without the caption, and the caption under it, instead of the one it had."""
    width, panels_high = inches
    lines = wrapped(caption, width)
    below = _below(lines)
    height = panels_high + below
    figure.set_size_inches(width, height)
    rect = (0.0, below / height, 1.0, 1 - below / height)
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=rect, w_pad=PAD_INCHES, h_pad=PAD_INCHES))
    for text in list(figure.texts):
        text.remove()
    figure.text(0.01, 0.05 / height, "\n".join(lines), fontsize=CAPTION_SIZE, va="bottom", color="#333333", parse_math=False)


def panel_inches(figure: Figure, caption: str) -> tuple[float, float]:
    """Return a figure's width, and its height without the caption."""
    width, height = (float(size) for size in figure.get_size_inches())
    return width, height - _below(wrapped(caption, width))


def _below(lines: Sequence[str]) -> float:
    return LINE_INCHES * len(lines) + 0.1


def wrapped(caption: str, width: float) -> list[str]:
    """Return a caption's lines for a figure so many inches wide."""
    return textwrap.wrap(plain(caption), int(width * 16.5), break_on_hyphens=False) or [""]


def title(axes: Axes, label: str, inches: float) -> None:
    """Write a row's label above its panel, in lines that are no wider than the panel."""
    lines = textwrap.wrap(label, max(8, int(inches * TITLE_CHARACTERS)))
    axes.set_title("\n".join(text(line) for line in lines), fontsize=TITLE_SIZE)


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
