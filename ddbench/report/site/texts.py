"""Text of other people's records, made harmless for a page: one line, no control characters, cut where it is long."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from ddbench.report.layout import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST = 400
"""Characters of a text on a page; what is longer is cut, and the cut says so."""


class Whole(str):
    """Text that a page shows in full: it was made here, of parts that were cut."""

    __slots__ = ()


def cut(text: str, longest: int = LONGEST) -> str:
    """Return text on one line without control characters; what is longer than `longest` loses its end, and says so."""
    head = text[: 2 * longest]
    shown = head if head.isprintable() else plain(head)
    if len(text) <= longest:
        return shown
    said = f" … (cut: {len(text):,} characters)"
    return shown[: max(0, longest - len(said))] + said


def page_name(name: str) -> str:
    """Return a file name for a name of any kind: a readable part of letters and digits, and a hash that tells names apart."""
    slug = re.sub(r"[^a-z0-9]+", "-", name[:200].lower()).strip("-")[:40].strip("-")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{slug}-{digest}" if slug else digest


def value_text(value: object) -> str:
    """Return an option's value for a person."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(value_text(item) for item in value) or "none"
    return "none" if value is None else cut(str(value))


def flat(content: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings as names with dots and texts, those that are empty or not set left out."""
    found: list[tuple[str, str]] = []
    for name, value in content.items():
        items = list(enumerate(value, 1)) if isinstance(value, list | tuple) and value and isinstance(value[0], dict) else None
        if isinstance(value, dict):
            found += flat(value, f"{prefix}{name}.")
        elif items:
            for number, item in items:
                found += (
                    flat(item, f"{prefix}{name}.{number}.") if isinstance(item, dict) else [(f"{prefix}{name}", value_text(item))]
                )
        elif value not in (None, [], (), ""):
            found.append((f"{prefix}{name}", value_text(value)))
    return found
