"""Running out of memory: where nothing about a batch decides the answer, it is asked in halves, and the halves stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from ddbench.errors import OutOfMemory

if TYPE_CHECKING:
    from torch import Tensor

CPU_WORDS = ("can't allocate memory", "not enough memory")
"""What torch's CPU allocator says; it has no error of its own, as accelerators have."""


def ran_out(error: RuntimeError) -> bool:
    """Return whether an error means that the device's memory, or the host's, did not suffice."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in CPU_WORDS)


class Pieces:
    """How many items are worked on at once: as many as wanted until memory runs out, then half as many, and so on."""

    def __init__(self, what: str, note: Callable[[str], None] | None = None) -> None:
        """Begin with whole batches.

        Args:
            what: What is worked on, for the note: `images per test pass`.
            note: Told in one line of every halving.
        """
        self.what = what
        self.note = note
        self.limit: int | None = None
        """At most so many at once; None until memory has run out."""

    def joined(self, function: Callable[[slice], Tensor], count: int, *, at_once: int) -> Tensor:
        """Return a function's rows for `count` items, asked in slices of `at_once`, or of what memory allows, and joined.

        Raises:
            OutOfMemory: Memory does not suffice for a single item.
        """
        rows: list[Tensor] = []
        start = 0
        while start < count:
            place = slice(start, min(start + min(at_once, self.limit or at_once), count))
            found = self._tried(function, place)
            if found is not None:
                rows.append(found)
                start = place.stop
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def _tried(self, function: Callable[[slice], Tensor], place: slice) -> Tensor | None:
        """Return the function's rows for a slice, or None after halving what is tried; the failed try is forgotten by then."""
        try:
            return function(place)
        except RuntimeError as error:
            if not ran_out(error):
                raise
            if place.stop - place.start == 1:
                raise OutOfMemory(
                    f"memory does not suffice for a single one of {self.what}; use a device with more of it"
                ) from error
        self._halve(place.stop - place.start)
        return None

    def _halve(self, failed: int) -> None:
        self.limit = failed // 2
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()
        if self.note:
            self.note(f"memory ran out at {failed} {self.what}: went on with {self.limit}")
