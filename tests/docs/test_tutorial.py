"""docs/tutorial.md works: its files and commands are carried out word for word."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ddbench.cli.app import app
from third_party import installed, run
from tutorial import PAGE, Step, script
from tutorial import steps as steps_of_the_page

COMMANDS = {"ddbench": "from ddbench.__main__ import main; main()", "pytest": "from pytest import console_main; console_main()"}
"""What pip would put into the environment if ddbench and pytest were not lent to it."""


@pytest.fixture
def steps() -> list[Step]:
    """The page's blocks in order."""
    return steps_of_the_page()


@pytest.fixture
def project(tmp_path, steps, monkeypatch) -> Path:
    """The tutorial's project as it is at the page's end, and what an installation would leave beside it."""
    monkeypatch.chdir(tmp_path)
    (new,) = [shlex.split(line)[1:] for _, _, text in steps for line in text.splitlines() if line.startswith("ddbench plugin new")]
    assert CliRunner().invoke(app, new).exit_code == 0
    folder = tmp_path / f"ddbench-{new[-1]}"
    for name, language, text in steps:
        if language != "sh":
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
    installed(folder, tomllib.loads((folder / "pyproject.toml").read_text())["project"])
    return folder


def test_every_file_of_the_tutorial_is_named_in_the_line_before_it(steps):
    assert [name for name, language, _ in steps if language != "sh"] == [
        "ddbench_collage/__init__.py",
        "tests/test_collage.py",
        "ddbench_collage/presets/digits.toml",
    ]


def test_the_tutorials_method_keeps_every_contract_it_inherits(project):
    said = run(project, "pytest", "-q", "-p", "no:cacheprovider")
    assert int(re.search(r"(\d+) passed", said)[1]) >= 12
    assert "failed" not in said


def test_the_tutorials_option_and_preset_are_listed(project):
    said = run(project, "ddbench", "list", "synthesizers", "collage")
    assert "Real images along each side of a distilled one." in said
    assert "the only divisor of 8 that leaves anything to see" in said


def test_no_block_of_the_tutorial_is_left_out(steps, root):
    assert (root / PAGE).read_text("utf-8").count("\n```\n") == len(steps)


@pytest.mark.e2e
def test_the_tutorial_carried_out_word_for_word_ends_in_a_table_beside_random_and_dwa(tmp_path, steps):
    venv.create(tmp_path / "venv", with_pip=True)
    packages = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    here = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "ddbench-and-what-it-needs.pth").write_text("\n".join(f"import site; site.addsitedir({path!r})" for path in here))
    for name, call in COMMANDS.items():
        command = tmp_path / "venv" / "bin" / name
        command.write_text(f"#!{tmp_path}/venv/bin/python\n{call}\n")
        command.chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DDBENCH_")},
        "PATH": f"{tmp_path}/venv/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DDBENCH_STORE": str(tmp_path / "store"),
    }
    ran = subprocess.run(["bash", "-c", script(steps)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert {"random", "dwa", "collage"} <= set(re.findall(r"^ (random|dwa|collage) ", ran.stdout, re.MULTILINE))
