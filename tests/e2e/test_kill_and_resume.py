"""Kills a real run with SIGKILL at random moments, goes on, and compares bytes with a run that was never disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddbench.records import read_record
from ddbench.store import file_sha256

COMMAND = [
    "run",
    "dwa",
    "--ipc",
    "3",
    "--distill-seeds",
    "2",
    "--eval-seeds",
    "1",
    "--students",
    "convnet3",
    "--threads",
    "1",
    "--json",
]
KILLS = 10


def start(store: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "DDBENCH_STORE": str(store), "DDBENCH_DATA": "", "OMP_NUM_THREADS": "1"}
    command, pipe = [sys.executable, "-m", "ddbench", *COMMAND], subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, start_new_session=True)


def content(store: Path) -> dict[str, object]:
    """Return everything that must not depend on interruptions: artefacts' bytes, records without time, cost and host."""
    found: dict[str, object] = {
        str(path.relative_to(store)): file_sha256(path) for path in store.rglob("*.safetensors") if "work" not in path.parts
    }
    for path in (store / "records").glob("*.json"):
        found[path.name] = read_record(path.read_bytes()).repeatable()
    for path in (store / "records").glob("*.npz"):
        found[path.name] = file_sha256(path)
    return found


@pytest.mark.slow
def test_a_run_killed_at_ten_random_moments_ends_with_the_bytes_of_one_never_killed(tmp_path):
    begun = time.monotonic()
    undisturbed = start(tmp_path / "whole")
    out, error = undisturbed.communicate()
    assert undisturbed.returncode == 0, error.decode()
    length = time.monotonic() - begun
    moments = random.Random(2026)
    killed = 0
    for _ in range(KILLS):
        process = start(tmp_path / "killed")
        try:
            process.wait(timeout=moments.uniform(0.2, 0.9) * length)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.communicate()
    final = start(tmp_path / "killed")
    out, error = final.communicate()
    assert final.returncode == 0, error.decode()
    assert killed >= 1
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob("*.part"))
    assert len(json.loads(out)["records"]) == 5
