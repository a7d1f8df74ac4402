"""A worker process: makes one unit after another as its driver tells it, over a pipe, and ends with it.

Started as `python -m ddbench.executors.worker DESCRIPTOR`. The first message holds the settings, every other one a task; answers
tell progress, notes, and how each unit ended. All are JSON: nothing that crosses the pipe is ever run.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from ddbench.heap import collect_seldom

if TYPE_CHECKING:
    from ddbench.executors.workbench import Workbench

Message = Mapping[str, Any]


def main(descriptor: int) -> None:
    """Make units until the driver closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides what ends
    pipe = Connection(descriptor)
    tasks = _listen(pipe)
    try:
        workbench = _workbench(tasks.get(), pipe)
        while True:
            send(pipe, _made(workbench, tasks.get(), pipe))
    except BrokenPipeError:
        os._exit(1)


def send(pipe: Connection, message: Message) -> None:
    """Write one message."""
    pipe.send_bytes(json.dumps(message, default=str).encode())


def receive(pipe: Connection) -> dict[str, Any]:
    """Return the next message.

    Raises:
        EOFError: The other side is gone.
    """
    message: dict[str, Any] = json.loads(pipe.recv_bytes())
    return message


def _listen(pipe: Connection) -> queue.Queue[Message]:
    """Return a queue that gets every message; when the driver is gone the process ends at once, whatever it is doing."""
    messages: queue.Queue[Message] = queue.Queue()

    def listen() -> None:
        while True:
            try:
                messages.put(receive(pipe))
            except (EOFError, OSError):
                os._exit(0)  # nothing is lost: every file of the store is written whole or not at all

    threading.Thread(target=listen, daemon=True).start()
    return messages


def _workbench(first: Message, pipe: Connection) -> Workbench:
    from ddbench.executors.workbench import Workbench
    from ddbench.settings import settings_from_json
    from ddbench.workspace import open_workspace

    return Workbench(open_workspace(settings_from_json(first["settings"]), PipeReporter(pipe)))


def _made(workbench: Workbench, content: Message, pipe: Connection) -> Message:
    """Return how a unit ended, after telling when it began."""
    from ddbench.executors.problems import problem_of
    from ddbench.executors.units import task_from_json

    begun, problem, store = time.monotonic(), None, workbench.workspace.store

    def took() -> None:
        nonlocal begun
        begun = time.monotonic()
        send(pipe, {"type": "took"})

    try:
        workbench.make(task_from_json(content), begun=took)
    except Exception as error:  # noqa: BLE001 - whatever a unit raises is told, and the worker stays
        problem = asdict(problem_of(error))
    damaged, store.damaged = store.damaged, []
    return {"type": "ended", "seconds": time.monotonic() - begun, "problem": problem, "damaged": damaged}


@dataclass
class PipeReporter:
    """Tells the driver what the worker does."""

    pipe: Connection

    def note(self, message: str) -> None:
        """Tell one line."""
        send(self.pipe, {"type": "note", "message": message})

    @contextmanager
    def stage(self, title: str) -> Iterator[PipeStage]:
        """Tell that a stage begins, and that it is over."""
        send(self.pipe, {"type": "begin", "title": title})
        try:
            yield PipeStage(self.pipe)
        finally:
            send(self.pipe, {"type": "over"})


@dataclass
class PipeStage:
    """Tells the driver how far a stage is."""

    pipe: Connection

    def update(self, step: int, total: int, **scalars: float) -> None:
        """Tell the steps done, the steps in all, and a few numbers."""
        send(self.pipe, {"type": "step", "step": step, "total": total, "scalars": scalars})


if __name__ == "__main__":
    collect_seldom()
    main(int(sys.argv[1]))
