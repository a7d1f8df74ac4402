"""docs/hooks.md shows every hook and what its kind promises with the code's own signatures."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import tomllib

import pytest

import ddbench
from ddbench import Evaluator, ExpertOptions, ProtocolSpec, hookspecs

PAGE = "docs/hooks.md"
STUBS = [
    *("Synthesizer", "Job", "JobResult", "Need", "Use", "Part", "Context", "Precision"),
    *("Objective", "Matching", "Work", "Experts"),
    *("Prior", "LoadedPrior", "Latents", "Selector", "Judge", "Candidate"),
    *("DatasetSource", "DatasetDefaults", "DatasetFacts", "TrainSplit"),
    *("NetworkFamily", "NetworkSpec", "Teacher", "TrainedNetwork"),
    *("Evaluator", "EvaluationContext", "Metric"),
]


def members(node: ast.ClassDef) -> list[str]:
    """Return a class's fields and methods as text, in order, docstrings and defaults' quoting aside."""
    found = [ast.unparse(base) for base in node.bases]
    for item in node.body:
        if isinstance(item, ast.AnnAssign):
            found.append(ast.unparse(item))
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
            decorators = [ast.unparse(decorator) for decorator in item.decorator_list]
            found.append(f"{decorators} {signature(item)}")
    return found


def signature(node: ast.FunctionDef) -> str:
    return f"{node.name}({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}"


def in_code(thing) -> ast.stmt:
    return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]


@pytest.fixture(scope="session")
def shown(pages, blocks):
    """What the page's stubs define, by name."""
    trees = [ast.parse(block) for block in blocks(pages[PAGE], "python") if "import" not in block]
    return {node.name: node for tree in trees for node in tree.body}


def test_every_hook_is_shown_with_its_signature(shown):
    hooks = {name: value for name, value in vars(hookspecs).items() if name.startswith("ddbench_")}
    assert {name: signature(node) for name, node in shown.items() if isinstance(node, ast.FunctionDef)} == {
        name: signature(in_code(hook)) for name, hook in hooks.items()
    }


def test_every_hook_has_a_section(pages):
    headings = re.findall(r"^## (ddbench_\w+)$", pages[PAGE], re.MULTILINE)
    assert sorted(headings) == sorted(name for name in vars(hookspecs) if name.startswith("ddbench_"))


@pytest.mark.parametrize("name", STUBS)
def test_a_stub_has_the_codes_own_fields_and_signatures(name, shown):
    assert members(shown[name]) == members(in_code(getattr(ddbench, name)))


def test_every_option_of_experts_is_named(pages):
    assert [name for name in ExpertOptions.model_fields if f"`{name}`" not in pages[PAGE]] == []


def test_no_stub_is_left_unchecked(shown):
    assert {name for name, node in shown.items() if isinstance(node, ast.ClassDef)} == set(STUBS)


def test_whole_examples_give_what_their_hook_promises(pages, blocks):
    for block in blocks(pages[PAGE], "python"):
        if "import" not in block:
            continue
        names: dict[str, object] = {}
        exec(compile(block, PAGE, "exec", dont_inherit=True), names)  # noqa: S102 - our own page
        for name, value in names.items():
            if name == "ddbench_evaluators":
                (evaluator,) = value()
                assert isinstance(evaluator, Evaluator)
            elif name.startswith("ddbench_"):
                assert list(value()) == []


def test_the_example_of_an_evaluator_finds_the_class_known_worst(pages, blocks):
    import torch

    class Seen:
        def test_labels(self):
            return torch.tensor([0, 0, 1, 1, 2, 2])

        def predictions(self):
            return torch.tensor([0, 0, 1, 0, 2, 2])

    names: dict[str, object] = {}
    (block,) = [block for block in blocks(pages[PAGE], "python") if "class Worst" in block]
    exec(compile(block, PAGE, "exec", dont_inherit=True), names)  # noqa: S102 - the same
    (metric,) = names["Worst"]().evaluate(Seen(), None)
    assert (metric.name, metric.value) == ("worst_class_top1", 0.5)


def test_the_example_of_a_protocol_is_one(pages, blocks):
    (block,) = blocks(pages[PAGE], "toml")
    spec = ProtocolSpec.model_validate(tomllib.loads(block))
    assert spec.name == "small-hard/1"
