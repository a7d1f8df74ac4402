"""Legends outside the axes: above where that takes few lines, else beside, in a figure that grows with them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ddbench.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONT_SIZE = 8

WIDEST = 56
"""Characters of a label in one line."""

MOST_ABOVE = 3
"""Lines of a legend above; what takes more stands beside."""

COLUMN_CHARACTERS = 13
"""An inch holds, of labels side by side."""

PAD_INCHES = 0.15


def legend(axes: Axes, caption: str) -> None:
    """Give a figure with one panel its legend, outside the axes, where it hides no point; the figure grows by it."""
    figure = axes.get_figure(root=True)
    if figure is not None:
        put(figure, *axes.get_legend_handles_labels(), caption=caption)


def put(figure: Figure, handles: Sequence[Any], labels: Sequence[str], *, caption: str, title: str | None = None) -> None:
    """Put a legend above a figure's panels or beside them, make room for it, and set the caption anew.

    Args:
        figure: Made by `style.panels`.
        handles: What is explained.
        labels: One for each; long ones are wrapped.
        caption: The figure's.
        title: Of the legend.
    """
    width, height = style.panel_inches(figure, caption)
    longest = max((len(label) for label in labels), default=0)
    columns = max(1, min(len(labels), int(width * COLUMN_CHARACTERS / max(12, longest + 7))))
    above = -(-len(labels) // columns) <= MOST_ABOVE and longest <= WIDEST
    found = figure.legend(
        handles,
        [wrapped(label, WIDEST) for label in labels],
        loc="outside upper center" if above else "outside right upper",
        ncols=columns if above else 1,
        fontsize=FONT_SIZE,
        frameon=False,
        title=title,
        title_fontsize=FONT_SIZE,
    )
    box = found.get_window_extent()
    wide, high = box.width / figure.dpi + PAD_INCHES, box.height / figure.dpi + PAD_INCHES
    style.lay_out(figure, (width, height + high) if above else (width + wide, max(height, high)), caption)


def wrapped(label: str, characters: int) -> str:
    """Return a label in lines of at most so many characters."""
    return "\n".join(textwrap.wrap(label, characters)) or label
