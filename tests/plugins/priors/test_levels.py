"""Levels and spaces by image size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ddbench.errors import PriorMismatch
from ddbench_plugins.priors import Random, Trained
from ddbench_plugins.priors.levels import TrunkOptions, level_sizes, level_widths


@pytest.mark.parametrize(
    ("side", "sides"),
    [
        (8, [4, 8]),
        (28, [7, 14, 28]),
        (32, [4, 8, 16, 32]),
        (64, [4, 8, 16, 32, 64]),
        (224, [7, 14, 28, 56, 112, 224]),
        (3, [3]),
    ],
)
def test_a_side_is_halved_while_it_is_even_and_above_four(side, sides):
    assert level_sizes((1, side, side)) == [(size, size) for size in sides]


def test_both_sides_are_halved_together():
    assert level_sizes((3, 16, 48)) == [(4, 12), (8, 24), (16, 48)]


@pytest.mark.parametrize("prior", [Random(), Trained()])
def test_images_that_cannot_be_halved_are_refused_before_any_work(prior, data):
    facts = replace(data.facts, shape=(3, 99, 99))
    with pytest.raises(PriorMismatch, match="99×99 cannot be halved"):
        prior.spaces(prior.options(), facts)


def test_channels_double_towards_coarse_levels_up_to_the_most_allowed():
    assert level_widths(4, TrunkOptions(channels=16, max_channels=40)) == [40, 40, 32, 16]
    assert level_widths(3, TrunkOptions(channels=48, max_channels=8)) == [48, 48, 48]


def test_channels_that_cannot_be_normalised_in_groups_are_refused():
    with pytest.raises(ValueError, match="multiple of 8"):
        TrunkOptions(channels=20)
