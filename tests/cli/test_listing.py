from __future__ import annotations

import json
from typing import Literal

import pytest
from pydantic import Field
from typer.testing import CliRunner

from ddbench.cli.app import app
from ddbench.cli.describe import options_lines, options_of
from ddbench.cli.listing import KINDS
from ddbench.options import Options


class Sample(Options):
    """Options of every kind."""

    rho: float = Field(0.015, ge=0, lt=1, description="Size of the adjustment.")
    init: Literal["noise", "real"] = Field("real", description="Start.")
    steps: int | None = Field(None, gt=0)
    path: str
    sizes: tuple[int, ...] = (1, 2)
    fast: bool = False


def listed(*arguments: str):
    return CliRunner().invoke(app, ["list", *arguments])


def test_options_are_described_with_type_default_bounds_and_help():
    found = {row["name"]: row for row in options_of(Sample)}
    assert found["rho"] == {
        "name": "rho",
        "type": "float",
        "default": 0.015,
        "required": False,
        "bounds": [">= 0", "< 1"],
        "help": "Size of the adjustment.",
    }
    assert found["init"]["type"] == '"noise" | "real"'
    assert (found["steps"]["type"], found["steps"]["bounds"]) == ("int | none", ["> 0"])
    assert found["path"]["required"]
    assert found["sizes"]["type"] == "list of int"
    assert options_lines([found["path"]])[0][:2] == ("path", "needed")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_listed_with_a_line_each_and_as_json(kind):
    rows = json.loads(listed(kind, "--json").stdout)
    assert all(row["name"] and row["description"] for row in rows)
    text = listed(kind).stdout
    assert all(row["name"] in text for row in rows)


def test_a_synthesizer_is_described_in_full():
    found = json.loads(listed("synthesizers", "random", "--json").stdout)
    assert (found["kind"], found["name"], found["facts"]["version"]) == ("synthesizer", "random", 1)
    assert "synthesizer random" in listed("synthesizers", "random").stdout


def test_a_selector_is_described_with_its_classifier_and_how_to_set_options():
    found = json.loads(listed("selectors", "cam", "--json").stdout)
    assert found["flag"] == "selector."
    (need,) = found["works_with"]
    assert (need["role"], need["kind"], need["options"], need["flag"]) == ("classifier", "teacher", {"epochs": 30}, "classifier.")
    text = listed("selectors", "cam").stdout
    assert "options (-o selector.NAME=VALUE)" in text
    assert "-o classifier.NAME=VALUE; ddbench list teachers scratch" in text


def test_a_synthesizer_that_needs_a_teacher_says_how_to_choose_it():
    (need,) = json.loads(listed("synthesizers", "dwa", "--json").stdout)["works_with"]
    assert (need["role"], need["see"]) == ("teacher", "--teacher NAME")


def test_a_protocol_is_described_with_its_hash():
    assert len(json.loads(listed("protocols", "dc-hard/1", "--json").stdout)["facts"]["sha256"]) == 64


def test_a_folder_in_prepared_form_is_a_dataset_by_its_own_name(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "dataset.json").write_text("{}")
    found = json.loads(listed("datasets", "mine", "--json", "--data-root", str(tmp_path)).stdout)
    assert found["facts"]["folder"] == str(tmp_path / "mine")
    assert found["facts"]["problem"]
    assert json.loads(listed("datasets", "digits", "--json").stdout)["facts"]["shape"] == "1×8×8"


def test_of_networks_only_our_own_are_named_unless_asked():
    families = {row["name"]: row["networks"] for row in json.loads(listed("networks", "--json").stdout)}
    assert "convnet3" in families["ddbench"]
    assert families["timm"] is None


def test_a_part_of_a_name_finds_networks_of_our_own_family_one_per_line():
    assert "ddbench/convnetgap3" in listed("networks", "convnetgap").stdout.splitlines()


@pytest.mark.parametrize("name", ["convnet3-bn-w64", "ddbench/convnet3-bn-w64"])
def test_a_name_that_is_known_and_not_listed_is_found(name):
    assert listed("networks", name).stdout.splitlines() == ["ddbench/convnet3-bn-w64"]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["synthesizer"], "'synthesizers'"),
        (["metods"], "'methods'"),
        (["synthesizers", "DWA"], "'dwa'"),
        (["synthesizers", "dwa,sre2l"], "Name them apart: dwa sre2l."),
        (["networks", "convnet33-bn"], "'convnet3'"),
        (["synthesizers", "randm"], "'random'"),
        (["protocols", "dc-hrd/1"], "'dc-hard/1'"),
        (["datasets", "digit"], "'digits'"),
        (["selectors", "camm"], "'cam'"),
        (["networks", "no-such-net"], "ddbench list networks"),
    ],
    ids=str,
)
def test_unknown_names_suggest_the_nearest(arguments, hint):
    result = listed(*arguments)
    assert result.exit_code == 2
    assert hint in result.stderr
