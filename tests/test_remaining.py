"""What is left of a run is its plan's expectation, scaled by how long what is made took."""

from __future__ import annotations

import pytest

import ddbench
from ddbench.remaining import Remaining, needed

ASKED = {"protocol": "quick-soft/1", "students": ["convnet1-w32", "test_resnet"], "ipc": 1, "distill_seeds": 2, "eval_seeds": 2}


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def planned(tmp_path):
    return ddbench.plan("dwa", store=tmp_path, **ASKED)


def test_shares_of_all_cells_are_the_plans_expectation_each_stage_counted_once(planned):
    left = Remaining(planned)
    assert sum(left._shares) == pytest.approx(planned.expected_s)
    assert all(left._shares)
    assert {key for one in planned.cells for key in needed(one)} == {stage.key for stage in planned.stages if stage.key}


def test_twice_as_slow_as_expected_leaves_twice_the_rest(planned):
    clock = Clock()
    left = Remaining(planned, clock)
    assert (left.left_s, left.text) == (None, "")
    first, rest = left._shares[0], sum(left._shares[1:])
    clock.now += 2 * first
    left.made(0)
    assert left.left_s == pytest.approx(2 * rest)
    for number in range(len(planned.cells)):
        left.made(number)
    assert (left.left_s, left.text) == (0.0, "")


@pytest.mark.parametrize(
    ("factor", "text"), [(60 * 7, " (all: about 7 min left)"), (3600 * 3, " (all: about 3 h 0 min left)"), (50, "")]
)
def test_it_is_told_in_words_from_a_minute_on(planned, factor, text):
    clock = Clock()
    left = Remaining(planned, clock)
    clock.now += factor * left._shares[0] / sum(left._shares[1:])
    left.made(0)
    assert left.text == text


def test_what_helpers_make_from_the_end_counts_as_soon_as_it_is_there(planned):
    clock, there = Clock(), set()
    left = Remaining(planned, clock, is_made=lambda number: number in there)
    shares, last = list(left._shares), len(planned.cells) - 1
    there |= {last, last - 1, last - 3}
    clock.now += 10
    left.made(0)
    done = shares[0] + shares[last] + shares[last - 1]
    assert left.left_s == pytest.approx((sum(shares) - done) * 10 / done)
