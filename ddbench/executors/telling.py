"""What workers tell of their progress, as messages that anything may carry, and how the driver shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
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
    _stages: list[tuple[AbstractContextManager[StageProgress], StageProgress]] = field(default_factory=list)
    """What is shown of it, outer stages first."""

    def show(self, message: Message) -> None:
        """Pass on a note, or how far a stage is."""
        kind = message["type"]
        if kind == "note":
            self.reporter.note(message["message"])
        elif kind == "begin":
            stage = self.reporter.stage(message["title"])
            self._stages.append((stage, stage.__enter__()))
        elif kind == "over":
            self.over()
        elif kind == "step" and self._stages:
            self._stages[-1][1].update(message["step"], message["total"], **message["scalars"])

    def over(self) -> None:
        """End the innermost stage that is shown, if there is one."""
        if self._stages:
            self._stages.pop()[0].__exit__(None, None, None)

    def close(self) -> None:
        """End all that is shown: nothing more will be told."""
        while self._stages:
            self.over()
