"""Runs a suite file's cells one request after another; what the store has is read, so that a stopped run goes on.

python benchmarks/suite.py benchmarks/suites/NAME.toml --store DIR [--dry-run]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ddbench.cli.progress import shown_progress
from ddbench.planning import plan
from ddbench.runner import run
from ddbench.settings import load_settings
from ddbench.suites.files import expand, read_suite
from ddbench.workspace import open_workspace


def main() -> None:
    """Run, and print what each request left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="only say what is missing and how long it should take")
    given = parser.parse_args()
    with shown_progress() as reporter:
        workspace = open_workspace(load_settings(store=given.store), reporter)
        for asked in expand(read_suite(given.file)):
            planned = plan(asked.request, workspace)
            missing = sum(not one.stored for one in planned.cells)
            where = f"{asked.label} · {asked.request.dataset} · ipc {asked.request.ipc}"
            print(f"{where}: {missing} of {len(planned.cells)} cells missing, {planned.expected_s:.0f} s expected", file=sys.stderr)
            if missing and not given.dry_run:
                outcome = run(planned, workspace)
                print(f"{where}: {len(outcome.records)} records, {len(outcome.failures)} failures", file=sys.stderr)


if __name__ == "__main__":
    main()
