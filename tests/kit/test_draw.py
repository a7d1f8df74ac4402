from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ddbench import Job, jobs_per_image_index, one_job
from ddbench.errors import NotEnoughImages
from ddbench.kit import draw_real, refuse_small_classes


def test_every_drawn_image_is_of_the_class_asked_for(train):
    job = Job(2, (3, 0, 2), seed=1)
    assert train.targets[draw_real(train, job)].tolist() == [3, 0, 2]


def test_the_jobs_of_a_set_share_no_image_and_together_draw_a_whole_class(train):
    drawn = torch.cat([draw_real(train, Job(index, (2,), seed=1)) for index in range(5)])
    assert sorted(drawn.tolist()) == train.indices(2).tolist()


def test_a_class_is_drawn_alike_whatever_else_the_job_holds(train):
    alone = draw_real(train, Job(3, (1,), seed=4))
    among = draw_real(train, Job(3, (2, 1, 0), seed=4))
    assert among[1] == alone[0]


def test_another_seed_draws_other_images(train):
    draws = {tuple(draw_real(train, Job(0, (0, 1, 2, 3), seed=seed)).tolist()) for seed in range(8)}
    assert len(draws) > 6


def test_classes_are_drawn_independently(train):
    """With one generator for all, two classes of as many images would give those of the same ranks."""
    alike = replace(train, targets=torch.arange(len(train.targets)) // 7)
    draws = [draw_real(alike, Job(0, (0, 1), seed=seed)).tolist() for seed in range(8)]
    assert any(second != first + 7 for first, second in draws)


def test_the_global_generator_is_not_touched(train):
    before = torch.get_rng_state()
    draw_real(train, Job(0, (0, 1), seed=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_class_with_too_few_images_is_named_with_what_it_has(train):
    with pytest.raises(NotEnoughImages, match=r"'class 2' of toy has 5 train images, and 6 were asked for"):
        draw_real(train, Job(5, (0, 2), seed=0))


@pytest.mark.parametrize("ipc", [1, 2, 5])
def test_one_job_with_all_images_draws_what_one_job_per_image_index_draws(train, ipc):
    (whole,) = one_job(train.facts, ipc, seed=3)
    apart = [draw_real(train, job) for job in jobs_per_image_index(train.facts, ipc, seed=3)]
    assert draw_real(train, whole).equal(torch.cat(apart))


def test_repeated_classes_are_drawn_in_order_whatever_stands_between(train):
    together = draw_real(train, Job(0, (1, 1, 1, 2), seed=3))
    scattered = draw_real(train, Job(0, (1, 2, 1, 0, 1), seed=3))
    assert scattered[[0, 2, 4]].equal(together[:3])


def test_jobs_that_each_name_a_class_twice_share_no_image(train):
    drawn = torch.cat([draw_real(train, Job(index, (1, 1), seed=3)) for index in range(4)])
    assert len(set(drawn.tolist())) == 8
    assert draw_real(train, Job(0, (1,) * 8, seed=3)).equal(drawn)


@pytest.mark.parametrize(("index", "times", "wanted"), [(0, 6, 6), (2, 2, 6)])
def test_a_class_named_more_often_than_it_has_images_is_told(train, index, times, wanted):
    with pytest.raises(NotEnoughImages, match=f"'class 2' of toy has 5 train images, and {wanted} were asked for"):
        draw_real(train, Job(index, (2,) * times, seed=0))


@pytest.mark.parametrize("ipc", [1, 5])
def test_a_plan_that_every_class_can_serve_is_allowed(train, ipc):
    refuse_small_classes(train.facts, ipc)
    drawn = draw_real(train, Job(ipc - 1, tuple(range(train.facts.num_classes)), seed=0))
    assert len(drawn) == train.facts.num_classes


def test_a_plan_that_the_smallest_class_cannot_serve_is_refused(train):
    facts = replace(train.facts, counts=(6, 3, 5, 7))
    with pytest.raises(NotEnoughImages, match=r"'class 1' .* at most 3"):
        refuse_small_classes(facts, 4)
