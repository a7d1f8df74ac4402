"""What goes where: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from ddbench.plugins import Plugins

PIPED_WIDTH = 160
"""Columns of a table that goes to a file or another program."""


def write_json(content: object) -> None:
    """Print JSON on stdout; NaN and infinity are refused."""
    typer.echo(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))


def write(text: str) -> None:
    """Print text on stdout."""
    typer.echo(text, nl=not text.endswith("\n"))


def say(message: str) -> None:
    """Print one line on stderr."""
    typer.echo(" ".join(message.split()), err=True)


def tell_load_errors(plugins: Plugins) -> None:
    """Say on stderr which plugins could not be loaded; their names alone are missing."""
    for error in plugins.errors:
        say(f"plugin {error.entry_point!r} of {error.distribution} failed and is left out: {error.message}; see: ddbench doctor")


def console(width: int | None = None) -> Console:
    """Return a console on stdout, as wide as the terminal, wider where there is none."""
    from rich.console import Console

    if width is None and not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        width = PIPED_WIDTH
    return Console(width=width, highlight=False, emoji=False, markup=False)


def columns(rows: Iterable[Sequence[str]], *, indent: int = 0) -> str:
    """Return rows as aligned text, the last column wrapped to the terminal."""
    lines = [[str(cell) for cell in row] for row in rows]
    if not lines:
        return ""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    start = indent + sum(widths) + 2 * len(widths)
    room = max(30, shutil.get_terminal_size((PIPED_WIDTH, 24)).columns - start)
    wrapped = []
    for line in lines:
        left = " " * indent + "".join(cell.ljust(width + 2) for cell, width in zip(line, widths, strict=False))
        last = textwrap.wrap(line[-1], room, break_long_words=False, break_on_hyphens=False) or [""]
        wrapped += [(left + last[0]).rstrip(), *(" " * start + more for more in last[1:])]
    return "\n".join(wrapped)
