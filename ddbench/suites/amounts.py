"""Amounts as people write them: `2h`, `90m`, `8G`."""

from __future__ import annotations

import re

SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "": 1}
BYTES = {"T": 2**40, "G": 2**30, "M": 2**20, "K": 2**10, "": 1}


def seconds_in(text: str) -> float:
    """Return the seconds of a duration: `90`, `90s`, `45m`, `2h`, `1h30m`, `1d12h`.

    Raises:
        ValueError: It is no duration, or none above zero.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text or not any(float(number) for number, _ in parts):
        raise ValueError(f"{text!r} is no duration; write 90s, 45m, 2h or 1h30m")
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


def bytes_in(text: str) -> int:
    """Return the bytes of a size: `8G`, `512M`, `1.5G`, each a power of 1024.

    Raises:
        ValueError: It is no size, or none above zero.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([TGMK]?)(?:i?B)?", text, flags=re.IGNORECASE)
    if found is None or not float(found[1]):
        raise ValueError(f"{text!r} is no size; write 512M, 8G or bytes")
    return int(float(found[1]) * BYTES[found[2].upper()])
