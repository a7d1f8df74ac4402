"""Runs a real suite as a user does, in processes that a test may disturb, and tells what must be the same afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from safetensors.torch import load_file

from ddbench.checked import checksum_of
from ddbench.records import read_record
from ddbench.store import EVALUATED, KINDS, Store, file_sha256

TEXT = """
name = "faults"

[settings]
protocol = "dwa-cifar-stored/1"
students = ["convnet1-w32"]
teacher = "convnet1-bn-w32"
eval_seeds = 1
smoke = 0.005
threads = 1
options = { "teacher.epochs" = 1, iterations = 2 }

[[cells]]
methods = ["sre2l"]
datasets = ["digits"]
ipc = [1]
"""
"""A teacher, four distilled sets, stored labels for each, and a student of each: every stage that hard and soft labels have."""

CELLS = 4


def command(folder: Path, store: Path, *more: str) -> list[str]:
    file = folder / "faults.toml"
    if not file.is_file():
        file.write_text(TEXT)
    return [sys.executable, "-m", "ddbench", "suite", "run", str(file), "--store", str(store), "--workers", "2", *more]


def start(folder: Path, store: Path, *more: str) -> subprocess.Popen[str]:
    """Start a run in a session of its own."""
    environment = {**os.environ, "DDBENCH_DATA": str(folder / "no-data")}
    return subprocess.Popen(
        command(folder, store, *more),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finished(folder: Path, store: Path, *more: str, code: int = 0) -> str:
    """Run to the end and return what was said."""
    run = start(folder, store, *more)
    said, _ = run.communicate()
    assert run.returncode == code, said
    return said


def content(store: Path) -> dict[str, object]:
    """Return what must not depend on any disturbance: artefacts' bytes, records without time, cost and host, predictions."""
    found: dict[str, object] = {}
    for kind in (*KINDS, EVALUATED):
        for path in sorted((store / kind).rglob("*")):
            if kind == "experts" and path.suffix == ".safetensors":
                found[str(path.relative_to(store))] = checksum_of(load_file(path), {})  # beside them it holds how long they took
            elif path.suffix in {".safetensors", ".png"}:
                found[str(path.relative_to(store))] = file_sha256(path)
            elif path.name in {"card.json", "manifest.json"}:
                found[str(path.relative_to(store))] = "there"
    for path in sorted((store / "records").glob("*")):
        found[path.name] = read_record(path.read_bytes()).repeatable() if path.suffix == ".json" else file_sha256(path)
    return found


def half_there(root: Path) -> list[str]:
    """Return what of a store is not whole: artefacts and records that fail their checksum, and files that were never finished."""
    store = Store(root)
    for kind in (*KINDS, EVALUATED):
        for key in store.keys(kind):
            store.find(kind, key)
    list(store.records())
    torn = [str(path) for folder in (*KINDS, EVALUATED, "records") for path in (root / folder).rglob("*.part")]
    return [*store.damaged, *torn]


def workers_of(driver: int) -> list[psutil.Process]:
    """Return a driver's worker processes."""
    try:
        return [child for child in psutil.Process(driver).children() if "ddbench.executors.worker" in child.cmdline()]
    except psutil.NoSuchProcess:
        return []


def kill_after(run: subprocess.Popen[str], seconds: float, *, worker: bool) -> bool:
    """Send SIGKILL to a run's driver, or to one of its workers, after a while; say whether there was one to kill."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.05)
    if run.poll() is not None:
        return False
    victims = [child.pid for child in workers_of(run.pid)][:1] if worker else [run.pid]
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    return bool(victims)
