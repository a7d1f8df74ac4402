"""top1 against counts made by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddbench import Evaluator, NoOptions
from ddbench_plugins.evaluators import Top1, ddbench_evaluators


def top1(predictions, labels) -> float:
    context = SimpleNamespace(
        predictions=lambda: torch.tensor(predictions, dtype=torch.int64),
        test_labels=lambda: torch.tensor(labels, dtype=torch.int64),
    )
    (metric,) = Top1().evaluate(context, NoOptions())
    assert (metric.name, metric.unit, metric.higher_is_better) == ("top1", "fraction", True)
    return metric.value


def test_the_hook_returns_both_evaluators():
    found = list(ddbench_evaluators())
    assert all(isinstance(evaluator, Evaluator) for evaluator in found)
    assert {evaluator.name: evaluator.scope for evaluator in found} == {"top1": "student", "storage": "set"}


@pytest.mark.parametrize(
    ("predictions", "expected"), [([0, 1, 2, 3], 1.0), ([1, 2, 3, 0], 0.0), ([0, 0, 0, 0], 0.25), ([0, 1, 2, 0], 0.75)]
)
def test_top1_is_the_fraction_that_agrees(predictions, expected):
    assert top1(predictions, [0, 1, 2, 3]) == expected


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1), st.randoms())
def test_top1_is_a_count_and_ignores_the_order_of_images(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    expected = sum(predicted == label for predicted, label in pairs) / len(pairs)
    assert top1(*zip(*pairs, strict=True)) == expected == top1(*zip(*shuffled, strict=True))
