"""What docs/writing-a-plugin.md and the README tell a plugin's author to write works, carried out word for word."""

from __future__ import annotations

import json
import re
import tomllib

import pytest

import ddbench
from ddbench.options import read_presets
from third_party import installed, run

PAGE = "docs/writing-a-plugin.md"
MODULES = ("__init__", "push", "means", "eigen", "near", "carve")
"""Of the tutorial's package, in the order in which the page shows them."""

TEST_OF_THE_README = """
from ddbench.testing import SynthesizerConformance
from readme_blend import Blend

class TestBlend(SynthesizerConformance):
    synthesizer, nested = Blend(), True
"""


@pytest.fixture
def project(tmp_path, pages, blocks):
    """A folder with the tutorial's files, and what an installation would leave beside them."""
    *modules, tests = blocks(pages[PAGE], "python")
    package = tmp_path / "ddbench_blend"
    package.mkdir()
    for name, code in zip(MODULES, modules, strict=True):
        (package / f"{name}.py").write_text(code)
    (tmp_path / "test_blend.py").write_text(tests)
    (readme,) = [block for block in blocks(pages["README.md"], "python") if "class Blend" in block]
    (tmp_path / "readme_blend.py").write_text(readme)
    (tmp_path / "test_readme_blend.py").write_text(TEST_OF_THE_README)
    about, more = (tomllib.loads(block)["project"] for block in blocks(pages[PAGE], "toml")[:2])
    installed(tmp_path, {**about, **more})
    return tmp_path


def test_the_methods_of_tutorial_and_readme_keep_every_contract_they_inherit(project):
    said = run(project, "pytest", "-q", "-p", "no:cacheprovider", "test_blend.py", "test_readme_blend.py")
    assert int(re.search(r"(\d+) passed", said)[1]) > 80
    assert "failed" not in said


def test_the_tutorials_entry_point_is_found_and_its_options_are_listed(project):
    listed = run(project, "ddbench", "list", "synthesizers")
    assert {"blend", "push"} <= {line.split()[0] for line in listed.splitlines()}
    assert "Real images behind each distilled one." in run(project, "ddbench", "list", "synthesizers", "blend")


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("objectives", "means", "-o objective.NAME=VALUE"),
        ("priors", "eigen", "that of the dataset"),
        ("selectors", "near", "mean images are nearest"),
        ("synthesizers", "carve", "-o objective.NAME=VALUE"),
    ],
)
def test_the_tutorials_parts_are_listed_with_how_to_set_their_options(project, kind, name, told):
    assert told in run(project, "ddbench", "list", kind, name)


@pytest.mark.e2e
def test_the_tutorials_methods_stand_in_a_table_beside_random(project):
    small = ("--ipc", "1", "--students", "mlp", "--eval-seeds", "1", "--smoke", "0.02", "-o", "push.iterations=2", "--offline")
    said = run(project, "ddbench", "run", "blend", "push", "--protocol", "quick-hard/1", *small)
    assert re.findall(r"^ (random|blend|push) ", said, re.MULTILINE) == ["random", "blend", "push"]


@pytest.mark.e2e
def test_the_tutorials_walk_runs_with_options_of_its_parts(project):
    small = ("--ipc", "1", "--students", "mlp", "--eval-seeds", "1", "--smoke", "0.02", "--offline", "--json")
    options = ("-o", "iterations=3", "-o", "objective.batch_real=8", "-o", "prior.components=8")
    said = run(project, "ddbench", "run", "carve", "--protocol", "quick-hard/1", *small, *options)
    assert json.loads(said)["failures"] == []


def test_the_tutorials_preset_is_one(tmp_path, pages, blocks):
    (tmp_path / "cifar10.toml").write_text(blocks(pages[PAGE], "toml")[2])
    assert read_presets(tmp_path)["cifar10"].layer.values == {"iterations": 200}


def test_python_for_notebooks_names_what_there_is(pages, blocks):
    calls = set()
    for text in pages.values():
        for block in blocks(text, "python"):
            calls |= set(re.findall(r"\bddbench\.(\w+)\(", block))
    assert calls
    assert {name for name in calls if name not in ddbench.__all__} == set()
