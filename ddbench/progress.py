"""How a long stage tells what it does; the command line draws it, notebooks may ignore it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class StageProgress(Protocol):
    """Receives how far one stage is."""

    def update(self, step: int, total: int, **scalars: float) -> None:
        """Tell the steps done, the steps in all, and a few numbers such as the loss."""
        ...


class Reporter(Protocol):
    """Receives what a run does."""

    def note(self, message: str) -> None:
        """Tell the user one line."""
        ...

    def stage(self, title: str) -> AbstractContextManager[StageProgress]:
        """Open a stage; it is over when the block ends."""
        ...


class Silent:
    """A reporter, and its own stages, that says nothing but keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    @contextmanager
    def stage(self, title: str) -> Iterator[StageProgress]:  # noqa: ARG002 - a reporter's signature
        yield self

    def update(self, step: int, total: int, **scalars: float) -> None:
        """Ignore how far the stage is."""


def duration(seconds: float) -> str:
    """Return a duration for a person: `40 s`, `12 min`, `2 h 10 min`."""
    if seconds < 1:
        return "under a second"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
