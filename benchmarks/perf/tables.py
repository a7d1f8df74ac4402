"""All statistics of a large table: 20 methods, 10 students, 3 sets × 3 eval seeds, 10 000 test images in sidecars."""

from __future__ import annotations

import copy
import hashlib
import io
import itertools
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure

from ddbench.records import checksum, record_text

METHODS, STUDENTS, SIDE, IMAGES = 20, 10, 3, 10_000

MEASURED = Path(__file__).parent.parent / "results" / "digits-walk"
"""A real record, which the others are copied from."""

COMPUTE = """
import sys, time
from pathlib import Path
from ddbench.report.sources import load
from ddbench.report.tables import summary
loaded = load(None, [Path(sys.argv[1])])
begun = time.perf_counter()
(table,) = summary(loaded.records, sidecars=loaded.sidecars)
assert all(result.rank and result.hits for row in table.rows for result in [*row.results.values(), row.average])
print(time.perf_counter() - begun)
"""
"""Intervals, paired differences, ranks over all pairs, and the average over students with the same; sidecars read."""


def statistics() -> list[Figure]:
    """Measure every statistic of the table, in a process of its own; no statistic resamples."""
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder))
        command = [sys.executable, "-c", COMPUTE, folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own program
    seconds = float(done.stdout.split()[-1])
    what = f"all statistics of a table of {METHODS} methods × {STUDENTS} students, {SIDE} × {SIDE} seeds, {IMAGES:,} test images"
    return [Figure(what, seconds, "s", "under 5", 1, seconds < 5)]


def write_records(folder: Path) -> None:
    """Write the table's records with their sidecars."""
    template = json.loads(next(iter(sorted(MEASURED.glob("*.json")))).read_bytes())
    rng, draws = np.random.default_rng(0), random.Random(0)  # noqa: S311 - scores for show
    chances = rng.uniform(size=IMAGES)
    grid = itertools.product(range(METHODS), range(STUDENTS), range(SIDE), range(SIDE))
    for number, coordinate in enumerate(grid):
        chance = 0.3 + 0.4 * chances + 0.01 * coordinate[0] + draws.gauss(0, 0.01)
        correct = rng.uniform(size=IMAGES) < chance
        sidecar = io.BytesIO()
        np.savez(sidecar, predictions=correct.astype(np.uint8), correct=np.packbits(correct))
        content = _record(template, coordinate, f"{number:020x}", (float(correct.mean()), sidecar.getvalue()))
        (folder / f"{content['key']}.npz").write_bytes(sidecar.getvalue())
        (folder / f"{content['key']}.json").write_bytes(record_text(content))


def _record(template: Any, coordinate: tuple[int, int, int, int], key: str, measured: tuple[float, bytes]) -> Any:
    """Return a sealed record at a coordinate; method 0 is random."""
    method, student, distill, evaluation = coordinate
    content = copy.deepcopy(template)
    name, network = f"method{method:02}" if method else "random", f"ddbench/student{student}"
    content["cell"] |= {"synthesizer": name, "student": network, "distill_seed": distill, "eval_seed": evaluation}
    content["student"]["name"] = network
    content["dataset"]["test_images"] = IMAGES
    content["distilled_sha256"] = hashlib.sha256(repr((method, distill)).encode()).hexdigest()
    content["metrics"] = [
        {"name": "top1", "value": measured[0], "unit": "fraction", "higher_is_better": True, "evaluator": "top1 1"}
    ]
    content |= {"key": key, "sidecar": hashlib.sha256(measured[1]).hexdigest()}
    return content | {"sha256": checksum(content)}


FIGURES: dict[str, Callable[[], list[Figure]]] = {"statistics": statistics}
