"""The generator against formulas written out, image by image."""

from __future__ import annotations

import pytest
import torch

from ddbench.seeding import generator_for, seeded_globally
from ddbench_plugins.priors.hierarchy import shape_for
from ddbench_plugins.priors.levels import TrunkOptions
from ddbench_plugins.priors.trunk import Modulation, Trunk


@pytest.fixture
def trunk(data):
    with seeded_globally(3):
        return Trunk(shape_for(data.facts, TrunkOptions(channels=8, max_channels=16, layers=2))).double()


def draws(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=generator_for("trunk test", *shape))


def test_modulation_normalises_groups_of_eight_channels_and_takes_scale_and_shift_from_the_style():
    with seeded_globally(0):
        modulation = Modulation(16).double()
    x, w = draws(3, 16, 5, 5) * 4 + 1, draws(3, 128)
    answer = modulation(x, w)
    for image in range(3):
        style = modulation.style.weight @ w[image] + modulation.style.bias
        for channel in range(16):
            group = x[image, channel // 8 * 8 : channel // 8 * 8 + 8]
            normal = (x[image, channel] - group.mean()) / (group.var(correction=0) + 1e-5).sqrt()
            torch.testing.assert_close(answer[image, channel], normal * (1 + style[channel]) + style[16 + channel])


def test_styles_have_mean_square_one_whatever_the_weights(trunk):
    with torch.no_grad():
        trunk.mapping.out.weight.mul_(50)
    styles = trunk.mapping(draws(5, 64), torch.tensor([0, 1, 2, 3, 0]))
    torch.testing.assert_close(styles.square().mean(dim=1), torch.ones(5), rtol=1e-4, atol=0)


def test_there_is_a_style_for_each_layer_and_one_for_the_colours_and_each_matters(trunk):
    assert trunk.num_ws == 2 * 2 + 1
    w = trunk.styles(draws(1, 64), torch.tensor([1])).double().clone()
    whole = trunk.image(trunk.climb(None, w, to=2), w)
    for place in range(trunk.num_ws):
        other = w.clone()
        other[:, place] = draws(1, 128)
        assert not torch.allclose(trunk.image(trunk.climb(None, other, to=2), other), whole)


def test_climbing_in_two_legs_is_climbing_at_once(trunk):
    w = draws(2, trunk.num_ws, 128)
    assert torch.equal(trunk.climb(trunk.climb(None, w, to=1), w, done=1, to=2), trunk.climb(None, w, to=2))


def test_every_level_leaves_features_of_one_scale(trunk):
    w = draws(4, trunk.num_ws, 128) * 5
    for level in (1, 2):
        grouped = trunk.climb(None, w, to=level).unflatten(1, (-1, 8)).flatten(2)
        zeros = torch.zeros(grouped.shape[:2], dtype=torch.float64)
        torch.testing.assert_close(grouped.mean(dim=2), zeros, rtol=0, atol=1e-9)
        torch.testing.assert_close(grouped.var(dim=2, correction=0), zeros + 1, rtol=1e-3, atol=0)


def test_an_image_does_not_depend_on_the_others_of_its_batch(trunk):
    z, labels = draws(6, 64).float(), torch.tensor([0, 1, 2, 3, 1, 1])
    single = trunk.float()
    together = single(z, labels)
    alone = torch.cat([single(z[i : i + 1], labels[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert together.abs().max() < 1
