"""Pictures of distilled sets, where a preview lies beside the records: in a store, or kept as `<distilled key>.png`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ddbench.report.site.admission import Entry

MOST_BYTES = 1024**2
"""A larger preview is not shown."""

MOST_PICTURES = 3
"""Of one line: of its first distilled sets."""

SIDE = 360
"""Pixels on the page of a picture's longer side, at most."""

MOST_PIXELS = 4096 * 4096

KEY = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True)
class Picture:
    """A PNG as it was found."""

    name: str
    """Below the site's root; from its bytes alone."""
    content: bytes
    size: tuple[int, int]
    distill_seed: int

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height on the page: small ones times a whole number, so that their pixels stay sharp."""
        longest = max(self.size)
        factor = SIDE // longest if longest <= SIDE else SIDE / longest
        return (max(1, round(self.size[0] * factor)), max(1, round(self.size[1] * factor)))


def beside(entries: Sequence[Entry]) -> list[Picture]:
    """Return the pictures of the entries' first distilled sets that have one."""
    found: dict[str, Picture] = {}
    for entry in entries:
        key = entry.record.distilled_key
        if key in found or not KEY.fullmatch(key) or len(found) == MOST_PICTURES:
            continue
        places = (entry.path.parent / f"{key}.png", entry.path.parent.parent / "distilled" / key / "preview.png")
        pictures = (_read(path, entry.record.cell.distill_seed) for path in places)
        first = next((picture for picture in pictures if picture), None)
        if first:
            found[key] = first
    return list(found.values())


def _read(path: Path, distill_seed: int) -> Picture | None:
    """Return a picture, or None where there is none that may be shown."""
    from PIL import Image

    try:
        if path.stat().st_size > MOST_BYTES:
            return None
        content = path.read_bytes()
        with Image.open(path, formats=["PNG"]) as image:
            size = image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    if size[0] * size[1] > MOST_PIXELS:
        return None
    return Picture(f"image/{hashlib.sha256(content).hexdigest()[:16]}.png", content, size, distill_seed)
