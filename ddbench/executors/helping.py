"""Helper processes on this machine: they make cells from the plan's end while the caller makes them from its beginning.

They meet through the store alone. A key that one process holds is left to it, so nothing is made twice; a helper that dies loses
only what it was making. Where nothing stands against it a helper is a copy of the process, which is at work at once; elsewhere a
fresh interpreter that is told its work as JSON and needs some seconds, so that a notebook or a script may start one as well.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NoReturn

import psutil

from ddbench.heap import collect_seldom

if TYPE_CHECKING:
    from ddbench.planning import Plan
    from ddbench.workspace import Workspace

END_S = 10.0
"""How long a helper that was asked to end may take before it is made to."""

ENDING = {signal.SIGINT, signal.SIGTERM}
"""What asks a process to end."""

PR_SET_PDEATHSIG = 1
"""Linux, prctl(2): the signal that a process gets when its parent is gone."""

KEPT: list[Any] = []
"""In a copy, its caller's streams: closed, they would write a second time what waits in them."""


@contextlib.contextmanager
def helping(planned: Plan, workspace: Workspace, *, count: int) -> Iterator[list[psutil.Process]]:
    """Run `count` helper processes, each with the threads of the plan, while the block runs; they end with it."""
    start, apart = (_copied, _uninterrupted) if may_copy(planned) else (_started, contextlib.nullcontext)
    helpers: list[psutil.Process] = []
    try:
        for _ in range(count):
            with apart():
                helpers.append(start(planned, workspace))
        yield helpers
    finally:
        _end(helpers)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Keep back what asks this process to end until the block is done: a copy that is in no list yet would be left behind."""
    asked = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, asked)


def may_copy(planned: Plan) -> bool:
    """Return whether helpers may be copies of this process, of which only the calling thread goes on.

    It may not where they would call for OpenMP's other threads, nor where an accelerator's are missed, nor where another thread of
    Python's may hold what a copy would wait for. One that draws progress may: a copy says nothing, so it never waits for it.
    Threads that Python does not know of are not looked for; code that asks OpenMP for some by itself would wait for them.
    """
    import torch

    if sys.platform != "linux" or planned.threads != 1 or torch.accelerator.is_available():
        return False
    others = (thread for thread in threading.enumerate() if thread is not threading.main_thread())
    return threading.current_thread() is threading.main_thread() and all(type(one).__module__ == "rich.live" for one in others)


def _end(helpers: list[psutil.Process]) -> None:
    """Ask helpers to end, and see that they do."""
    for helper in helpers:
        with contextlib.suppress(psutil.NoSuchProcess):
            helper.terminate()
    _, deaf = psutil.wait_procs(helpers, timeout=END_S)
    for helper in deaf:
        with contextlib.suppress(psutil.NoSuchProcess):
            helper.kill()
    psutil.wait_procs(deaf)


def _copied(planned: Plan, workspace: Workspace) -> psutil.Process:
    import torch

    parent = os.getpid()
    torch.set_num_threads(planned.threads)  # as a session does: from here on OpenMP calls for no thread that a copy has not
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any other thread, OpenMP's idle ones among them
        pid = os.fork()
    if pid == 0:
        _copy(planned, workspace, parent)
    return psutil.Process(pid)


def _started(planned: Plan, workspace: Workspace) -> psutil.Process:
    same = {"request": asdict(planned.request), "place": planned.place.to_json(), "settings": workspace.settings.to_json()}
    task = json.dumps({**same, "parent": os.getpid()}, default=str)
    environment = {**os.environ, "OMP_NUM_THREADS": str(planned.threads)}
    command = [sys.executable, "-m", "ddbench.executors.helping"]
    helper = psutil.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    if helper.stdin is not None:
        with contextlib.suppress(BrokenPipeError), helper.stdin:
            helper.stdin.write(task)
    return helper


def _copy(planned: Plan, workspace: Workspace, parent: int) -> NoReturn:
    """Help in a copy of the process, and end it, whatever happens."""
    try:
        _be_alone()
        from ddbench.progress import Silent

        _help(planned, replace(workspace, reporter=Silent()), parent)
    finally:
        os._exit(0)


def _be_alone() -> None:
    """Say nothing, end when asked to or left alone, draw numbers of its own, and call for no thread: there is none but this."""
    import numpy as np
    import torch

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    silent = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
        KEPT.append(getattr(sys, name))
        setattr(sys, name, silent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller too, which ends this
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    np.random.seed()  # noqa: NPY002 - methods may draw from global generators, which would draw the same here
    torch.default_generator.seed()
    torch.set_num_threads = _only_one
    os.environ["OMP_NUM_THREADS"] = "1"
    with contextlib.suppress(ImportError):  # it is there wherever scikit-learn is, which has an OpenMP of its own
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        threadpool_limits(1)


def _only_one(nthreads: int) -> None:
    """Stand for `torch.set_num_threads` in a copy: what began with more threads is left to the caller."""
    if nthreads != 1:
        raise RuntimeError(f"a helper that is a copy of its process has one thread, asked for {nthreads}")


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
