"""Helper processes on this machine: they make cells from the plan's end while the caller makes them from its beginning.

They meet through the store alone. A key that one process holds is left to it, so nothing is made twice; a helper that dies loses
only what it was making. Where nothing stands against it a helper is a fork of the process, which is at work at once; elsewhere a
fresh interpreter that is told its work as JSON and needs some seconds, so that a notebook or a script may start one as well.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from ddbench.heap import collect_seldom

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from ddbench.planning import Plan
    from ddbench.workspace import Workspace

END_S = 10.0
"""How long a helper that was asked to end may take before it is made to."""


class Helper(Protocol):
    """A process that helps."""

    def end(self) -> None:
        """Ask it to end, and see that it does."""
        ...


@contextlib.contextmanager
def helping(planned: Plan, workspace: Workspace, *, count: int) -> Iterator[list[Helper]]:
    """Run `count` helper processes, each with the threads of the plan, while the block runs; they end with it."""
    start = _forked if may_fork(planned) else _started
    helpers: list[Helper] = []
    try:
        helpers += [start(planned, workspace) for _ in range(count)]
        yield helpers
    finally:
        for helper in helpers:
            helper.end()


def may_fork(planned: Plan) -> bool:
    """Return whether helpers may be forks of this process: what they need of it must work in a copy that has one thread.

    So OpenMP's other threads must not be called for, torch must have no accelerator whose threads it would miss, and no thread
    but one that draws progress may hold what the copy would wait for.
    """
    import torch

    if sys.platform != "linux" or planned.threads != 1 or torch.accelerator.is_available():
        return False
    others = (thread for thread in threading.enumerate() if thread is not threading.main_thread())
    return threading.current_thread() is threading.main_thread() and all(type(one).__module__ == "rich.live" for one in others)


@dataclass
class Forked:
    """A helper that is a copy of this process."""

    process: BaseProcess

    def end(self) -> None:
        """Ask it to end, and see that it does."""
        self.process.terminate()
        self.process.join(END_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@dataclass
class Started:
    """A helper that is an interpreter of its own."""

    process: subprocess.Popen[str]

    def end(self) -> None:
        """Ask it to end, and see that it does."""
        self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _forked(planned: Plan, workspace: Workspace) -> Forked:
    process = multiprocessing.get_context("fork").Process(target=_copy, args=(planned, workspace, os.getpid()), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any other thread, OpenMP's idle ones among them
        process.start()
    return Forked(process)


def _started(planned: Plan, workspace: Workspace) -> Started:
    same = {"request": asdict(planned.request), "place": planned.place.to_json(), "settings": workspace.settings.to_json()}
    task = json.dumps({**same, "parent": os.getpid()}, default=str)
    environment = {**os.environ, "OMP_NUM_THREADS": str(planned.threads)}
    command = [sys.executable, "-m", "ddbench.executors.helping"]
    helper = subprocess.Popen(  # noqa: S603 - our own module in our own interpreter
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    if helper.stdin is not None:
        with contextlib.suppress(BrokenPipeError), helper.stdin:
            helper.stdin.write(task)
    return Started(helper)


def _copy(planned: Plan, workspace: Workspace, parent: int) -> None:
    """Help in a copy of the process, which says nothing and ends when it is asked to."""
    from ddbench.progress import Silent

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    with contextlib.suppress(KeyboardInterrupt):
        _help(planned, replace(workspace, reporter=Silent()), parent)


def _help(planned: Plan, workspace: Workspace, parent: int) -> None:
    """Make cells from the end of the plan, those that are free, until all are done or the parent is gone.

    Failures are left to the parent, which meets the same cell, fails the same way, and keeps why.
    """
    from ddbench.making import open_session
    from ddbench.students import student_record

    session = open_session(planned, workspace)
    for one in reversed(planned.cells):
        if os.getppid() != parent:
            return
        if not one.stored:
            with contextlib.suppress(Exception):
                student_record(session, one.stage, one.stage.title, wait=False)


def _told(task: Mapping[str, Any]) -> None:
    """Help as the task says, which is planned again here."""
    from ddbench.executors.units import request_from_json
    from ddbench.place import place_from_json
    from ddbench.planning import Known, plan
    from ddbench.settings import settings_from_json
    from ddbench.workspace import open_workspace

    workspace, request = open_workspace(settings_from_json(task["settings"])), request_from_json(task["request"])
    planned = plan(request, workspace, known=Known(workspace, {request.device: place_from_json(task["place"])}))
    _help(planned, workspace, task["parent"])


if __name__ == "__main__":
    collect_seldom()
    given = json.loads(sys.stdin.read())
    with contextlib.suppress(KeyboardInterrupt):
        _told(given)
