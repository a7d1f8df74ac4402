"""Somebody else's project: modules in a folder, what an installation leaves beside them, commands that are run there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"


def installed(folder: Path, about: Mapping[str, Any]) -> None:
    """Write the metadata by which an installed distribution is found; `about` is pyproject's `[project]`."""
    info = folder / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA.format(**about))
    points = "\n".join(f"{name} = {value}" for name, value in about["entry-points"]["ddbench"].items())
    (info / "entry_points.txt").write_text(f"[ddbench]\n{points}\n")


def run(folder: Path, *command: str) -> str:
    """Return what `python -m COMMAND` prints, run where the folder's packages can be imported; it must succeed."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DDBENCH_")},
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "DDBENCH_STORE": str(folder / "store"),
        "DDBENCH_DATA": str(folder / "data"),
    }
    ran = subprocess.run([sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
