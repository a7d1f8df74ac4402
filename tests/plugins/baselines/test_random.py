"""random: real, distinct, nested, uniform."""

from __future__ import annotations

import pytest
import torch

from ddbench.errors import NotEnoughImages
from ddbench_plugins.baselines import Random


def index_of(results) -> torch.Tensor:
    return torch.cat([result.extras["real_index"] for result in results])


def test_images_are_the_train_images_they_say_they_are(distil, train):
    for result in distil(Random(), 7):
        index = result.extras["real_index"]
        assert torch.equal(result.images, train.pixels[index])
        assert torch.equal(result.labels, train.labels[index])


def test_no_image_is_drawn_twice(distil):
    index = index_of(distil(Random(), 7))
    assert len(set(index.tolist())) == 3 * 7


def test_the_smallest_class_is_drawn_whole(distil, train):
    index = index_of(distil(Random(), 7))
    assert set(train.indices(0).tolist()) <= set(index.tolist())


def test_a_smaller_set_is_a_prefix_of_a_larger_one(distil):
    assert torch.equal(index_of(distil(Random(), 3)), index_of(distil(Random(), 7))[: 3 * 3])


def test_grouping_the_jobs_changes_nothing(distil):
    assert torch.equal(index_of(distil(Random(), 6, stack=1)), index_of(distil(Random(), 6, stack=6)))


def test_another_distill_seed_is_another_draw_and_the_same_seed_the_same(distil):
    assert not torch.equal(index_of(distil(Random(), 5, seed=1)), index_of(distil(Random(), 5, seed=2)))
    assert torch.equal(index_of(distil(Random(), 5, seed=1)), index_of(distil(Random(), 5, seed=1)))


def test_every_image_of_a_class_is_drawn_equally_often(distil, train):
    draws = torch.cat([distil(Random(), 1, seed=seed)[0].extras["real_index"] for seed in range(600)])
    for label, count in enumerate(train.facts.counts):
        expected = 600 / count
        seen = torch.bincount(draws, minlength=len(train.labels))[train.indices(label)]
        chi_square = ((seen - expected) ** 2 / expected).sum().item()
        assert chi_square < 2.2 * count + 14  # above the 99.9 % quantile for 6, 8 and 11 degrees of freedom: 22.5, 26.1, 31.3


def test_more_images_than_the_smallest_class_holds_are_refused_when_planning(train):
    with pytest.raises(NotEnoughImages, match=r"8 images per class, but class 'class 0' of toy has 7"):
        Random().jobs(Random.options(), train.facts, 8, 0)
