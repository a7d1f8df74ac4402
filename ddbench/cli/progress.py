"""Progress on stderr: bars with stage, step, loss and time left on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ddbench.cli.output import say
from ddbench.progress import duration

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ddbench.progress import Reporter, StageProgress

LINE_INTERVAL_S = 10.0


@dataclass
class Pace:
    """Tells the time left from the steps made since the first one seen, so that a resumed stage is not flattered."""

    clock: Callable[[], float] = time.monotonic
    first: tuple[int, float] | None = None

    def left_s(self, step: int, total: int) -> float | None:
        """Return seconds left, or None before two different steps were seen."""
        now = self.clock()
        if self.first is None:
            self.first = (step, now)
        steps, seconds = step - self.first[0], now - self.first[1]
        return seconds / steps * (total - step) if steps > 0 else None


def described(step: int, total: int, left_s: float | None, scalars: dict[str, float]) -> str:
    """Return `300/1000, loss 0.123, 12 s left`."""
    parts = [f"{step}/{total}", *(f"{name} {value:.4g}" for name, value in scalars.items())]
    if left_s is not None and step < total:
        parts.append(f"{duration(left_s)} left")
    return ", ".join(parts)


@dataclass
class Quiet:
    """Knows whether the last line is old enough for another."""

    clock: Callable[[], float] = time.monotonic
    told: float | None = None

    def over(self) -> bool:
        """Return whether ten seconds went by since the last line or the first question, and start anew if so."""
        now = self.clock()
        self.told = now if self.told is None else self.told
        if now - self.told < LINE_INTERVAL_S:
            return False
        self.told = now
        return True


@dataclass
class LineStage:
    """A stage told in lines, one every ten seconds."""

    title: str
    quiet: Quiet
    pace: Pace

    def update(self, step: int, total: int, **scalars: float) -> None:
        """Print how far the stage is, where the last line is old enough."""
        left = self.pace.left_s(step, total)
        if self.quiet.over():
            say(f"{self.title}: {described(step, total, left, scalars)}")


@dataclass
class LineReporter:
    """Tells notes at once, and stages in a line every ten seconds, however short each is."""

    clock: Callable[[], float] = time.monotonic
    quiet: Quiet = field(init=False)

    def __post_init__(self) -> None:
        self.quiet = Quiet(self.clock)

    def note(self, message: str) -> None:
        """Print one line."""
        say(message)

    @contextmanager
    def stage(self, title: str) -> Iterator[StageProgress]:
        """Give a stage; its end is told where it took a while or nothing was told for a while."""
        start = self.clock()
        self.quiet.over()
        yield LineStage(title, self.quiet, Pace(self.clock))
        seconds = self.clock() - start
        if self.quiet.over() or seconds >= LINE_INTERVAL_S:
            say(f"{title}: done in {duration(seconds)}")


@dataclass
class BarStage:
    """A stage told as a bar."""

    progress: Progress
    task: TaskID
    pace: Pace = field(default_factory=Pace)

    def update(self, step: int, total: int, **scalars: float) -> None:
        """Move the bar."""
        text = described(step, total, self.pace.left_s(step, total), scalars)
        self.progress.update(self.task, completed=step, total=total, text=text)


@dataclass
class BarReporter:
    """Tells notes above the bars; a stage's bar is there while it runs."""

    progress: Progress

    def note(self, message: str) -> None:
        """Print one line above the bars."""
        from rich.text import Text

        self.progress.console.print(Text(" ".join(message.split())))

    @contextmanager
    def stage(self, title: str) -> Iterator[StageProgress]:
        """Give a stage with its bar."""
        task = self.progress.add_task(title, total=None, text="")
        try:
            yield BarStage(self.progress, task)
        finally:
            self.progress.remove_task(task)


def shown_progress() -> AbstractContextManager[Reporter]:
    """Return a reporter for the length of a block: bars where stderr is a terminal, else lines."""
    return _bars() if sys.stderr.isatty() else _lines()


@contextmanager
def _lines() -> Iterator[Reporter]:
    yield LineReporter()


@contextmanager
def _bars() -> Iterator[Reporter]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    bars = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[text]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
    with bars:
        yield BarReporter(bars)
