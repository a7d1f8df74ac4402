"""Measures what the project promises about speed and memory, and prints the table. Nothing here is a test.

    python benchmarks/perf/run.py [--only main-job,start-up,...] [--json FILE]

Each figure is measured in fresh processes on this machine; the hardware is printed above the table.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ddbench.costs import host


@dataclass(frozen=True)
class Figure:
    """One measured number beside what is promised."""

    name: str
    value: float
    unit: str
    promised: str
    runs: int


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Return the wall seconds of a command that must succeed."""
    begun = time.perf_counter()
    subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)  # noqa: S603 - our own commands
    return time.perf_counter() - begun


def main_job() -> list[Figure]:
    """Measure `ddbench run dwa` on digits into a fresh store."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = timed([sys.executable, "-m", "ddbench", "run", "dwa"], {"DDBENCH_STORE": folder, "DDBENCH_DATA": ""})
    return [Figure("digits main job, `ddbench run dwa`", seconds, "s", "at most 90", 1)]


def start_up() -> list[Figure]:
    """Measure how long the two commands take that must not load torch."""
    figures = []
    for words in (["--help"], ["list", "synthesizers"]):
        times = [timed([sys.executable, "-m", "ddbench", *words], {}) for _ in range(7)]
        figures.append(Figure(f"`ddbench {' '.join(words)}`", statistics.median(times[1:]), "s", "at most 0.6", 6))
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
    command = [sys.executable, "-c", OPEN, root]
    times = [float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(6)]  # noqa: S603 - the same
    return [Figure("prepared CIFAR-100, open", statistics.median(times[1:]), "s", "under 0.3", 5)]


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
            command = [sys.executable, "-c", MEMORY, folder, str(ipc)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - the same
            peaks[ipc] = int(done.stdout.split()[-1])
    return [
        Figure("peak memory of recover on digits, ipc 80 against ipc 2", peaks[80] / peaks[2], "×", "does not grow with ipc", 1)
    ]


PARTS: dict[str, Callable[[], list[Figure]]] = {"start-up": start_up, "opening": opening, "memory": memory, "main-job": main_job}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    machine = host(torch.device("cpu"), torch.get_num_threads())
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, torch {machine['packages']['torch']}\n")
    figures = [figure for part in arguments.only.split(",") for figure in PARTS[part]()]
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        print(f"{figure.name:<{width}}  {figure.value:8.2f} {figure.unit:<2} {figure.promised} (median of {figure.runs})")
    if arguments.json:
        arguments.json.write_text(json.dumps({"host": machine, "figures": [asdict(figure) for figure in figures]}, indent=1))


if __name__ == "__main__":
    main()
