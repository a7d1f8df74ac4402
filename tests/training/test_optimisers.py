"""Optimisers: which parameters decay, and the fused update against the formula."""

from __future__ import annotations

import pytest
import torch

from ddbench.api.protocol import Optimiser, Schedule
from ddbench.training.optimisers import make_optimiser, parameter_groups, set_rate
from ddbench.training.recipe import Recipe


def _recipe(**settings):
    return Recipe(Optimiser(**settings), Schedule(name="constant"), batch=4, epochs=1)


def test_all_means_every_parameter_decays(small):
    network = small()
    groups = parameter_groups(network, weight_decay=0.01, decay="all")
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(6, 0.01)]


def test_matrices_means_biases_and_scales_do_not_decay(small):
    network = small()
    decaying, free = parameter_groups(network, weight_decay=0.01, decay="matrices")
    assert {id(p) for p in decaying["params"]} == {id(network.conv.weight), id(network.head.weight)}
    assert {id(p) for p in free["params"]} == {
        id(network.conv.bias),
        id(network.norm.weight),
        id(network.norm.bias),
        id(network.head.bias),
    }
    assert free["weight_decay"] == 0.0


def test_frozen_parameters_are_left_out(small):
    network = small()
    network.conv.weight.requires_grad_(requires_grad=False)
    [group] = parameter_groups(network, weight_decay=0.0, decay="all")
    assert all(p is not network.conv.weight for p in group["params"])


def _stepped(recipe, network, gradients, rates):
    optimiser = make_optimiser(network, recipe)
    for gradient, rate in zip(gradients, rates, strict=True):
        set_rate(optimiser, rate)
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        optimiser.step()
    return [p.detach().clone() for p in network.parameters()]


def test_sgd_is_heavy_ball_with_decay_in_the_gradient(small):
    rates, gradients = [0.1, 0.05, 0.01], [1.0, -2.0, 0.5]
    before = [p.detach().double() for p in small().parameters()]
    after = _stepped(_recipe(name="sgd", lr=0.1, momentum=0.9, weight_decay=5e-4), small(), gradients, rates)
    for w, out in zip(before, after, strict=True):
        ball = torch.zeros_like(w)
        for gradient, rate in zip(gradients, rates, strict=True):
            ball = 0.9 * ball + gradient + 5e-4 * w
            w = w - rate * ball  # noqa: PLW2901
        torch.testing.assert_close(out.double(), w, atol=1e-6, rtol=1e-5)


def test_adamw_decouples_the_decay(small):
    rates, gradients = [1e-2, 5e-3], [1.0, -2.0]
    before = [p.detach().double() for p in small().parameters()]
    after = _stepped(_recipe(name="adamw", lr=1e-2, weight_decay=0.01), small(), gradients, rates)
    for w, out in zip(before, after, strict=True):
        m = v = 0.0
        for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            step = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
            w = w * (1 - rate * 0.01) - rate * step  # noqa: PLW2901
        torch.testing.assert_close(out.double(), w, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("recipe", "theirs"),
    [
        ({"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}, torch.optim.SGD),
        ({"name": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}, torch.optim.SGD),
        ({"name": "adamw", "lr": 0.01, "weight_decay": 0.01}, torch.optim.AdamW),
    ],
    ids=["momentum", "no momentum", "adamw"],
)
def test_steps_are_those_of_torchs_own_classes_bit_for_bit(small, recipe, theirs):
    ours, network = small(), small()
    optimiser = make_optimiser(ours, _recipe(**recipe))
    settings = {name: value for name, value in recipe.items() if name != "name"}
    other = theirs(network.parameters(), fused=True, **settings)
    for step in range(5):
        generator = torch.Generator().manual_seed(step)
        set_rate(optimiser, 0.1 / (step + 1))
        set_rate(other, 0.1 / (step + 1))
        for place, (mine, its) in enumerate(zip(ours.parameters(), network.parameters(), strict=True)):
            gradient = torch.randn(mine.shape, generator=generator)
            mine.grad, its.grad = (None, None) if (step, place) == (2, 1) else (gradient, gradient.clone())  # one without
        optimiser.step()
        other.step()
    assert all(torch.equal(mine, its) for mine, its in zip(ours.parameters(), network.parameters(), strict=True))
    for mine, its in zip(ours.parameters(), network.parameters(), strict=True):
        assert {name: value.tolist() for name, value in optimiser.state[mine].items()} == {
            name: value.tolist() for name, value in other.state[its].items() if value is not None
        }
    optimiser.zero_grad()
    assert all(parameter.grad is None for parameter in ours.parameters())


def test_a_rate_still_to_be_learned_is_refused(small):
    from ddbench.errors import BadRequest

    with pytest.raises(BadRequest, match="learned with a distilled set"):
        make_optimiser(small(), _recipe(name="sgd", lr="set", lr_without_set=0.01, weight_decay=0.0))
