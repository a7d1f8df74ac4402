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
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddbench.cells import Request
    from ddbench.settings import Settings

END_S = 10.0
"""How long a helper that was asked to end may take before it is made to."""


@contextlib.contextmanager
def helping(request: Request, settings: Settings, *, threads: int, count: int) -> Iterator[None]:
    """Run `count` helper processes of `threads` threads each while the block runs; they end with it."""
    same = asdict(replace(request, threads=threads))
    task = json.dumps({"request": same, "settings": asdict(settings), "parent": os.getpid()}, default=str)
    helpers = [_start(task, threads) for _ in range(count)]
    try:
        yield
    finally:
        for helper in helpers:
            helper.terminate()
        for helper in helpers:
            _end(helper)


def _start(task: str, threads: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "ddbench.executors.local"]
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


def _read(task: dict[str, Any]) -> tuple[Request, Settings]:
    from ddbench.cells import Request
    from ddbench.settings import Settings

    request: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in task["request"].items()}
    kept = task["settings"]
    plugins = None if kept["plugins"] is None else tuple(kept["plugins"])
    roots = tuple(Path(root) for root in kept["data_roots"])
    return Request(**request), Settings(Path(kept["store"]), roots, plugins, kept["offline"])


def _help(request: Request, settings: Settings, parent: int) -> None:
    """Make cells from the end of the plan, those that are free, until all are done or the parent is gone.

    Failures are left to the parent, which meets the same cell, fails the same way, and keeps why.
    """
    from ddbench.making import open_session
    from ddbench.planning import plan
    from ddbench.students import student_record
    from ddbench.workspace import open_workspace

    workspace = open_workspace(settings)
    planned = plan(request, workspace)
    session = open_session(planned, workspace)
    for one in reversed(planned.cells):
        if os.getppid() != parent:
            return
        if not one.stored:
            with contextlib.suppress(Exception):
                student_record(session, one.stage, one.stage.title, wait=False)


if __name__ == "__main__":
    given = json.loads(sys.stdin.read())
    with contextlib.suppress(KeyboardInterrupt):
        _help(*_read(given), given["parent"])
