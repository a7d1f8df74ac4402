"""Runs the main job and keeps its table and picture where the README shows them.

python benchmarks/demo.py --store DIR [--out docs/demo]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ddbench
from ddbench.store import Store


def main() -> None:
    """Run `ddbench run dwa sre2l`, write its Markdown table and the pictures of its sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/demo"))
    arguments = parser.parse_args()
    environment = {**os.environ, "DDBENCH_STORE": str(arguments.store)}
    command = [sys.executable, "-m", "ddbench"]
    subprocess.run([*command, "run", "dwa", "sre2l"], env=environment, check=True)  # noqa: S603 - our own command
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "table.md").open("w") as out:
        subprocess.run([*command, "table", "--format", "md"], env=environment, check=True, stdout=out)  # noqa: S603 - the same
    store = Store(arguments.store)
    for record in ddbench.load_records(arguments.store):
        if record.cell.distill_seed == 0:
            shutil.copy(
                store.root / "distilled" / record.distilled_key / "preview.png", arguments.out / f"{record.cell.synthesizer}.png"
            )


if __name__ == "__main__":
    main()
