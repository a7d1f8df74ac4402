from __future__ import annotations

from pathlib import Path

import pytest

from ddbench.errors import BadRequest
from ddbench.suites.files import Suite, expand, read_suite

ROOT = Path(__file__).parent.parent.parent
SHIPPED = sorted((ROOT / "benchmarks" / "suites").glob("*.toml"))

TEXT = """
name = "small"

[settings]
protocol = "quick-hard/1"
students = ["convnet3"]
eval_seeds = 2
options = { iterations = 10, "teacher.epochs" = 3 }

[variants.still]
synthesizer = "dwa"
options = { rho = 0.0 }

[datasets.cifar10]
protocol = "dc-hard/1"
options = { iterations = 20 }

[[cells]]
methods = ["random", "still"]
datasets = ["digits", "cifar10"]
ipc = [1, 10]

[[cells]]
methods = ["dwa"]
datasets = ["digits"]
ipc = [1]
sweep = { rho = [0.01, 0.02], steps = [3, 6] }
settings = { eval_seeds = 5 }
"""


def suite(tmp_path, text=TEXT):
    file = tmp_path / "small.toml"
    file.write_text(text)
    return read_suite(file)


def test_a_block_is_the_product_of_its_lists_in_the_order_of_the_file(tmp_path):
    found = [(one.request.dataset, one.request.ipc, one.label) for one in expand(suite(tmp_path))]
    assert found[:4] == [("digits", 1, "random"), ("digits", 1, "still"), ("digits", 10, "random"), ("digits", 10, "still")]
    assert [label for _, _, label in found[8:]] == [f"dwa rho={rho} steps={steps}" for rho in (0.01, 0.02) for steps in (3, 6)]


def test_what_a_stronger_table_says_wins(tmp_path):
    by_place = {(one.request.dataset, one.method): one.request for one in expand(suite(tmp_path))}
    assert by_place["digits", "random"].protocol == "quick-hard/1"
    assert by_place["cifar10", "random"].protocol == "dc-hard/1"
    assert by_place["cifar10", "still"].shared == {"iterations": 20, "teacher.epochs": 3}
    assert (by_place["digits", "dwa"].eval_seeds, by_place["digits", "random"].eval_seeds) == (5, 2)


def test_a_variant_is_its_synthesizer_with_options_that_must_fit(tmp_path):
    still = next(one.request for one in expand(suite(tmp_path)) if one.method == "still")
    assert (still.synthesizers, still.options, still.source) == (("dwa",), {"rho": 0.0}, "suite")


def test_equal_requests_of_two_blocks_are_one(tmp_path):
    text = TEXT + '\n[[cells]]\nmethods = ["random"]\ndatasets = ["digits"]\nipc = [10]\n'
    assert len(expand(suite(tmp_path, text))) == len(expand(suite(tmp_path)))


def test_the_hash_is_of_what_the_file_says(tmp_path):
    assert suite(tmp_path).sha256 == suite(tmp_path, f"# a comment\n{TEXT}").sha256
    assert suite(tmp_path).sha256 != suite(tmp_path, TEXT.replace("eval_seeds = 2", "eval_seeds = 3")).sha256


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("eval_seeds = 2", "eval_sedes = 2"), "settings.eval_sedes: extra inputs"),
        (("ipc = [1, 10]", "ipc = [0]"), "cells.0.ipc.0"),
        (('methods = ["dwa"]', "methods = []"), "cells.1.methods"),
        (("[variants.still]", "[variants.stil]"), "no block of cells names variants.stil"),
        (("[datasets.cifar10]", "[datasets.cifar]"), "no block of cells names datasets.cifar"),
        (('name = "small"', 'name = "../small"'), "name"),
        (('name = "small"', "name = "), "cannot be read"),
    ],
)
def test_a_wrong_file_is_one_sentence_that_says_where(tmp_path, change, says):
    with pytest.raises(BadRequest, match=says.replace("(", r"\(")):
        suite(tmp_path, TEXT.replace(*change))


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(BadRequest, match="there is no suite file"):
        read_suite(tmp_path / "none.toml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_suite_is_valid_and_named_as_its_file(path):
    shipped = read_suite(path)
    assert isinstance(shipped, Suite)
    assert shipped.name == path.stem
    assert expand(shipped)
