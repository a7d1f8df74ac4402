"""Measures what the project promises about speed and memory, and prints the tables. Nothing here is a test.

    python benchmarks/perf/run.py [--only PART,... | --skip PART,... | --short] [--json FILE] [--write docs/performance.md]
    python benchmarks/perf/run.py --read FILE ...        print what was measured before

A ratio compares the fast path with a plain, eager twin in one process, alternating, after warm-up. The machine's own matrix
product is measured before and after. Other figures are measured in fresh processes.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from results import Peak, Results

RATIOS = {
    "recover-step": "recover",
    "recover-stacked": "recover",
    "recover-dwa": "recover",
    "student-soft": "students",
    "student-hard": "students",
    "student-whole": "students",
    "squeeze": "students",
    "dm-step": "matching",
    "dc-step": "matching",
    "native-layers": "layers",
    "eval-seeds": "cells",
}
"""Parts that compare, with the module of each: it is imported only when the part is measured, for it brings torch."""

FIGURES = (
    "cell-overhead",
    "local-overhead",
    "ray-overhead",
    "ray-groups",
    "two-workers",
    "suite-plan",
    "record-table",
    "large-store",
    "start-up",
    "opening",
    "memory",
    "statistics",
    "leaderboard",
    "main-job",
    "paper-table",
)
"""Parts that measure plain numbers."""

APART = {
    "cell-overhead": "cells",
    "local-overhead": "scale",
    "ray-overhead": "on_ray",
    "ray-groups": "on_ray",
    "two-workers": "scale",
    "suite-plan": "scale",
    "record-table": "scale",
    "large-store": "scale",
    "leaderboard": "leaderboard",
    "statistics": "tables",
    "paper-table": "paper",
}
"""Of those, the ones with a module of their own."""

LONG = ("student-whole", "squeeze", "eval-seeds", "ray-groups", "two-workers", "large-store", "leaderboard", "main-job")
"""Parts that take minutes."""


def main() -> int:
    """Measure and print; return 1 where a part failed."""
    arguments = parser().parse_args()
    if arguments.read:
        from results import read

        results, failed = read(arguments.read), list[str]()
    else:
        results, failed = measure(chosen(arguments), threads=arguments.threads, device=arguments.device)
    report(results, arguments)
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    names = [*RATIOS, *FIGURES]
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--only", type=_parts, default=names, metavar="PART,...", help=f"of {', '.join(names)}")
    made.add_argument("--skip", type=_parts, default=[], metavar="PART,...", help="measure the others")
    made.add_argument("--short", action="store_true", help=f"skip what takes minutes: {', '.join(LONG)}")
    made.add_argument("--threads", type=int, help="CPU threads of this process; torch's choice by default")
    made.add_argument("--device", default="cpu", help="where the ratios are measured; cpu by default")
    made.add_argument("--json", type=Path, help="also write everything to this file")
    made.add_argument("--write", type=Path, metavar="PAGE", help="also fill the page's place for the tables")
    made.add_argument("--place", default="", metavar="NAME", help="of several places of that page, the one with this name")
    made.add_argument("--read", type=Path, nargs="+", metavar="FILE", help="measure nothing; take files that --json wrote")
    return made


def chosen(arguments: argparse.Namespace) -> list[str]:
    """Return the parts to measure, in the order of the tables."""
    skipped = {*arguments.skip, *(LONG if arguments.short else ())}
    return [name for name in (*RATIOS, *FIGURES) if name in arguments.only and name not in skipped]


def measure(names: Sequence[str], *, threads: int | None, device: str) -> tuple[Results, list[str]]:
    """Return what the parts measure, and the names of those that failed; the others go on."""
    import torch
    from results import Results

    from ddbench.costs import host

    if threads:
        torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False  # as in every run
    place = torch.device(device)
    simd = torch.backends.cpu.get_cpu_capability()
    results, failed = Results(host(place, torch.get_num_threads()) | {"simd": simd}), []
    compares = any(name in RATIOS for name in names)
    before = _matrix_peaks(place) if compares else {}
    for name in names:
        print(f"measuring {name} …", file=sys.stderr)
        try:
            _add(results, name, place)
        except Exception:  # noqa: BLE001 - an hour's other parts are worth keeping
            failed.append(name)
            traceback.print_exc()
    after = _matrix_peaks(place) if compares else {}
    results.peaks |= {dtype: _peak(before[dtype], after[dtype]) for dtype in before}
    return results, failed


def report(results: Results, arguments: argparse.Namespace) -> None:
    """Print the tables, and write what was asked for."""
    from results import fill, markdown, show
    from rich.console import Console

    show(results, Console(width=None if sys.stdout.isatty() else 240))
    if arguments.json:
        arguments.json.write_text(results.to_json())
    if arguments.write:
        fill(arguments.write, markdown(results), arguments.place)


def _add(results: Results, name: str, device: torch.device) -> None:
    if name in RATIOS:
        results.ratios += _part(RATIOS[name], "PARTS", name, device)()
    elif name in APART:
        results.figures += _part(APART[name], "FIGURES", name, device)()
    else:
        results.figures += _part("figures", "PARTS", name, device)()


def _part(module: str, table: str, name: str, device: torch.device) -> Callable[[], list[Any]]:
    """Return a part of a module; a module that measures on devices has the device in `DEVICE`."""
    loaded = importlib.import_module(module)
    if hasattr(loaded, "DEVICE"):
        setattr(loaded, "DEVICE", device)  # noqa: B010 - a module's name that only some modules have
    parts: dict[str, Callable[[], list[Any]]] = getattr(loaded, table)
    return parts[name]


def _matrix_peaks(device: torch.device) -> dict[str, float]:
    """Return the speed of a matrix product by dtype, of those that the device computes itself."""
    import torch
    from pairs import matrix_peak

    from ddbench.training.precision import device_abilities

    peaks = {"fp32": matrix_peak(device, torch.float32)}
    if device_abilities(device).bf16:
        peaks["bf16"] = matrix_peak(device, torch.bfloat16)
    return peaks


def _peak(before: float, after: float) -> Peak:
    from results import Peak

    return Peak(before, after)


def _parts(text: str) -> list[str]:
    """Return the parts of a list with commas."""
    names, known = text.split(","), {*RATIOS, *FIGURES}
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"there is no part {unknown[0]!r}; there are: {', '.join((*RATIOS, *FIGURES))}")
    return names


if __name__ == "__main__":
    sys.exit(main())
