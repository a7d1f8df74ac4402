"""Small pieces of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SECTIONS = {"Args": "Takes", "Raises": "Raises", "Returns": "Returns", "Attributes": "Holds"}
"""Headings of docstrings, and how the site has them."""

ENTRY = re.compile(r"(\*{0,2}[\w.]+(?: \([^)]*\))?): (.*)", re.DOTALL)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; nothing where there are no rows."""
    lines = [row(cells) for cells in rows]
    if not lines:
        return ""
    return "\n".join([row(headers), row(["---"] * len(headers)), *lines]) + "\n"


def row(cells: Iterable[str]) -> str:
    """Return one line of a table; a `|` in a cell does not end it, a line break in a cell becomes `<br>`."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", "<br>") for cell in cells) + " |"


def code(text: object) -> str:
    """Return inline code, also of text that holds a backtick; nothing for an empty text."""
    if str(text) == "":
        return ""
    return f"`` {text} ``" if "`" in str(text) else f"`{text}`"


def fenced(text: str, language: str) -> str:
    """Return a block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def blocks(parts: Iterable[str]) -> str:
    """Return parts one below the other, empty ones left out."""
    return "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"


def docstring(text: str) -> str:
    """Return a docstring's text as Markdown: its sections (`Args:`, `Raises:`) become lists."""
    parts: list[str] = []
    for block in text.strip().split("\n\n"):
        heading, _, body = block.partition("\n")
        name = SECTIONS.get(heading.strip().removesuffix(":"), "")
        parts.append(f"**{name}**\n\n{_entries(body)}" if name and heading.endswith(":") else block)
    return "\n\n".join(parts)


def _entries(body: str) -> str:
    """Return `name: text` lines as a list; lines indented further go on with the entry above."""
    entries: list[str] = []
    for line in body.splitlines():
        if line.startswith("    ") and not line.startswith("     ") and ENTRY.match(line.strip()):
            entries.append(line.strip())
        elif entries:
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line.strip())
    named = ((entry, ENTRY.match(entry)) for entry in entries)
    return "\n".join(f"- {code(found[1])}: {found[2]}" if found else f"- {entry}" for entry, found in named)
