"""The local executor: worker processes on this machine, as many as its threads and devices bear, with limits of time and memory.

A worker is a fresh interpreter, so that a notebook or a script without a main guard may start one, and it stays warm from one unit
to the next. Workers meet through the store's locks alone. One that exceeds a limit is killed, and the machine lives on.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import psutil

from ddbench.executors.schedule import Ended, Problem
from ddbench.executors.worker import receive, send

if TYPE_CHECKING:
    from ddbench.executors.units import Task, Unit
    from ddbench.progress import StageProgress
    from ddbench.workspace import Workspace

LOOK_S = 0.05
"""How often the limits are looked at."""

FAMILY_S = 1.0
"""How often a worker's child processes are looked for, which takes milliseconds."""

START_S = 300.0
"""How long a worker may take to start, beyond a unit's time limit."""

TAIL_CHARACTERS = 2000
"""Of what a worker printed: kept where it died."""


@dataclass(frozen=True)
class Limits:
    """What one unit may take."""

    time_s: float | None = None
    memory_bytes: int | None = None
    """Resident memory of its process and of those that it started."""

    def exceeded(self, seconds: float, used_bytes: Callable[[], int]) -> Problem | None:
        """Return which limit a unit is above, or None; its memory is asked for only where that is limited."""
        if self.time_s is not None and seconds > self.time_s:
            took = f"it took longer than {self.time_s:g} s and was ended"
            return Problem("TimeLimit", f"{took}; what it had finished is kept: allow more with --time-limit")
        if self.memory_bytes is not None and (used := used_bytes()) > self.memory_bytes:
            limit = f"the limit is {self.memory_bytes / 2**20:.0f} MiB (--memory-limit)"
            return Problem("MemoryLimit", f"it took {used / 2**20:.0f} MiB and was ended; {limit}")
        return None


@dataclass(frozen=True)
class Budget:
    """What all workers together may take of this machine."""

    workers: int
    threads: int
    devices: tuple[str, ...] = ()
    """Accelerators by what makes one visible; a worker sees one of them."""
    per_device: int = 1
    """Units that run side by side on one accelerator."""


