from __future__ import annotations

import copy

import pytest
import torch
from plain.recover import PlainJob, plain_adjust
from torch import nn
from torch.func import functional_call

from ddbench import Precision
from ddbench_plugins.dwa import DwaOptions
from ddbench_plugins.dwa.adjust import Shown, ascend, global_norm, loss_gradient, moved_at_random


@pytest.fixture
def network() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 4)).double()
    for values in made.state_dict().values():
        if values.is_floating_point():
            values.copy_(torch.rand(values.shape, generator=generator, dtype=torch.float64) - 0.3)
    made[1].running_var.abs_().add_(0.5)
    return made.eval().requires_grad_(requires_grad=False)


@pytest.fixture
def shown() -> Shown:
    images = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Shown(images, torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([[1, 2]]))


def theta_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: values.detach().clone() for name, values in network.named_parameters()}


def moved(network, shown, **options):
    theta = theta_of(network)
    made, carried = ascend(network, theta, [shown], options=DwaOptions(**options), precision=Precision())
    return {name: made[name] - theta[name] for name in theta}, made, carried


def cross_entropy(network, theta, shown) -> float:
    view = shown.images.roll((1, 2), (2, 3))
    return float(nn.functional.cross_entropy(functional_call(network, theta, (view,)), shown.labels))


def test_ascent_is_that_of_the_plain_implementation(network, shown):
    """K steps: PLUS the gradient of the mean cross entropy, over the norm of all parameters together."""
    plain = copy.deepcopy(network).requires_grad_()
    of_images = plain_adjust(plain, PlainJob(shown.images, shown.labels, shown.view), rho=0.3, steps=3)
    _, made, carried = moved(network, shown, rho=0.3, steps=3)
    assert all(torch.allclose(made[name], values, atol=1e-12) for name, values in plain.named_parameters())
    assert torch.allclose(carried, of_images, atol=1e-12)


@pytest.mark.parametrize("rho", [1e-3, 0.015, 0.5])
@pytest.mark.parametrize("steps", [1, 12])
def test_weights_end_at_most_rho_away(network, shown, rho, steps):
    change, _, _ = moved(network, shown, rho=rho, steps=steps)
    distance = float(global_norm(change))
    assert distance <= rho * (1 + 1e-9)
    assert distance == pytest.approx(rho, rel=1e-9 if steps == 1 else 0.1)


def test_a_short_ascent_is_straight_so_that_steps_do_not_matter(network, shown):
    once, _, _ = moved(network, shown, rho=1e-6, steps=1)
    often, _, _ = moved(network, shown, rho=1e-6, steps=12)
    assert all(torch.allclose(once[name], often[name], atol=1e-11) for name in once)


def test_cross_entropy_rises_and_more_so_than_at_random(network, shown):
    _, uphill, _ = moved(network, shown, rho=0.1, steps=12)
    theta = theta_of(network)
    anywhere = moved_at_random(theta, 0.1, torch.Generator().manual_seed(0))
    before, after, control = (cross_entropy(network, weights, shown) for weights in (theta, uphill, anywhere))
    assert after > before
    assert after - before > 3 * abs(control - before)


def test_without_normalising_a_step_is_the_gradient_itself(network, shown):
    gradient, _ = loss_gradient(network, theta_of(network), [shown])
    change, _, _ = moved(network, shown, rho=0.01, steps=1, normalize="none")
    assert all(torch.allclose(change[name], 0.01 * gradient[name], atol=1e-14) for name in change)


def test_buffers_and_the_networks_own_weights_do_not_move(network, shown):
    state = {name: values.clone() for name, values in network.state_dict().items()}
    moved(network, shown, rho=0.5, steps=3)
    assert all(torch.equal(values, state[name]) for name, values in network.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in network.parameters())


def test_a_loss_over_several_class_batches_is_that_over_one(network, shown):
    parts = [Shown(shown.images[:4], shown.labels[:4], shown.view), Shown(shown.images[4:], shown.labels[4:], shown.view)]
    whole, of_images = loss_gradient(network, theta_of(network), [shown])
    cut, of_parts = loss_gradient(network, theta_of(network), parts)
    assert all(torch.allclose(cut[name], whole[name], atol=1e-14) for name in whole)
    assert torch.allclose(of_parts, of_images, atol=1e-14)


def test_a_random_direction_goes_exactly_as_far(network):
    theta = theta_of(network)
    made = moved_at_random(theta, 0.015, torch.Generator().manual_seed(3))
    assert float(global_norm({name: made[name] - theta[name] for name in theta})) == pytest.approx(0.015, rel=1e-9)


def test_a_parameter_that_takes_no_part_stays(shown):
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused, self.head = nn.Linear(2, 2), nn.Linear(192, 4)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(images.flatten(1))

    network = Spare().double().eval()
    change, _, _ = moved(network, shown, rho=0.1, steps=2)
    assert not change["unused.weight"].any()
    assert float(global_norm(change)) > 0
