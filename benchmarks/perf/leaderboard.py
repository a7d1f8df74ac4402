"""The leaderboard of ten thousand records: how long it takes to build, in how much memory, and until its first page can be used."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from figures import Figure

from ddbench.records import checksum, record_text

RECORDS = 10_000

MEASURED = Path(__file__).parent.parent / "results" / "digits-walk"
"""Real records, which the others are copied from: with long option lists and whole curves."""

LIMITS = {"seconds": 20.0, "gigabytes": 1.074, "open": 2.0, "page": 2.0}

BUILD = """
import sys, time
from pathlib import Path
begun = time.perf_counter()
from ddbench.report.site import admission, pages, writing
from ddbench.report.site.board import board
made = writing.write(pages.site(board(admission.admit([Path(sys.argv[1])]))), Path(sys.argv[2]))
seconds = time.perf_counter() - begun
from ddbench.costs import high_water
print(made.files, seconds, high_water())
"""


def built() -> list[Figure]:
    """Measure the site of 10 000 records, three sets with three students each, and that of as many rows of one record."""
    figures = []
    for name, side in (("3 × 3 a row", 3), ("a row each", 1)):
        with tempfile.TemporaryDirectory() as folder:
            write_records(Path(folder, "records"), RECORDS, side=side)
            site = Path(folder, "site")
            command = [sys.executable, "-c", BUILD, str(Path(folder, "records")), str(site)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own program
            seconds, peak = (float(number) for number in done.stdout.split()[1:])
            largest = max(path.stat().st_size for path in site.rglob("*") if path.is_file()) / 1e6
            what = f"leaderboard of {RECORDS:,} records, {name}"
            figures += [
                Figure(f"{what}: built", seconds, "s", "under 20", 1, seconds < LIMITS["seconds"]),
                Figure(f"{what}: peak memory", peak / 1e9, "GB", "at most 1.07 (1 GiB)", 1, peak / 1e9 <= LIMITS["gigabytes"]),
                Figure(f"{what}: largest page", largest, "MB", "at most 2", 1, largest <= LIMITS["page"]),
                *_opened(what, site),
            ]
    return figures


def _opened(what: str, site: Path) -> Iterator[Figure]:
    """Measure how long the first page takes in a headless browser from its address to a table that can be used."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        print("leaderboard: opening skipped, there is no Chromium", file=sys.stderr)
        return
    from playwright.sync_api import sync_playwright

    times = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(4):
            page = browser.new_page()
            begun = time.perf_counter()
            page.goto(f"{site.as_uri()}/index.html")
            page.wait_for_selector("html[data-ready]")
            page.wait_for_selector(".tabulator-row .method")
            times.append(time.perf_counter() - begun)
            page.close()
        browser.close()
    seconds = statistics.median(times[1:])
    yield Figure(f"{what}: first page usable", seconds, "s", "under 2", 3, seconds < LIMITS["open"])


def write_records(folder: Path, count: int, *, side: int) -> None:
    """Write records that differ as real ones do: twenty methods, several datasets and students, `side` × `side` seeds."""
    folder.mkdir(parents=True)
    templates = [json.loads(path.read_bytes()) for path in sorted(MEASURED.glob("*.json"))[:12]]
    draws = random.Random(0)  # noqa: S311 - scores for show
    for number, coordinate in enumerate(itertools.islice(_coordinates(side), count)):
        content = _record(templates, coordinate, f"{number:020x}", draws)
        (folder / f"{content['key']}.json").write_bytes(record_text(content))


def _coordinates(side: int) -> Iterator[tuple[int, str, int, str, str, int, int]]:
    datasets = [f"dataset{number}" for number in range(5 if side > 1 else 40)]
    grid = itertools.product(datasets, (1, 10, 50), ("dc-hard/1", "quick-hard/1"), ("convnet3", "resnet18", "vgg11"), range(20))
    for dataset, ipc, protocol, student, method in grid:
        for distill, evaluation in itertools.product(range(side), range(side)):
            yield method, dataset, ipc, protocol, student, distill, evaluation


def _record(templates: list[Any], coordinate: tuple[int, str, int, str, str, int, int], key: str, draws: random.Random) -> Any:
    """Return a sealed record at a coordinate; method 0 is random."""
    method, dataset, ipc, protocol, student, distill, evaluation = coordinate
    content = copy.deepcopy(templates[method % len(templates)])
    name = f"method{method}" if method else "random"
    content["cell"] |= {"synthesizer": name, "dataset": dataset, "ipc": ipc, "protocol": protocol, "student": f"ddbench/{student}"}
    content["cell"] |= {"distill_seed": distill, "eval_seed": evaluation}
    content["dataset"]["name"] = dataset
    content["student"]["name"] = f"ddbench/{student}"
    content["protocol_sha256"] = hashlib.sha256(protocol.encode()).hexdigest()
    content["distilled_sha256"] = hashlib.sha256(repr((method, dataset, ipc, distill)).encode()).hexdigest()
    content["distilled_key"] = content["distilled_sha256"][:20]
    content["metrics"][0]["value"] = min(1.0, max(0.0, 0.4 + 0.01 * method + draws.gauss(0, 0.02)))
    content |= {"key": key, "sidecar": None}
    return content | {"sha256": checksum(content)}


FIGURES: dict[str, Callable[[], list[Figure]]] = {"leaderboard": built}
