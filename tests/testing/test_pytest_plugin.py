"""What pytest finds wherever ddbench is installed: fixtures, and nothing where they are not used."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

USES = """
import torch

def test_they_fit_together(ddbench_dataset, ddbench_bench, ddbench_context, ddbench_store, ddbench_plugins):
    assert ddbench_bench.data is ddbench_dataset
    assert ddbench_context.train.facts == ddbench_dataset.facts
    assert not ddbench_context.needs["teacher"].module.training
    assert list(ddbench_store.records()) == []
    assert "dwa" in ddbench_plugins.names("synthesizer")
    assert ddbench_context.train.images(torch.tensor([0])).shape == (1, 3, 8, 8)
"""

UNRELATED = """
import sys

def test_nothing_of_ours_was_imported():
    assert {"torch", "ddbench", "pydantic", "numpy"} & set(sys.modules) == set()
"""


def run(folder, text):
    (folder / "test_it.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_ddbench", "--rootdir", str(folder)]
    environment = {"PYTHONPATH": str(ROOT / "plugins"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": ""}
    return subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False, cwd=folder, env=environment)


def test_its_fixtures_fit_together(tmp_path):
    ran = run(tmp_path, USES)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_run_that_uses_none_of_them_imports_neither_ddbench_nor_torch(tmp_path):
    ran = run(tmp_path, UNRELATED)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_pytest_is_told_of_it_and_the_wheel_carries_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"ddbench": "pytest_ddbench"}
    assert "plugins/pytest_ddbench" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
