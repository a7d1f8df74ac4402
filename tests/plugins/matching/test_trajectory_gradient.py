"""The unrolled gradient in double precision: against autograd through all steps at once, TESLA's against its own definition."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from ddbench.seeding import generator_for, seeded_globally
from ddbench.training.dsa import dsa
from ddbench_plugins.matching.unrolled import Descent, Ends, matched

CLASSES, COUNT = 3, 6


def _network(norm):
    with seeded_globally(0):
        norms = {"instance": lambda w: nn.GroupNorm(w, w), "batch": nn.BatchNorm2d}[norm]
        layers = [nn.Conv2d(2, 4, 3, padding=1), norms(4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, CLASSES)]
        return nn.Sequential(*layers).double().train()


class Case:
    """A small network, images, and where an expert stood: a real step away from its start."""

    def __init__(self, steps, *, norm="instance", batch=0, augment=False, rate=0.05):
        self.steps, self.batch, self.augment = steps, batch, augment
        self.network = _network(norm)
        generator = generator_for("trajectory test")
        self.images = torch.randn(COUNT, 2, 6, 6, generator=generator, dtype=torch.float64)
        self.labels = torch.arange(COUNT) % CLASSES
        self.rate = torch.tensor(rate, dtype=torch.float64)
        start = torch.cat([value.detach().flatten() for value in self.network.parameters()])
        away = torch.randn(start.shape, generator=generator, dtype=torch.float64)
        self.ends = Ends(start, start + 0.05 * away)

    def loss(self, theta, images, i):
        """Return the loss of step i: its own batch, its own augmentation."""
        generator = generator_for("trajectory test draws", i)
        labels = self.labels
        if self.batch:
            index = torch.randperm(COUNT, generator=generator)[: self.batch]
            images, labels = images[index], labels[index]
        if self.augment:
            images = dsa(images, "color_crop_cutout_flip_scale_rotate", generator)
        parameters, at = {}, 0
        for name, value in self.network.named_parameters():
            parameters[name] = theta[at : at + value.numel()].view(value.shape)
            at += value.numel()
        return functional.cross_entropy(functional_call(self.network, parameters, (images,)), labels)

    def descent(self, **changes):
        return Descent(self.loss, changes.get("images", self.images), changes.get("rate", self.rate), self.steps)

    def naive(self, *, tesla=False):
        """Return loss and gradients by one autograd graph over all steps; TESLA cuts it between one step and the next."""
        images, rate = self.images.clone().requires_grad_(), self.rate.clone().requires_grad_()
        theta = self.ends.start.clone().requires_grad_()
        for i in range(self.steps):
            at = theta.detach().requires_grad_() if tesla else theta
            (gradient,) = torch.autograd.grad(self.loss(at, images, i), at, create_graph=True)
            theta = theta - rate * gradient
        loss = (theta - self.ends.target).square().sum() / (self.ends.start - self.ends.target).square().sum()
        return loss.detach(), *torch.autograd.grad(loss, (images, rate))


def _close(found, expected, tolerance=1e-8):
    return float((found - expected).norm() / expected.norm()) < tolerance


CASES = [{}, {"batch": 2}, {"augment": True}, {"norm": "batch"}, {"batch": 4, "augment": True, "norm": "batch"}]


@pytest.mark.parametrize("settings", CASES)
@pytest.mark.parametrize("steps", [1, 4])
def test_exact_is_autograd_through_the_whole_unrolled_training(steps, settings):
    case = Case(steps, **settings)
    loss, images, rate = case.naive()
    found = matched(case.descent(), case.ends, exact=True)
    assert _close(found.loss, loss)
    assert _close(found.images, images)
    assert _close(found.rate, rate)


@pytest.mark.parametrize("settings", CASES)
@pytest.mark.parametrize("steps", [1, 4])
def test_tesla_is_autograd_with_each_steps_start_cut_from_the_step_before(steps, settings):
    case = Case(steps, **settings)
    loss, images, rate = case.naive(tesla=True)
    found = matched(case.descent(), case.ends)
    assert _close(found.loss, loss)
    assert _close(found.images, images)
    assert _close(found.rate, rate)


@pytest.mark.parametrize("settings", CASES)
def test_with_one_step_tesla_leaves_nothing_out(settings):
    case = Case(1, **settings)
    tesla, exact = matched(case.descent(), case.ends), matched(case.descent(), case.ends, exact=True)
    assert _close(tesla.images, exact.images)
    assert _close(tesla.rate, exact.rate)


def test_over_twenty_steps_tesla_drops_terms_and_keeps_the_direction():
    case = Case(20, augment=True)
    tesla, exact = matched(case.descent(), case.ends), matched(case.descent(), case.ends, exact=True)
    cosine = functional.cosine_similarity(tesla.images.flatten(), exact.images.flatten(), dim=0)
    assert torch.equal(tesla.loss, exact.loss)
    assert 0.5 < float(cosine) < 1 - 1e-6


@pytest.mark.parametrize("exact", [True, False])
def test_gradients_follow_finite_differences_of_the_loss_where_nothing_is_left_out(exact):
    case = Case(3 if exact else 1)
    found = matched(case.descent(), case.ends, exact=exact)
    generator = generator_for("trajectory test direction")
    direction, step = torch.randn(case.images.shape, generator=generator, dtype=torch.float64), 1e-6
    ahead, behind = (matched(case.descent(images=case.images + s * direction), case.ends).loss for s in (step, -step))
    assert float((found.images * direction).sum()) == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-5)
    ahead, behind = (matched(case.descent(rate=case.rate + s), case.ends).loss for s in (step, -step))
    assert float(found.rate) == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-5)


def test_a_student_that_does_not_move_has_loss_one():
    case = Case(3)
    assert float(matched(case.descent(rate=torch.zeros((), dtype=torch.float64)), case.ends).loss) == 1.0


def test_what_is_returned_holds_no_graph_and_inputs_stay_as_they_were():
    case = Case(3)
    before = case.images.clone(), case.ends.start.clone()
    found = matched(case.descent(), case.ends, exact=True)
    assert not any(value.requires_grad for value in (found.loss, found.images, found.rate))
    assert torch.equal(before[0], case.images)
    assert torch.equal(before[1], case.ends.start)
