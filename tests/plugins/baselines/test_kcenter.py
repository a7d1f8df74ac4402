"""kcenter against a naive greedy search, and its guarantee."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddbench.errors import NotEnoughImages
from ddbench_plugins.baselines import KCenter
from ddbench_plugins.baselines.kcenter import kcenter_order


def naive_order(features: np.ndarray, count: int) -> list[int]:
    """Start nearest to the mean; then take, each time, the row whose nearest picked row is farthest away."""
    picked = [int(np.linalg.norm(features - features.mean(axis=0), axis=1).argmin())]
    while len(picked) < count:
        left = [row for row in range(len(features)) if row not in picked]
        picked.append(max(left, key=lambda row: min(np.linalg.norm(features[row] - features[p]) for p in picked)))
    return picked[:count]


def radius(features: np.ndarray, centres) -> float:
    return np.linalg.norm(features[:, None] - features[None, list(centres)], axis=2).min(axis=1).max()


@pytest.mark.parametrize("seed", range(20))
def test_the_order_is_that_of_a_naive_greedy_search(seed):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(generator.integers(3, 30), generator.integers(2, 8)))
    assert kcenter_order(torch.from_numpy(features), len(features)).tolist() == naive_order(features, len(features))


@given(seed=st.integers(0, 10_000), count=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_no_image_is_farther_than_twice_the_best_possible_radius(seed, count):
    features = np.random.default_rng(seed).normal(size=(9, 2))
    best = min(radius(features, centres) for centres in combinations(range(9), count))
    assert radius(features, kcenter_order(torch.from_numpy(features), count).tolist()) <= 2 * best + 1e-12


def test_jobs_hold_the_centres_of_each_class_in_the_teachers_features(distil, train):
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (train.facts.mean, train.facts.std))
    results = distil(KCenter(), 7)
    for label in range(3):
        pixels = train.pixels[train.indices(label)].numpy() / 255
        expected = train.indices(label)[naive_order(((pixels - mean) / std).reshape(len(pixels), -1), 7)]
        assert [int(result.extras["real_index"][label]) for result in results] == expected.tolist()


def test_equal_images_are_each_picked_once():
    assert sorted(kcenter_order(torch.ones(5, 2, dtype=torch.float64), 5).tolist()) == [0, 1, 2, 3, 4]


def test_sets_nest_and_neither_grouping_nor_seed_matters(distil):
    def index(ipc, **how):
        return [result.extras["real_index"].tolist() for result in distil(KCenter(), ipc, **how)]

    assert index(3) == index(7)[:3] == index(7, stack=2)[:3] == index(7, seed=5)[:3]


def test_more_images_than_a_class_holds_are_refused_when_planning(train):
    with pytest.raises(NotEnoughImages, match=r"class 'class 0' of toy has 7"):
        KCenter().jobs(KCenter.options(), train.facts, 8, 0)
