"""What `ddbench plugin new` writes runs at once, for every kind, by the command that it prints."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest

from ddbench.authoring.names import names_for
from ddbench.authoring.project import run_command, write_project
from ddbench.plugins import KINDS, Plugins

SMALL = ["--ipc", "1", "--eval-seeds", "1", "--distill-seeds", "1", "--smoke", "0.02", "--json"]

CHEAPER = {
    "synthesizer": ["-o", "iterations=2"],
    "teacher": ["-o", "iterations=2", "-o", "teacher.epochs=2"],
    "prior": ["-o", "iterations=2"],
    "objective": ["-o", "iterations=2"],
    "selector": ["-o", "iterations=4", "-o", "prior=pixel", "-o", "init=encode"],
}
"""By kind: what makes the printed command quick; the selector's own prior is trained for minutes."""


@pytest.mark.e2e
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_runs_at_once_by_the_printed_command(kind, tmp_path):
    names = names_for(f"my-{kind}", kind, Plugins(()))
    folder = write_project(names, tmp_path)
    info = folder / f"ddbench_my_{kind}-0.1.0.dist-info"  # what an installation would leave
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {names.project}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[ddbench]\n{names.name} = {names.package}\n")
    _, *words = shlex.split(run_command(names))
    defaults = [] if kind in {"dataset", "network", "protocol"} else ["--students", "mlp", "--protocol", "quick-hard/1"]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DDBENCH_")},
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "DDBENCH_STORE": str(tmp_path / "store"),
        "DDBENCH_DATA": str(tmp_path / "data"),
        "XDG_DATA_HOME": str(tmp_path / "home"),
    }
    command = [sys.executable, "-m", "ddbench", *words, *CHEAPER.get(kind, []), *defaults, *SMALL]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert answer["failures"] == []
    made_by = {block["distribution"] for record in answer["records"] for block in record["plugins"]}
    assert names.project in made_by or kind == "dataset"  # of a dataset a record holds the identity
