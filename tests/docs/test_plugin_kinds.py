"""The examples of docs/plugin-kinds.md work, carried out word for word."""

from __future__ import annotations

import json
import re
import shlex
import tomllib

import pytest

from ddbench.plugins import KINDS
from third_party import installed, run

PAGE = "docs/plugin-kinds.md"
MODULES = ("gratings", "flat", "untrained")
"""In the order in which the page shows them."""


@pytest.fixture
def project(tmp_path, pages, blocks):
    """A folder with the page's three modules, and what an installation would leave beside them."""
    for name, code in zip(MODULES, blocks(pages[PAGE], "python"), strict=True):
        assert code.startswith(f'"""{name}: ')
        (tmp_path / f"{name}.py").write_text(code)
    (block,) = blocks(pages[PAGE], "toml")
    installed(tmp_path, tomllib.loads(block)["project"])
    return tmp_path


def test_every_kind_of_plugin_has_a_row_with_one_that_works(pages):
    rows = re.findall(r"^\| (\w+) \| .+ \| \[.+\]\(.+\) \| \[`(ddbench_\w+)`\]", pages[PAGE], re.MULTILINE)
    assert dict(rows) == {kind: hook for kind, (hook, _) in KINDS.items()}


def test_what_the_page_writes_is_listed(project):
    assert "gratings" in run(project, "ddbench", "list", "datasets")
    assert "flat/deep" in run(project, "ddbench", "list", "networks", "flat")
    assert "A network as it was initialised." in run(project, "ddbench", "list", "teachers", "untrained")


@pytest.mark.e2e
def test_the_pages_commands_give_a_table_with_both_students(project, pages, blocks):
    (commands,) = blocks(pages[PAGE], "sh")
    *before, last = (shlex.split(line) for line in commands.splitlines())
    for command in before:
        run(project, *command)
    said = json.loads(run(project, *last, "--eval-seeds", "1", "--json"))
    assert said["failures"] == []
    assert {record["cell"]["student"] for record in said["records"]} == {"ddbench/mlp", "flat/deep"}
    assert {record["cell"]["dataset"] for record in said["records"]} == {"gratings"}
