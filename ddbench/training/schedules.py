"""The learning rate at every step, as an exact factor of the recipe's rate; no library default decides anything.

A unit is an epoch or a step (`Schedule.per`), u counts from 0, E is their number in all, W the units of warm-up.
Let fall(x) = end + (1 - end) (1 + cos(pi x)) / 2 and rise(x) = warmup_from + (1 - warmup_from) x.

- `constant`: 1.
- `step`: 1 for u <= floor(at E), then `factor`. DC's released loop runs E + 1 epochs and drops the rate after the one numbered
  E // 2 + 1; ours runs E and drops it before that one. With at = 0.5 and E = 1000, epochs 0 to 500 train at the full rate.
- `staircase`: factor ** floor(u / `every`): torch's StepLR.
- `cosine`: rise(u / W) for u < W = `warmup`, then fall((u - W) / (E - W)): torch's LinearLR followed by CosineAnnealingLR with
  T_max = E - W. The last unit trains at a rate just above `end`; an unused unit E would train at `end` itself.
- `onecycle`: with p = `warmup` E - 1, the cosine from `warmup_from` up to 1 over the units 0 to p, then fall from p to E - 1,
  which trains at `end`: torch's OneCycleLR with its two divisors written as factors and its momentum left alone.
- `linear_cosine`: rise(u / W) for u < W = `warmup` E, then fall((u - W) / (E - W)): GLaD's, whose released code reaches its
  cosine one epoch later.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ddbench.api.protocol import batch_sizes, training_epochs, training_steps

if TYPE_CHECKING:
    from ddbench.api.protocol import Schedule
    from ddbench.training.recipe import Recipe


def unit_factor(schedule: Schedule, unit: int, units: int) -> float:
    """Return the factor of the learning rate in `unit`, counted from 0, of `units`."""
    if schedule.name == "step":
        return 1.0 if unit <= math.floor((schedule.at or 0.0) * units) else schedule.factor
    if schedule.name == "staircase":
        return schedule.factor ** (unit // (schedule.every or units))
    if schedule.name == "cosine":
        return _linear_then_cosine(schedule, unit, units, warmup=schedule.warmup)
    if schedule.name == "linear_cosine":
        return _linear_then_cosine(schedule, unit, units, warmup=schedule.warmup * units)
    if schedule.name == "onecycle":
        return _one_cycle(schedule, unit, units)
    return 1.0


def step_factors(recipe: Recipe, images: int) -> list[float]:
    """Return the factor of the learning rate at every optimiser step of a recipe on `images`."""
    steps, per_epoch = training_steps(recipe, images), len(batch_sizes(images, recipe.batch))
    if recipe.schedule.per == "step":
        return [unit_factor(recipe.schedule, step, steps) for step in range(steps)]
    epochs = training_epochs(recipe, images)
    by_epoch = [unit_factor(recipe.schedule, epoch, epochs) for epoch in range(epochs)]
    return [by_epoch[step // per_epoch] for step in range(steps)]


def drops_at(recipe: Recipe, images: int) -> int | None:
    """Return the step before which a `step` schedule that asks for a fresh optimiser forgets the momentum, if there is one."""
    if not recipe.schedule.fresh_optimiser:
        return None
    factors = step_factors(recipe, images)
    return next((step for step in range(1, len(factors)) if factors[step] != factors[step - 1]), None)


def _linear_then_cosine(schedule: Schedule, unit: int, units: int, *, warmup: float) -> float:
    if unit < warmup:
        return schedule.warmup_from + (1.0 - schedule.warmup_from) * unit / warmup
    return _fall(schedule, (unit - warmup) / max(units - warmup, 1.0))


def _one_cycle(schedule: Schedule, unit: int, units: int) -> float:
    peak = schedule.warmup * units - 1.0
    if peak > 0.0 and unit <= peak:
        risen = (1.0 - math.cos(math.pi * unit / peak)) / 2.0
        return schedule.warmup_from + (1.0 - schedule.warmup_from) * risen
    peak = max(peak, 0.0)
    return _fall(schedule, (unit - peak) / max(units - 1.0 - peak, 1.0))


def _fall(schedule: Schedule, done: float) -> float:
    return schedule.end + (1.0 - schedule.end) * (1.0 + math.cos(math.pi * done)) / 2.0
