"""herding against a naive greedy search, and its guarantees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ddbench.errors import NotEnoughImages
from ddbench_plugins.baselines import Herding
from ddbench_plugins.baselines.herding import herding_order


def naive_order(features: np.ndarray, count: int) -> list[int]:
    """Pick, each time, the row after which the mean of the picked is nearest to the mean of all."""
    mu, picked = features.mean(axis=0), []
    for _ in range(count):
        left = [row for row in range(len(features)) if row not in picked]
        picked.append(min(left, key=lambda row: np.linalg.norm(mu - features[[*picked, row]].mean(axis=0))))
    return picked


def class_vectors(train, label: int, *, normalise: bool) -> np.ndarray:
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (train.facts.mean, train.facts.std))
    pixels = train.pixels[train.indices(label)].numpy() / 255
    vectors = ((pixels - mean) / std).reshape(len(pixels), -1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if normalise else vectors


@pytest.mark.parametrize("seed", range(20))
def test_the_order_is_that_of_a_naive_greedy_search(seed):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(generator.integers(3, 30), generator.integers(2, 8)))
    assert herding_order(torch.from_numpy(features), len(features)).tolist() == naive_order(features, len(features))


@pytest.mark.parametrize("normalise", [True, False])
def test_jobs_hold_the_picks_of_each_class_in_the_teachers_features(distil, train, normalise):
    results = distil(Herding(), 7, normalise=normalise)
    for label in range(3):
        expected = train.indices(label)[naive_order(class_vectors(train, label, normalise=normalise), 7)]
        assert [int(result.extras["real_index"][label]) for result in results] == expected.tolist()


def test_the_first_pick_is_the_image_nearest_to_the_class_mean():
    features = torch.tensor([[0.0, 0.0], [4.0, 0.0], [1.9, 0.1], [2.0, 3.0]], dtype=torch.float64)
    assert herding_order(features, 1).tolist() == [2]


def test_equal_images_are_each_picked_once_in_their_order():
    assert herding_order(torch.ones(4, 3, dtype=torch.float64), 4).tolist() == [0, 1, 2, 3]


def test_shifting_and_scaling_all_features_changes_nothing():
    features = torch.randn(25, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert torch.equal(herding_order(features, 10), herding_order(5 * features + 2, 10))


def test_sets_nest_and_neither_grouping_nor_seed_matters(distil):
    def index(ipc, **how):
        return [result.extras["real_index"].tolist() for result in distil(Herding(), ipc, **how)]

    assert index(3) == index(7)[:3] == index(7, stack=2)[:3] == index(7, seed=5)[:3]


def test_only_the_features_of_each_class_are_asked_for_once(distil, train):
    results = distil(Herding(), 7)
    of_the_set = sum(len(result.labels) for result in results)
    assert len(train.looked_at) == sum(train.facts.counts) + of_the_set


def test_the_teacher_is_left_as_it_was(distil, teacher):
    before = {name: tensor.clone() for name, tensor in teacher.module.state_dict().items()}
    distil(Herding(), 4)
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.module.state_dict().items())
    assert not teacher.module.training


def test_more_images_than_a_class_holds_are_refused_when_planning(train):
    with pytest.raises(NotEnoughImages, match=r"class 'class 0' of toy has 7; ask for at most 7"):
        Herding().jobs(Herding.options(), train.facts, 8, 0)
