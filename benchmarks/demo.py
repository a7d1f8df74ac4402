"""Runs what the README shows and writes table and pictures where it shows them.

python benchmarks/demo.py --store DIR [--part demo|cross-architecture]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ddbench
from ddbench.store import Store

ROOT = Path(__file__).parent.parent
PARTS = {
    "demo": "run dwa sre2l",
    "cross-architecture": "run random herding sre2l dwa --students "
    "convnet3,resnet10t,mobilenetv3_small_050,lcnet_035,test_convnext",
}
"""By part of the README, the command whose table it shows."""


def main() -> None:
    """Run the part's command; write its table between the README's markers, and pictures of the sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--part", choices=sorted(PARTS), default="demo")
    arguments = parser.parse_args()
    environment = {**os.environ, "DDBENCH_STORE": str(arguments.store), "DDBENCH_DATA": ""}
    command = [sys.executable, "-m", "ddbench"]
    subprocess.run([*command, *PARTS[arguments.part].split()], env=environment, check=True)  # noqa: S603 - our own command
    words = [*command, "table", "--format", "md"]
    printed = subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout  # noqa: S603 - the same
    table = "\n".join(line for line in printed.splitlines() if not line.startswith("- level:"))  # as `run` prints it
    fill(ROOT / "README.md", arguments.part, f"\n```sh\nddbench {PARTS[arguments.part]}\n```\n\n{table.strip()}\n")
    if arguments.part == "demo":
        keep_pictures(arguments.store, ROOT / "docs" / "demo")


def fill(page: Path, part: str, text: str) -> None:
    """Replace what stands between a part's markers."""
    begin, end = f"<!-- {part}:begin -->", f"<!-- {part}:end -->"
    content, found = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n{end}", page.read_text(), flags=re.DOTALL)
    if found != 1:
        sys.exit(f"{page} has {found} places between {begin} and {end}; one is meant")
    page.write_text(content)


def keep_pictures(store: Path, out: Path) -> None:
    """Copy the picture of each method's first distilled set."""
    out.mkdir(parents=True, exist_ok=True)
    for record in ddbench.load_records(store):
        if record.cell.distill_seed == 0:
            picture = Store(store).root / "distilled" / record.distilled_key / "preview.png"
            shutil.copyfile(picture, out / f"{record.cell.synthesizer}.png")


if __name__ == "__main__":
    main()
