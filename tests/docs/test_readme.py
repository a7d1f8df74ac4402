"""The README keeps its promises: two commands, places for measured output, a readable length."""

from __future__ import annotations

import re

import pytest


@pytest.fixture
def readme(pages) -> str:
    return pages["README.md"]


def commands(readme, blocks) -> list[list[str]]:
    """Return the steps of each one-line command that sets up an environment."""
    lines = [line for block in blocks(readme, "sh") for line in block.splitlines() if "python3 -m venv" in line]
    return [[step.strip() for step in line.split("&&")] for line in lines]


def test_there_are_two_commands_each_on_its_own(readme, blocks):
    job, tests = commands(readme, blocks)
    assert job[0] == tests[0] == "python3 -m venv .venv"
    assert job[-1] == ".venv/bin/ddbench run dwa"


def test_the_test_command_is_the_one_that_ci_runs(readme, blocks, root):
    path = root / ".ci" / "run"
    if not path.is_file():
        pytest.skip("only a checkout has .ci/run; a source distribution leaves it out")
    _, install, test = commands(readme, blocks)[1]
    script = path.read_text("utf-8").splitlines()
    assert test in script
    needed = re.search(r"pip install (.+)", install)[1]
    assert any(re.search(rf"pip install (--\S+ )*{re.escape(needed)}$", line) for line in script)
    assert commands(readme, blocks)[1][0] in script


def test_measured_output_has_its_places(readme):
    for name in ("demo", "cross-architecture"):
        assert readme.count(f"<!-- {name}:begin -->") == readme.count(f"<!-- {name}:end -->") == 1
        assert readme.index(f"<!-- {name}:begin -->") < readme.index(f"<!-- {name}:end -->")


def test_it_is_short_enough_to_be_read(readme):
    written = re.sub(r"<!-- ([a-z-]+):begin -->.*?<!-- \1:end -->", "", readme, flags=re.DOTALL)
    assert len(written.splitlines()) < 200


def test_the_packages_readme_and_changelog_are_shipped(root):
    project = (root / "pyproject.toml").read_text("utf-8")
    assert 'readme = "README.md"' in project
    assert '"CHANGELOG.md"' in project


def test_the_changelog_has_the_sections_it_promises(pages):
    unreleased = pages["CHANGELOG.md"].split("\n## ")[1]
    assert unreleased.startswith("Unreleased")
    assert re.findall(r"^### (.+)$", unreleased, re.MULTILINE) == ["Added", "API", "Results", "Changed from the design papers"]
