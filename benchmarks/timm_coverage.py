"""Fit every timm network to one image size on the meta device and list those that cannot be, with the reason.

    python benchmarks/timm_coverage.py --size 32 --out plugins/ddbench_plugins/networks/timm_unfit.json [--part 0/4]

Takes some twenty minutes on one core. With `--part I/N` only every N-th network is fitted and the file written holds that part.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import timm

from ddbench.errors import UnfitNetwork
from ddbench_plugins.networks import Timm


def main() -> None:
    """Write the list and say how much of timm is covered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    index, parts = (int(number) for number in asked.part.split("/"))
    names = Timm().names()[index::parts]
    started = time.monotonic()
    unfit = {}
    for done, name in enumerate(names, start=1):
        reason = why_unfit(name, shape=(asked.channels, asked.size, asked.size))
        if reason:
            unfit[name] = reason
        print(f"{done}/{len(names)} {time.monotonic() - started:.0f} s {name} {reason or 'fits'}", flush=True)
    content = {"timm": timm.__version__, "size": asked.size, "asked": len(names), "unfit": unfit}
    asked.out.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(f"{len(names) - len(unfit)} of {len(names)} fit, {len(unfit)} do not")


def why_unfit(name: str, *, shape: tuple[int, int, int]) -> str:
    """Return why a network cannot be fitted, or nothing where it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Timm().fit(name, shape=shape, num_classes=10)
    except UnfitNetwork as error:
        return str(error).partition(": ")[2]
    return ""


if __name__ == "__main__":
    main()
