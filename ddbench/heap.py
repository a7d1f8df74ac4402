"""The heaps of C and of Python: what one step frees is kept for the next, and garbage is not looked for while a command starts.

glibc gives a block above 32 MiB back the moment it is freed. An activation of a hundred images is larger, so that every step takes
dozens of them anew, page by page and each page zeroed by the system: a third of a ConvNet's step on a CPU.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""Of `mallopt` (malloc.h)."""

LARGEST_BYTES = 2**30
"""Blocks above this are still given back at once."""

KEPT_BYTES = 2**31 - 1
"""Free memory at the end of the heap above this is given back."""

USUAL = gc.get_threshold()

SELDOM = (200_000, *USUAL[1:])
"""New objects before Python looks for garbage: torch alone makes a million to stay, which `USUAL` goes through again and again."""


def collect_seldom() -> None:
    """Let Python look for garbage seldom, while a command of ours imports what it needs."""
    gc.set_threshold(*SELDOM)


def collect_as_usual() -> None:
    """Let it do so as often as ever again, before work in whose garbage large tensors may be; changes nothing but the above."""
    if gc.get_threshold() == SELDOM:
        gc.set_threshold(*USUAL)


def keep_freed() -> bool:
    """Let this process keep what it frees; return False where its C library does not know how (macOS, musl).

    What a process holds at its peak stays the same; it holds it longer.
    """
    mallopt = _known("mallopt")
    if mallopt is None:
        return False
    large = mallopt(M_MMAP_THRESHOLD, LARGEST_BYTES) or mallopt(M_MMAP_MAX, 0)  # before glibc 2.35 no such threshold was taken
    return bool(large and mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))


def give_back() -> None:
    """Give all that was freed and kept back to the system, where the C library knows how."""
    trim = _known("malloc_trim")
    if trim is not None:
        trim(0)


def _known(name: str) -> Callable[..., int] | None:
    """Return a function of glibc, or None where the C library is another."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
