"""How far a suite is, for another terminal: a small file in the store that its driver keeps up to date, whole at any moment."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from pathlib import Path

    from ddbench.executors.schedule import Ended, State
    from ddbench.executors.units import Unit
    from ddbench.store import Store

WRITE_S = 1.0
"""How often the file is written at most."""

SILENT_S = 60.0
"""A driver on another machine that wrote nothing for so long is taken for dead: it cannot be asked."""

FOLDER = "suites"
"""Of the store, where the files are."""


@dataclass
class StatusFile:
    """Written by the driver of a suite while it runs; a watcher of its units."""

    store: Store
    suite: str
    cells: int
    """Cells that this run is to make."""
    price_s: Mapping[str, float] = field(default_factory=dict)
    """Expected seconds, by unit."""
    smoke: float | None = None
    """The fraction that training is shortened to, where it is."""
    clock: Callable[[], float] = time.monotonic
    _begun: float = 0.0
    _written: float = float("-inf")
    _since: dict[str, float] = field(default_factory=dict)
    _started: str = ""

    def __post_init__(self) -> None:
        self._begun, self._started = self.clock(), _now()
        for path in files_of(self.store.root, self.suite):
            told = read_status(path)
            if told is None or not is_live(told):
                path.unlink(missing_ok=True)

    @property
    def path(self) -> Path:
        return self.store.root / FOLDER / f"{self.suite}.{platform.node()}.{os.getpid()}.json"

    def started(self, unit: Unit, state: State) -> None:
        """Note when a unit was started."""
        self._since[unit.key] = self.clock()
        self.looked(state)

    def ended(self, unit: Unit, ended: Ended, state: State) -> None:  # noqa: ARG002 - a watcher's signature
        """Forget when a unit was started."""
        self._since.pop(unit.key, None)
        self.looked(state)

    def looked(self, state: State) -> None:
        """Write the file, where the last one is old enough."""
        if self.clock() - self._written >= WRITE_S:
            self.write(state, "running")

    def write(self, state: State, how: str) -> None:
        """Write the file: `how` is `running`, `done`, `interrupted`, or why the run ended early."""
        now = self.clock()
        self._written = now
        content = {
            "suite": self.suite,
            "state": how,
            "smoke": self.smoke,
            "driver": {"host": platform.node(), "pid": os.getpid(), "born": _born(psutil.Process())},
            "started": self._started,
            "updated": _now(),
            "seconds": now - self._begun,
            "cells": {"wanted": self.cells, **_cells(state)},
            "units": {
                "done": len(state.done),
                "failed": len(state.failed),
                "running": len(state.running),
                "waiting": state.waiting,
            },
            "running": [
                {"title": state.units[key].title, "seconds": now - self._since.get(key, now), "expected_s": self.price_s.get(key)}
                for key in state.running
            ],
            "failures": [
                {"title": state.units[key].title, "error": problem.error, "message": problem.message}
                for key, problem in state.failed.items()
            ],
            "left_s": sum(self.price_s.get(key, 0.0) for key in state.units if key not in state.done and key not in state.spoiled),
        }
        self.store.write_file(self.path, json.dumps(content, indent=1).encode())


def _cells(state: State) -> dict[str, int]:
    """Return how many cells are made, failed, or cannot be made."""
    records = {key for key, unit in state.units.items() if unit.folder == "records"}
    gone = records & (state.failed.keys() | state.spoiled.keys())
    return {"made": len(records & state.done.keys()), "failed": len(gone)}


def files_of(root: Path, suite: str) -> list[Path]:
    """Return the status files of a suite, one for each driver that is or was at it."""
    return sorted((root / FOLDER).glob(f"{suite}.*.json"))


def read_status(path: Path) -> dict[str, Any] | None:
    """Return what a driver told last, or None where the file is no status."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and isinstance(content.get("driver"), dict) else None


def is_live(told: Mapping[str, Any], *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> bool:
    """Return whether the driver that wrote a status is still at it.

    On this machine its process is looked up, and must be as old as it says, so that a later process of the same number is not
    taken for it; the clock does not matter. Of another machine it is only known how long ago it wrote.
    """
    driver = told["driver"]
    if told.get("state") != "running":
        return False
    if driver.get("host") != platform.node():
        return abs((now() - datetime.fromisoformat(told["updated"])).total_seconds()) < SILENT_S
    try:
        return abs(_born(psutil.Process(driver["pid"])) - float(driver["born"])) < 1.0
    except psutil.NoSuchProcess:
        return False


def _born(process: psutil.Process) -> float:
    """Return when a process was started, in seconds since the machine was: setting the clock does not move it."""
    return float(process.create_time() - psutil.boot_time())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
