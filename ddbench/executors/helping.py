"""Helper processes on this machine: they make cells from the plan's end while the caller makes them from its beginning.

They meet through the store alone. A key that one process holds is left to it, so nothing is made twice; a helper that dies loses
only what it was making. A helper is a fresh interpreter that is told its work as JSON, so that a notebook or a script without a
main guard may start one.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ddbench.heap import collect_seldom

if TYPE_CHECKING:
    from ddbench.planning import Plan
    from ddbench.settings import Settings

END_S = 10.0
"""How long a helper that was asked to end may take before it is made to."""


@contextlib.contextmanager
def helping(planned: Plan, settings: Settings, *, count: int) -> Iterator[None]:
    """Run `count` helper processes, each with the threads of the plan, while the block runs; they end with it."""
    same = {"request": asdict(planned.request), "place": planned.place.to_json(), "settings": settings.to_json()}
    task = json.dumps({**same, "parent": os.getpid()}, default=str)
    helpers = [_start(task, planned.threads) for _ in range(count)]
    try:
        yield
    finally:
        for helper in helpers:
            helper.terminate()
        for helper in helpers:
            _end(helper)


def _start(task: str, threads: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "ddbench.executors.helping"]
    helper = subprocess.Popen(  # noqa: S603 - our own module in our own interpreter
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    if helper.stdin is not None:
        with contextlib.suppress(BrokenPipeError), helper.stdin:
            helper.stdin.write(task)
    return helper


def _end(helper: subprocess.Popen[str]) -> None:
    try:
        helper.wait(END_S)
    except subprocess.TimeoutExpired:
        helper.kill()
        helper.wait()


def _help(task: Mapping[str, Any]) -> None:
    """Make cells from the end of the plan, those that are free, until all are done or the parent is gone.

    Failures are left to the parent, which meets the same cell, fails the same way, and keeps why.
    """
    from ddbench.executors.units import request_from_json
    from ddbench.making import open_session
    from ddbench.place import place_from_json
    from ddbench.planning import Known, plan
    from ddbench.settings import settings_from_json
    from ddbench.students import student_record
    from ddbench.workspace import open_workspace

    workspace, request = open_workspace(settings_from_json(task["settings"])), request_from_json(task["request"])
    planned = plan(request, workspace, known=Known(workspace, {request.device: place_from_json(task["place"])}))
    session = open_session(planned, workspace)
    for one in reversed(planned.cells):
        if os.getppid() != task["parent"]:
            return
        if not one.stored:
            with contextlib.suppress(Exception):
                student_record(session, one.stage, one.stage.title, wait=False)


if __name__ == "__main__":
    collect_seldom()
    given = json.loads(sys.stdin.read())
    with contextlib.suppress(KeyboardInterrupt):
        _help(given)
