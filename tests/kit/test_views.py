from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain.recover import plain_view

from ddbench.kit import ViewRule, apply_views, draw_views, views_of
from ddbench.seeding import generator_for

CROPS = ViewRule("rrc_flip_roll", (-4, 4))


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)


def generators(count: int) -> list[torch.Generator]:
    return [generator_for("test views", group) for group in range(count)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_roll_is_that_of_torch_bit_for_bit(dtype):
    images = drawn(6, 3, 7, 9, dtype=dtype)
    for views in views_of(ViewRule("roll", (-20, 20)), 20, (7, 9), generators(3)):
        seen = apply_views(images, views)
        for group in range(3):
            part = slice(2 * group, 2 * group + 2)
            assert torch.equal(seen[part], torch.roll(images[part], views[group].tolist(), (2, 3)))


def test_the_gradient_of_a_roll_is_the_roll_back():
    images = drawn(4, 3, 5, 6).requires_grad_()
    views = torch.tensor([[2, -1], [-3, 4]])
    assert torch.autograd.gradcheck(lambda x: apply_views(x, views), (images,))


@pytest.mark.parametrize("size", [(32, 32), (20, 28), (8, 8)])
def test_crop_flip_and_roll_are_those_of_torchvision(size):
    images = drawn(4, 3, *size)
    for views in views_of(CROPS, 40, size, generators(2)):
        plain = torch.cat([plain_view(images[2 * group : 2 * group + 2], views[group].tolist()) for group in range(2)])
        assert torch.allclose(apply_views(images, views), plain, atol=1e-12)


def test_crop_flip_and_roll_in_float32_differ_by_rounding_only():
    images = drawn(2, 3, 32, 32)
    for views in views_of(CROPS, 40, (32, 32), generators(1)):
        assert torch.allclose(apply_views(images.float(), views).double(), apply_views(images, views), atol=2e-5)


def test_the_gradient_of_a_crop_is_right():
    images = drawn(2, 1, 5, 6).requires_grad_()
    views = torch.tensor([[1, 0, 3, 4, 1, 2, -1], [0, 2, 5, 2, 0, 0, 3]])
    assert torch.autograd.gradcheck(lambda x: apply_views(x, views), (images,))


def test_a_whole_crop_without_flip_and_roll_is_the_image_itself():
    images = drawn(2, 3, 9, 7, dtype=torch.float32)
    assert torch.equal(apply_views(images, torch.tensor([[0, 0, 9, 7, 0, 0, 0]])), images)


def test_a_crop_of_a_constant_image_is_constant():
    for views in views_of(CROPS, 20, (16, 16), generators(1)):
        assert torch.allclose(apply_views(torch.full((1, 3, 16, 16), 2.5), views), torch.tensor(2.5), atol=1e-5)


def test_each_groups_views_are_its_own_generators_alone():
    together = views_of(CROPS, 9, (16, 16), generators(3))
    alone = draw_views(CROPS, 9, (16, 16), generators(2)[1])
    assert torch.equal(together[:, 1], alone)


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 40), st.integers(4, 40), st.integers(0, 2**31))
def test_crops_stay_inside_of_the_image(height, width, seed):
    top, left, h, w, flip, *_ = draw_views(CROPS, 64, (height, width), generator_for("inside", seed)).unbind(dim=1)
    assert bool(((top >= 0) & (h >= 1) & (top + h <= height)).all())
    assert bool(((left >= 0) & (w >= 1) & (left + w <= width)).all())
    assert set(flip.tolist()) <= {0, 1}


def test_areas_and_ratios_of_crops_are_those_of_the_rule():
    _, _, h, w, flip, *_ = draw_views(CROPS, 4000, (64, 64), generator_for("areas")).double().unbind(dim=1)
    area = h * w / 64**2
    assert 0.07 < float(area.min()) < 0.12
    # Crops that do not fit are drawn again, so that large areas are rarer than a uniform draw would have them.
    assert 0.45 < float(area.mean()) < 0.54
    assert 0.7 < float((w / h).min()) < 0.85
    assert 1.2 < float((w / h).max()) < 1.4
    assert abs(float(flip.mean()) - 0.5) < 0.03


def test_an_image_too_narrow_for_any_crop_falls_back_to_the_centre():
    rule = ViewRule("rrc_flip_roll", (0, 0), scale=(1.0, 1.0))
    crops = draw_views(rule, 16, (4, 40), generator_for("narrow"))[:, :4]
    assert set(map(tuple, crops.tolist())) == {(0, 17, 4, 5)}


@pytest.mark.parametrize("rule", [ViewRule("roll", (-2, 3)), ViewRule("rrc_flip_roll", (-2, 3))])
def test_offsets_take_every_value_of_their_range_and_no_other(rule):
    offsets = draw_views(rule, 600, (16, 16), generator_for("offsets"))[:, -2:]
    assert sorted(set(offsets[:, 0].tolist())) == sorted(set(offsets[:, 1].tolist())) == list(range(-2, 4))


def test_annealed_crops_start_whole_and_end_as_small_as_any():
    rule = ViewRule("rrc_flip_roll", (0, 0), annealing=0.5)
    h, w = draw_views(rule, 4000, (64, 64), generator_for("annealed"))[:, 2:4].double().unbind(dim=1)
    least = [float(area) for area in (h * w / 64**2).view(8, 500).amin(dim=1)]
    assert all(later < earlier for earlier, later in pairwise(least[:4]))
    assert least[0] > 0.8
    assert max(least[4:]) < 0.15
