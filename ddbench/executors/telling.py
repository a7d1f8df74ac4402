"""What workers tell of their progress, as messages that anything may carry, and how the driver shows them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddbench.progress import Reporter, StageProgress

Message = Mapping[str, Any]
Tell = Callable[[Message], None]


@dataclass(frozen=True)
class Telling:
    """A reporter that tells somebody else."""

    tell: Tell

    def note(self, message: str) -> None:
        """Tell one line."""
        self.tell({"type": "note", "message": message})

    @contextmanager
    def stage(self, title: str) -> Iterator[Telling]:
        """Tell that a stage begins, and that it is over."""
        self.tell({"type": "begin", "title": title})
        try:
            yield self
        finally:
            self.tell({"type": "over"})

    def update(self, step: int, total: int, **scalars: float) -> None:
        """Tell how far the stage is."""
        self.tell({"type": "step", "step": step, "total": total, "scalars": scalars})


@dataclass
class Shown:
    """One worker's messages, shown by a reporter of this process."""

    reporter: Reporter
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _stage: StageProgress | None = None

    def show(self, message: Message) -> None:
        """Pass on a note, or how far a stage is."""
        kind = message["type"]
        if kind == "note":
            self.reporter.note(message["message"])
        elif kind == "begin":
            self.close()
            self._stage = self._stack.enter_context(self.reporter.stage(message["title"]))
        elif kind == "over":
            self.close()
        elif kind == "step" and self._stage is not None:
            self._stage.update(message["step"], message["total"], **message["scalars"])

    def close(self) -> None:
        """End the stage that is shown, if there is one."""
        self._stack.close()
        self._stage = None
