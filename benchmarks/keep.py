"""Copies a store's records, with their predictions, into a folder of `benchmarks/results`; what is there already is never changed,
and what another folder beside it has is not kept twice.

Of each method's first distilled set the picture is kept as well, as `<distilled key>.png`, where it is small: the leaderboard
shows it.

python benchmarks/keep.py STORE benchmarks/results/NAME [--dataset D] [--protocol P]
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from ddbench.provenance import SUFFIX
from ddbench.store import EVALUATED, Store

MOST_PICTURE_BYTES = 200_000


def main() -> None:
    """Copy whole records that are not smoke runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dataset")
    parser.add_argument("--protocol")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept, elsewhere = 0, {path.stem for path in arguments.out.parent.glob("*/*.json") if path.parent != arguments.out}
    for record in Store(arguments.store).records():
        cell = record.cell
        if (
            record.smoke
            or record.key in elsewhere
            or cell.dataset != (arguments.dataset or cell.dataset)
            or cell.protocol != (arguments.protocol or cell.protocol)
        ):
            continue
        for block in record.evaluators.values():
            source, target = arguments.store / "evaluations" / str(block.key) / EVALUATED, arguments.out / f"{block.key}.npz"
            if block.sidecar and source.is_file() and not target.exists():
                shutil.copyfile(source, target)
        for suffix in (".json", ".npz", SUFFIX):
            source, target = arguments.store / "records" / f"{record.key}{suffix}", arguments.out / f"{record.key}{suffix}"
            if source.is_file() and not target.exists():
                shutil.copyfile(source, target)
                kept += suffix == ".json"
        if cell.distill_seed == 0:
            keep_picture(arguments.store / "distilled" / record.distilled_key / "preview.png", arguments.out)
    print(f"{kept} records kept in {arguments.out}", file=sys.stderr)


def keep_picture(picture: Path, out: Path) -> None:
    """Copy a distilled set's picture under the set's key."""
    target = out / f"{picture.parent.name}.png"
    if picture.is_file() and picture.stat().st_size <= MOST_PICTURE_BYTES and not target.exists():
        shutil.copyfile(picture, target)


if __name__ == "__main__":
    main()
