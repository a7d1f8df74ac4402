"""What is public is documented: names, hooks, environment variables, datasets, fields of records, marks of tables."""

from __future__ import annotations

import importlib.util
import re
from typing import get_args

import pydantic
import pytest

import ddbench
from ddbench import hookspecs, kit, testing
from ddbench.api.protocol import LabelRegime
from ddbench.api.synthesizer import Space
from ddbench.plugins import KINDS, Plugins
from ddbench.records import Record
from ddbench.report.layout import NOT_MEASURED, Marks
from ddbench.store import KINDS as ARTEFACTS
from ddbench.testing import Bench


def in_code(name: str, text: str) -> bool:
    """Return whether a name stands in inline code or in a code block."""
    codes = re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL)
    return any(re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)|\.{re.escape(name)}(?!\w)", code) for code in codes)


@pytest.mark.parametrize("name", ddbench.__all__)
def test_every_public_name_is_documented(name, written):
    assert in_code(name, written)


@pytest.mark.parametrize("name", testing.__all__)
def test_every_name_of_the_conformance_kit_is_documented(name, pages):
    assert in_code(name, pages["docs/writing-a-plugin.md"])


@pytest.mark.parametrize("name", kit.__all__)
def test_every_building_block_is_in_the_table_of_building_blocks(name, pages):
    assert re.search(rf"^\| `{name}` \| \S", pages["docs/writing-a-plugin.md"], re.MULTILINE)


@pytest.mark.parametrize("module", [kit, testing], ids=["kit", "testing"])
def test_nothing_is_said_to_be_in_the_kits_that_is_not_there(module, written):
    said = set(re.findall(rf"\b{module.__name__}\.(\w+)", written)) | set(
        re.findall(rf"from {module.__name__} import (.+)", written)
    )
    names = {name.strip() for one in said for name in one.split(",")}
    assert names
    assert sorted(names - set(module.__all__)) == []


def test_every_hook_is_documented(written):
    hooks = {name for name in vars(hookspecs) if name.startswith("ddbench_")}
    assert hooks == {hook for hook, _ in KINDS.values()}
    assert [hook for hook in hooks if not in_code(hook, written)] == []


def test_every_environment_variable_is_documented(root, pages):
    names = {name for path in (root / "ddbench").rglob("*.py") for name in re.findall(r"DDBENCH_[A-Z_]+", path.read_text("utf-8"))}
    assert names
    assert {name for name in names if not in_code(name, pages["docs/command-line.md"])} == set()


@pytest.mark.parametrize("kind", ["synthesizer", "teacher", "evaluator", "dataset", "protocol", "prior", "objective", "selector"])
def test_everything_first_party_is_named(kind, written):
    assert [name for name in Plugins(()).names(kind) if not in_code(name, written)] == []


def test_every_dataset_is_in_the_table_of_datasets(pages):
    assert [name for name in Plugins(()).names("dataset") if f"`{name}`" not in pages["docs/data.md"]] == []


@pytest.mark.parametrize("name", [*get_args(LabelRegime), *get_args(Space)])
def test_label_regimes_and_pixel_spaces_are_documented(name, written):
    assert in_code(name, written)


def fields(model: type[pydantic.BaseModel]) -> set[str]:
    """Return the names of a model's fields, those of its parts included."""
    names = set(model.model_fields)
    for field in model.model_fields.values():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, pydantic.BaseModel):
                names |= fields(part)
    return names


@pytest.mark.parametrize("name", sorted(fields(Record)))
def test_every_field_of_a_record_is_documented(name, pages):
    assert in_code(name, pages["docs/records.md"])


def test_every_field_of_a_manifest_is_documented(pages, tmp_path):
    from ddbench_plugins.baselines import Random

    card = Bench(tmp_path).distil(Random(), ipc=1).manifest
    assert [name for name in card if not in_code(name, pages["docs/records.md"])] == []


def test_every_folder_of_artefacts_is_documented(pages):
    assert [kind for kind in ARTEFACTS if f"{kind}/<key>/" not in pages["docs/concepts.md"]] == []


def test_every_mark_of_a_table_is_explained(pages):
    marks = [NOT_MEASURED, *(mark.strip() for mark in vars(Marks()).values())]
    assert [mark for mark in marks if f"`{mark}" not in pages["docs/reading-a-table.md"]] == []


def test_the_arrows_are_those_that_a_test_holds(pages, root):
    spec = importlib.util.spec_from_file_location("arrows", root / "tests" / "test_arrows.py")
    arrows = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(arrows)
    assert "\n".join(" ".join(sorted(line)) for line in arrows.LINES) in pages["docs/concepts.md"]


def test_every_trap_has_an_answer(pages):
    assert re.findall(r"^## T(\d+) ", pages["docs/footguns.md"], re.MULTILINE) == [str(number) for number in range(1, 28)]
