"""Another order of classes is found where it is clearly better than the labels' own, not where luck or poor images make it so."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ddbench.api.network import TrainedNetwork
from ddbench.api.synthesizer import JobResult
from ddbench.data import HeldSplit
from ddbench.exchange.classorder import best_order, check_order, compare
from ddbench.seeding import generator_for
from ddbench.training.zca import whitening_of


def answered(labels, num_classes, right, *parts):
    """Return answers that are right for a share of images, and anything for the others."""
    generator = generator_for("answers", *parts)
    anything = torch.randint(num_classes, (len(labels),), generator=generator)
    return torch.where(torch.rand(len(labels), generator=generator) < right, labels, anything)


def test_the_best_order_is_that_of_a_search_through_all_orders():
    from itertools import permutations

    for number in range(20):
        generator = generator_for("orders", number)
        labels, answers = (torch.randint(5, (40,), generator=generator) for _ in range(2))
        order, best = best_order(labels, answers, 5)
        assert best == max(int((torch.tensor(every)[labels] == answers).sum()) for every in permutations(range(5)))
        assert best == int((torch.tensor(order)[labels] == answers).sum())


def test_ties_keep_what_is_labelled():
    labels = torch.arange(10).repeat(3)
    assert best_order(labels, torch.zeros_like(labels), 10)[0] == tuple(range(10))


@pytest.mark.parametrize("right", [1.0, 0.8, 0.6])
@pytest.mark.parametrize(("num_classes", "ipc"), [(10, 10), (10, 50), (100, 1), (100, 10), (10, 1)])
def test_a_shuffled_set_is_found_at_every_size(num_classes, ipc, right):
    if ipc == 1 and right < (1.0 if num_classes == 10 else 0.8):
        pytest.skip("one image per class, with many wrong answers, proves nothing")
    labels = torch.arange(num_classes).repeat(ipc)
    shuffled = torch.randperm(num_classes, generator=generator_for("shuffle", num_classes))
    assert compare(labels, answered(shuffled[labels], num_classes, right, num_classes, ipc), num_classes).clear


def test_two_swapped_classes_are_found_and_named():
    labels = torch.arange(10).repeat(10)
    swapped = torch.tensor([0, 1, 2, 5, 4, 3, 6, 7, 8, 9])
    found = compare(labels, answered(swapped[labels], 10, 0.9, "swap"), 10)
    assert found.clear
    assert found.moved == [3, 5]


@pytest.mark.parametrize(("num_classes", "ipc"), [(10, 1), (10, 10), (10, 50), (100, 1), (100, 10)])
@pytest.mark.parametrize("right", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_a_set_in_order_is_never_called_misordered_however_poor_its_images(num_classes, ipc, right):
    labels = torch.arange(num_classes).repeat(ipc)
    for number in range(20 if num_classes == 10 else 4):
        assert not compare(labels, answered(labels, num_classes, right, num_classes, ipc, number), num_classes).clear


def test_images_that_the_teacher_takes_for_one_class_say_nothing():
    labels = torch.arange(10).repeat(10)
    answers = torch.full_like(labels, 6)
    answers[:7] = torch.arange(7)
    assert not compare(labels, answers, 10).clear


@pytest.mark.parametrize("space", ["uint8", "unit", "normalised", "zca"])
def test_the_teacher_sees_pixels_of_every_space_alike(data, pixels, labels, normalised, space):
    facts = data.facts
    train = HeldSplit(data)
    seen = []

    class Watching(torch.nn.Module):
        def forward(self, images):
            seen.append(images)
            return torch.zeros(len(images), 4)

    teacher = TrainedNetwork(Watching(), facts.classes, torch.tensor(facts.mean), torch.tensor(facts.std))
    images = {"uint8": pixels, "unit": pixels / 255, "normalised": normalised, "zca": whitening_of(train).apply(pixels)}[space]
    ctx = SimpleNamespace(train=train, device=torch.device("cpu"))
    check_order(ctx, teacher, JobResult(images, labels, space), "a set")
    assert torch.cat(seen).allclose(normalised, atol=1e-3)
