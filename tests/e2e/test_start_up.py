"""What a run does not import: torch's compiler and torchvision take over a second each, of every process that makes cells."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

RUN = """
import json, sys
import ddbench
options = {"teacher.epochs": 1, "iterations": 2}
found = ddbench.run(*sys.argv[2:], store=sys.argv[1], ipc=1, teacher="convnet1-bn-w32", students=["convnet1-w32"], eval_seeds=1,
                    smoke=0.01, options=options, compile="off")
print(json.dumps([len(found.records), sorted({"torch._dynamo", "torchvision", "timm", "sympy"} & set(sys.modules))]))
"""


@pytest.mark.e2e
@pytest.mark.parametrize("method", ["sre2l", "dwa"])
def test_a_run_on_a_convnet_imports_neither_the_compiler_nor_torchvision(tmp_path, method):
    environment = {**os.environ, "DDBENCH_DATA": str(tmp_path / "none"), "DDBENCH_PLUGINS": ""}
    command = [sys.executable, "-c", RUN, str(tmp_path / "store"), method]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    records, imported = json.loads(done.stdout.splitlines()[-1])
    assert records > 0
    assert imported == []
