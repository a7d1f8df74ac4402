"""What is promised as plain numbers: start-up, opening, memory, the main job. Each is measured in fresh processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured number beside what is promised."""

    name: str
    value: float
    unit: str
    promised: str
    runs: int
    met: bool | None = None
    """None where what is promised is no number."""


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Return the wall seconds of a command that must succeed."""
    begun = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **environment}, check=False, capture_output=True, text=True)  # noqa: S603 - our own commands
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return time.perf_counter() - begun


def main_job() -> list[Figure]:
    """Measure `ddbench run dwa` on digits into a fresh store."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = timed([sys.executable, "-m", "ddbench", "run", "dwa"], {"DDBENCH_STORE": folder, "DDBENCH_DATA": ""})
    return [Figure("digits main job, `ddbench run dwa`", seconds, "s", "at most 90", 1, seconds <= 90)]


def start_up() -> list[Figure]:
    """Measure how long the two commands take that must not load torch."""
    figures = []
    for words in (["--help"], ["list", "synthesizers"]):
        times = [timed([sys.executable, "-m", "ddbench", *words], {}) for _ in range(7)]
        seconds = statistics.median(times[1:])
        figures.append(Figure(f"`ddbench {' '.join(words)}`", seconds, "s", "at most 0.6", 6, seconds <= 0.6))
    return figures


OPEN = """
import sys, time
from pathlib import Path
from ddbench.data import open_dataset
import numpy, pydantic
begun = time.perf_counter()
opened = open_dataset("cifar100", roots=[Path(sys.argv[1])], sources={}, offline=True, report=lambda *_: None)
print(time.perf_counter() - begun)
"""


def opening() -> list[Figure]:
    """Measure how long the prepared CIFAR-100 takes to open once its hashes are known."""
    root = os.environ.get("DDBENCH_DATA", "")
    if not (Path(root) / "cifar100" / "dataset.json").is_file():
        print("opening: skipped, DDBENCH_DATA has no cifar100", file=sys.stderr)
        return []
    seconds = statistics.median([printed(OPEN, root) for _ in range(6)][1:])
    return [Figure("prepared CIFAR-100, open", seconds, "s", "under 0.3", 5, seconds < 0.3)]


MEMORY = """
import sys
from pathlib import Path
import ddbench
out = ddbench.run("dwa", store=Path(sys.argv[1]), ipc=int(sys.argv[2]), students=["convnet3"], eval_seeds=1, smoke=0.01,
                  options={"iterations": 20, "teacher.epochs": 1})
print(max(r.cost["recover"].peak_bytes for r in out.records if r.cell.synthesizer == "dwa"))
"""


def memory() -> list[Figure]:
    """Measure the peak memory of recover at a small and a large ipc."""
    peaks = {}
    for ipc in (2, 80):
        with tempfile.TemporaryDirectory() as folder:
            peaks[ipc] = printed(MEMORY, folder, str(ipc))
    name = "peak memory of recover on digits, ipc 80 against ipc 2"
    return [Figure(name, peaks[80] / peaks[2], "×", "does not grow with ipc", 1)]


def printed(program: str, *arguments: str) -> float:
    """Return the last number that a program prints, run in an interpreter of its own."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own programs
    return float(done.stdout.split()[-1])


PARTS: dict[str, Callable[[], list[Figure]]] = {
    "start-up": start_up,
    "opening": opening,
    "memory": memory,
    "main-job": main_job,
}
