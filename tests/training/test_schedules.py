"""Learning rates against closed forms and against torch's schedulers."""

from __future__ import annotations

import math

import pytest
import torch

from ddbench.api.protocol import Optimiser, Schedule
from ddbench.training.recipe import Recipe
from ddbench.training.schedules import drops_at, step_factors, unit_factor


def _recipe(schedule, *, epochs=None, steps=None, batch=10):
    return Recipe(Optimiser(name="sgd", lr=1.0, weight_decay=0.0), schedule, batch=batch, epochs=epochs, steps=steps)


def _torch_factors(make, units):
    """Return the rates that a torch scheduler gives an optimiser of rate 1, one per unit."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimiser)
    rates = []
    for _ in range(units):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def _factors(schedule, units):
    return [unit_factor(schedule, unit, units) for unit in range(units)]


@pytest.mark.parametrize("epochs", [1, 7, 400])
def test_cosine_is_torchs_annealing_to_zero(epochs):
    expected = _torch_factors(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=epochs), epochs)
    assert _factors(Schedule(name="cosine"), epochs) == pytest.approx(expected, abs=1e-12)


def test_cosine_ends_near_zero_and_not_at_half_the_rate():
    factors = _factors(Schedule(name="cosine"), 400)
    assert factors[0] == 1.0
    assert factors[200] == pytest.approx(0.5)
    assert factors[-1] == pytest.approx((1 + math.cos(math.pi * 399 / 400)) / 2)
    assert factors[-1] < 2e-5


def test_warm_up_is_torchs_linear_rise_followed_by_the_cosine_over_what_is_left():
    def make(optimiser):
        rise = torch.optim.lr_scheduler.LinearLR(optimiser, start_factor=0.01, total_iters=5)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=195)
        return torch.optim.lr_scheduler.SequentialLR(optimiser, [rise, fall], milestones=[5])

    factors = _factors(Schedule(name="cosine", warmup=5, warmup_from=0.01), 200)
    assert factors[:6] == pytest.approx([0.01, 0.208, 0.406, 0.604, 0.802, 1.0])
    assert factors == pytest.approx(_torch_factors(make, 200), abs=1e-9)


@pytest.mark.parametrize(("steps", "rise"), [(300, 0.3), (97, 0.25)])
def test_one_cycle_is_torchs_with_its_divisors_as_factors(steps, rise):
    def make(optimiser):
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=1.0, total_steps=steps, pct_start=rise, div_factor=25.0, final_div_factor=1e4, cycle_momentum=False
        )

    schedule = Schedule(name="onecycle", per="step", warmup=rise, warmup_from=1 / 25, end=1 / 25e4)
    with torch.no_grad():
        expected = _torch_factors(make, steps - 1)
    assert _factors(schedule, steps)[:-1] == pytest.approx(expected, abs=1e-9)
    assert _factors(schedule, steps)[-1] == pytest.approx(schedule.end)


@pytest.mark.parametrize("epochs", [300, 301, 1000])
def test_step_trains_epochs_up_to_the_middle_at_the_full_rate(epochs):
    factors = _factors(Schedule(name="step", at=0.5), epochs)
    assert factors == [1.0] * (epochs // 2 + 1) + [0.1] * (epochs - epochs // 2 - 1)


def test_linear_cosine_rises_for_half_and_falls_to_zero_for_half():
    factors = _factors(Schedule(name="linear_cosine", warmup=0.5), 1000)
    assert factors[0] == 0.0
    assert factors[250] == pytest.approx(0.5)
    assert factors[500] == 1.0
    assert factors[750] == pytest.approx(0.5)
    assert factors[999] == pytest.approx((1 + math.cos(math.pi * 499 / 500)) / 2)


@pytest.mark.parametrize("name", ["constant", "cosine", "onecycle", "linear_cosine"])
@pytest.mark.parametrize("units", [1, 2, 3, 50])
def test_no_factor_leaves_zero_to_one_however_short_training_is(name, units):
    for warmup in (0.0, 0.3, 1.0):
        factors = _factors(Schedule(name=name, warmup=warmup), units)
        assert all(0.0 <= factor <= 1.0 for factor in factors)


def test_a_rate_per_epoch_holds_for_all_steps_of_the_epoch():
    factors = step_factors(_recipe(Schedule(name="cosine"), epochs=3), images=35)  # four batches: 10, 10, 10, 5
    assert factors == pytest.approx([1.0] * 4 + [0.75] * 4 + [0.25] * 4)


def test_a_rate_per_step_counts_steps_over_all_epochs():
    factors = step_factors(_recipe(Schedule(name="step", per="step", at=0.5), steps=10), images=35)
    assert factors == [1.0] * 6 + [0.1] * 4


def test_the_momentum_is_forgotten_at_the_step_where_the_rate_drops_and_only_if_asked():
    schedule = Schedule(name="step", at=0.5, fresh_optimiser=True)
    assert drops_at(_recipe(schedule, epochs=4), images=35) == 3 * 4
    assert drops_at(_recipe(Schedule(name="step", at=0.5), epochs=4), images=35) is None


def test_a_staircase_is_torchs_step_schedule():
    expected = _torch_factors(lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=3, gamma=0.1), 10)
    assert _factors(Schedule(name="staircase", every=3, factor=0.1), 10) == pytest.approx(expected)