@dataclass
class Worker:
    """A process, the pipe to it, and what it is doing."""

    process: subprocess.Popen[bytes]
    pipe: connection.Connection
    printed: IO[bytes]
    device: str | None
    """The accelerator it sees; None sees what this process sees."""
    unit: Unit | None = None
    since: float = 0.0
    begun: bool = False
    """Whether it is up and at its unit, so that the time counts."""
    stages: list[tuple[AbstractContextManager[StageProgress], StageProgress]] = field(default_factory=list)
    """What is shown of it, outer stages first."""
    _family: tuple[float, list[psutil.Process]] | None = None

    def kill(self) -> None:
        """End the process and those it started."""
        for process in reversed(self.family(0.0)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.kill()
        self.process.wait()
        while self.stages:
            self.over()
        self.pipe.close()
        self.printed.close()

    def over(self) -> None:
        """Show that its innermost stage is over."""
        shown, _ = self.stages.pop()
        shown.__exit__(None, None, None)

    def family(self, at_most_s: float = FAMILY_S) -> list[psutil.Process]:
        """Return the process and those that it started, as known that long ago."""
        now = time.monotonic()
        if self._family is None or now - self._family[0] > at_most_s:
            try:
                own = psutil.Process(self.process.pid)
                self._family = now, [own, *own.children(recursive=True)]
            except psutil.NoSuchProcess:
                self._family = now, []
        return self._family[1]

    def memory_bytes(self) -> int:
        """Return the resident memory of the process and of those that it started."""
        return sum(_resident(process) for process in self.family())

    def tail(self) -> str:
        """Return the end of what it printed."""
        self.printed.seek(0)
        return self.printed.read().decode(errors="replace")[-TAIL_CHARACTERS:]


class Pool:
    """An executor of worker processes; leave its block to end them."""

    def __init__(self, workspace: Workspace, task: Callable[[str], Task], *, budget: Budget, limits: Limits | None = None) -> None:
        """Keep what is needed to start workers; the first starts with the first unit.

        Args:
            workspace: Where the workers' store and plugins are, and who is told of their progress.
            task: Tells the task of a unit's key.
            budget: What all workers together may take.
            limits: What one unit may take.
        """
        self.workspace, self.task, self.budget, self.limits = workspace, task, budget, limits or Limits()
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
        self.workers.clear()

    def room(self, unit: Unit) -> bool:
        """Return whether a worker, and threads or a device for it, are free; a unit too large for the budget runs alone."""
        busy = [worker.unit for worker in self.workers if worker.unit is not None]
        if not busy:
            return True
        if len(busy) >= self.budget.workers:
            return False
        if unit.device != "cpu":
            return self._free_device() is not None
        return sum(one.threads for one in busy if one.device == "cpu") + unit.threads <= self.budget.threads

    def start(self, unit: Unit) -> None:
        """Give a unit to a free worker, or to a new one."""
        device = self._free_device() if unit.device != "cpu" else None
        worker = next((one for one in self.workers if one.unit is None and one.device == device), None) or self._hire(device)
        worker.unit, worker.since, worker.begun = unit, time.monotonic(), False
        with contextlib.suppress(BrokenPipeError):  # it died meanwhile, which `ended` will tell
            send(worker.pipe, self.task(unit.key).to_json())

    def ended(self, timeout_s: float) -> Sequence[Ended]:
        """Return the units that ended; limits are looked at while it waits."""
        found: list[Ended] = []
        until = time.monotonic() + timeout_s
        while not found and any(worker.unit for worker in self.workers):
            left = max(0.0, min(LOOK_S, until - time.monotonic()))
            ready = connection.wait([worker.pipe for worker in self.workers], left)
            for worker in [one for one in self.workers if one.pipe in ready]:
                found += self._heard(worker)
            found += self._over_limit()
            if time.monotonic() >= until:
                break
        return found

    def stop(self) -> None:
        """End the workers that are at something."""
        for worker in [one for one in self.workers if one.unit is not None]:
            self._dismiss(worker)

    def _free_device(self) -> str | None:
        """Return the accelerator with the fewest units, where there is one with room for another; `""` where all are one."""
        devices = self.budget.devices or ("",)
        running = [worker.device for worker in self.workers if worker.unit is not None and worker.device is not None]
        count, device = min((running.count(device), device) for device in devices)
        return device if count < self.budget.per_device else None

    def _hire(self, device: str | None) -> Worker:
        if len(self.workers) >= self.budget.workers:  # one that sees another device has to go
            self._dismiss(next(worker for worker in self.workers if worker.unit is None))
        worker = _started(device)
        self.workers.append(worker)
        send(worker.pipe, {"settings": self.workspace.settings.to_json()})
        return worker

    def _dismiss(self, worker: Worker) -> None:
        self.workers.remove(worker)
        worker.kill()

    def _heard(self, worker: Worker) -> Iterator[Ended]:
        """Give the end of the worker's unit, if that is what it tells."""
        try:
            message = receive(worker.pipe)
        except (EOFError, OSError):
            yield from self._died(worker)
            return
        if message["type"] != "ended":
            self._show(worker, message)
            return
        self.workspace.store.damaged += message["damaged"]
        if worker.unit is not None:
            key, worker.unit = worker.unit.key, None
            yield Ended(key, message["seconds"], Problem(**message["problem"]) if message["problem"] else None)

    def _died(self, worker: Worker) -> Iterator[Ended]:
        unit, seconds = worker.unit, time.monotonic() - worker.since
        status = worker.process.wait()
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        why = "; out of memory, most likely, or someone killed it" if status == -9 else ""
        printed = worker.tail()
        self._dismiss(worker)
        if unit is not None:
            yield Ended(unit.key, seconds, Problem("WorkerDied", f"its process {how}{why}", printed), lost=True)

    def _over_limit(self) -> Iterator[Ended]:
        for worker in list(self.workers):
            problem = self._exceeded(worker)
            if problem is not None and worker.unit is not None:
                key, seconds = worker.unit.key, time.monotonic() - worker.since
                self._dismiss(worker)
                yield Ended(key, seconds, problem)

    def _exceeded(self, worker: Worker) -> Problem | None:
        """Return which limit a worker is above, or None."""
        if worker.unit is None:
            return None
        late = 0.0 if worker.begun else START_S
        return self.limits.exceeded(time.monotonic() - worker.since - late, worker.memory_bytes)

    def _show(self, worker: Worker, message: dict[str, Any]) -> None:
        """Pass on what a worker tells of its progress."""
        if message["type"] == "note":
            self.workspace.reporter.note(message["message"])
        elif message["type"] == "took":
            worker.since, worker.begun = time.monotonic(), True
        elif message["type"] == "begin":
            shown = self.workspace.reporter.stage(message["title"])
            worker.stages.append((shown, shown.__enter__()))
        elif message["type"] == "over":
            worker.over()
        elif worker.stages:
            worker.stages[-1][1].update(message["step"], message["total"], **message["scalars"])


def budget_here(device: str, *, workers: int | None, threads: int, per_device: int = 1) -> Budget:
    """Return the budget of this machine for units on a device.

    Args:
        device: Where units run, as plans name it: `cpu`, `cuda`, `cuda:1`.
        workers: Processes at most, for each of which there is a thread if they are asked for by number; as many as threads, or as
            the devices bear, unless given.
        threads: CPU threads that there are.
        per_device: Units side by side on one accelerator.
    """
    devices = _devices(device)
    fit = len(devices) * per_device if device != "cpu" else threads
    return Budget(workers or max(1, fit), max(threads, workers or 0), devices, per_device)


def _devices(device: str) -> tuple[str, ...]:
    """Return the accelerators of a kind that this process sees, as one is made visible; none where one was named by number."""
    if device == "cpu" or ":" in device:
        return ()
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if os.environ.get("CUDA_VISIBLE_DEVICES") else None
    return tuple(visible or (str(number) for number in range(torch.accelerator.device_count())))


def _started(device: str | None) -> Worker:
    """Return a new worker process; what it prints goes to a file that only its death makes anybody read."""
    ours, theirs = connection.Pipe()
    environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": device} if device else {})}
    printed = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the worker
    command = [sys.executable, "-m", "ddbench.executors.worker", str(theirs.fileno())]
    process = subprocess.Popen(  # noqa: S603 - our own module in our own interpreter
        command,
        env=environment,
        cwd=Path.cwd(),
        stdin=subprocess.DEVNULL,
        stdout=printed,
        stderr=subprocess.STDOUT,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    return Worker(process, ours, printed, device)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
