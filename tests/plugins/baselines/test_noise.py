"""noise: the dataset's mean and spread, and nothing else of it."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import norm

from ddbench_plugins.baselines import Noise


def clamped_moments(mean: float, std: float) -> tuple[float, float]:
    """Return mean and standard deviation of N(mean, std) clamped to [0, 1], in closed form."""
    low, high = -mean / std, (1 - mean) / std
    inside, above = norm.cdf(high) - norm.cdf(low), 1 - norm.cdf(high)
    first = mean * inside + std * (norm.pdf(low) - norm.pdf(high)) + above
    spread = inside + low * norm.pdf(low) - high * norm.pdf(high)
    second = mean**2 * inside + 2 * mean * std * (norm.pdf(low) - norm.pdf(high)) + std**2 * spread + above
    return first, math.sqrt(second - first**2)


def test_channels_have_the_moments_of_the_clamped_normal(distil, train):
    images = torch.cat([result.images for result in distil(Noise(), 400)]).double() / 255
    for channel, (mean, std) in enumerate(zip(train.facts.mean, train.facts.std, strict=True)):
        values = images[:, channel]
        expected_mean, expected_std = clamped_moments(mean, std)
        standard_error = std / math.sqrt(values.numel())
        assert values.mean().item() == pytest.approx(expected_mean, abs=4 * standard_error)
        assert values.std().item() == pytest.approx(expected_std, abs=4 * standard_error)


def test_no_train_image_is_looked_at(distil, train):
    distil(Noise(), 3)
    assert train.looked_at == []


def test_images_nest_and_depend_on_the_distill_seed(distil):
    small, large, other = (distil(Noise(), ipc, seed=seed) for ipc, seed in ((2, 0), (5, 0), (2, 1)))
    assert all(torch.equal(a.images, b.images) for a, b in zip(small, large[:2], strict=True))
    assert not torch.equal(small[0].images, other[0].images)
    assert not torch.equal(small[0].images, small[1].images)


def test_torchs_global_generator_is_left_alone(distil):
    before = torch.get_rng_state()
    distil(Noise(), 2)
    assert torch.equal(torch.get_rng_state(), before)
