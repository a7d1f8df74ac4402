"""Differentiable siamese augmentation against one image at a time, from the recipe's words."""

from __future__ import annotations

import math

import pytest
import torch

from ddbench.api.protocol import DSA_GROUPS
from ddbench.training.dsa import draw_group, dsa, dsa_group


def _images(count=6, height=8, width=8, seed=0):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def _uniform(count=6, seed=1):
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))


def _pixel(image, row, column):
    """Return an image's value at a real position: bilinear, zeros outside."""
    top, left = math.floor(row), math.floor(column)
    value = torch.zeros(image.shape[0])
    for y, wy in ((top, 1 - (row - top)), (top + 1, row - top)):
        for x, wx in ((left, 1 - (column - left)), (left + 1, column - left)):
            if 0 <= y < image.shape[1] and 0 <= x < image.shape[2]:
                value = value + wy * wx * image[:, y, x]
    return value


def _warped(image, matrix):
    """Return the image read at `matrix` times each pixel's position relative to the centre."""
    height, width = image.shape[1:]
    out = torch.empty_like(image)
    for y in range(height):
        for x in range(width):
            dx, dy = x - (width - 1) / 2, y - (height - 1) / 2
            sx, sy = matrix[0][0] * dx + matrix[0][1] * dy, matrix[1][0] * dx + matrix[1][1] * dy
            out[:, y, x] = _pixel(image, sy + (height - 1) / 2, sx + (width - 1) / 2)
    return out


def test_color_is_brightness_then_saturation_then_contrast():
    images, uniform = _images(), _uniform()
    result = dsa_group(images, "color", uniform)
    for image, out, (u1, u2, u3) in zip(images, result, uniform.tolist(), strict=True):
        x = image + (u1 - 0.5)
        grey = x.mean(dim=0)
        x = (x - grey) * (2 * u2) + grey
        x = (x - x.mean()) * (u3 + 0.5) + x.mean()
        torch.testing.assert_close(out, x, atol=1e-5, rtol=1e-5)


def test_crop_shifts_by_at_most_an_eighth_and_fills_with_zeros():
    images = _images(height=16, width=8)
    uniform = torch.tensor(
        [[0.0, 0.0, 0.0], [0.999, 0.999, 0.0], [0.5, 0.5, 0.0], [0.0, 0.999, 0.0], [0.3, 0.7, 0.0], [0.9, 0.1, 0.0]]
    )
    result = dsa_group(images, "crop", uniform)
    for image, out, (u1, u2, _) in zip(images, result, uniform.tolist(), strict=True):
        down, right = math.floor(u1 * 5) - 2, math.floor(u2 * 3) - 1  # 12.5 % of 16 and of 8
        expected = torch.zeros_like(image)
        for y in range(16):
            for x in range(8):
                if 0 <= y + down < 16 and 0 <= x + right < 8:
                    expected[:, y, x] = image[:, y + down, x + right]
        assert torch.equal(out, expected)


@pytest.mark.parametrize("side", [8, 9, 28])
def test_cutout_zeroes_a_square_of_half_the_side_clipped_at_the_border(side):
    images, uniform = _images(40, side, side).abs() + 1, _uniform(40)
    result = dsa_group(images, "cutout", uniform)
    hole = int(side * 0.5 + 0.5)
    for image, out, (u1, u2, _) in zip(images, result, uniform.tolist(), strict=True):
        places = side + 1 - hole % 2
        cy, cx = math.floor(u1 * places), math.floor(u2 * places)
        expected = image.clone()
        for y in range(cy - hole // 2, cy - hole // 2 + hole):
            for x in range(cx - hole // 2, cx - hole // 2 + hole):
                expected[:, min(max(y, 0), side - 1), min(max(x, 0), side - 1)] = 0
        assert torch.equal(out, expected)


def test_flip_mirrors_the_images_whose_draw_is_below_a_half():
    images, uniform = _images(), _uniform()
    result = dsa_group(images, "flip", uniform)
    for image, out, u in zip(images, result, uniform[:, 0].tolist(), strict=True):
        assert torch.equal(out, image.flip(-1) if u < 0.5 else image)


def test_scale_zooms_each_axis_about_the_centre():
    images, uniform = _images(3), _uniform(3)
    result = dsa_group(images, "scale", uniform)
    for image, out, (u1, u2, _) in zip(images, result, uniform.tolist(), strict=True):
        sx, sy = (u * (1.2 - 1 / 1.2) + 1 / 1.2 for u in (u1, u2))
        torch.testing.assert_close(out, _warped(image, [[sx, 0], [0, sy]]), atol=1e-4, rtol=1e-4)


def test_rotate_turns_by_up_to_fifteen_degrees_about_the_centre():
    images, uniform = _images(3), torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [0.9, 0, 0]])
    result = dsa_group(images, "rotate", uniform)
    for image, out, u in zip(images, result, uniform[:, 0].tolist(), strict=True):
        angle = math.radians(2 * 15 * (u - 0.5))
        matrix = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        torch.testing.assert_close(out, _warped(image, matrix), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(result[1], images[1], atol=1e-5, rtol=0)


def test_groups_are_drawn_evenly():
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_group(DSA_GROUPS, generator) for _ in range(6000)]
    for group in DSA_GROUPS.split("_"):
        assert 900 < drawn.count(group) < 1100


@pytest.mark.parametrize("group", DSA_GROUPS.split("_"))
def test_siamese_augments_batches_of_different_size_alike(group):
    image = _images(1)
    few, many = (dsa(image.expand(count, -1, -1, -1), group, torch.Generator().manual_seed(4), siamese=True) for count in (2, 5))
    assert torch.equal(few[0], few[1])
    assert torch.equal(many, few[:1].expand(5, -1, -1, -1))


@pytest.mark.parametrize("group", ["color", "crop", "cutout", "scale", "rotate"])
def test_without_siamese_each_image_has_its_own_parameters(group):
    image = _images(1).expand(8, -1, -1, -1)
    result = dsa(image, group, torch.Generator().manual_seed(4))
    assert len({tuple(row.flatten().tolist()) for row in result}) > 1


@pytest.mark.parametrize("group", DSA_GROUPS.split("_"))
def test_every_group_is_differentiable_in_the_images(group):
    images = _images(2, 4, 4).double().requires_grad_()
    uniform = _uniform(2).double()
    assert torch.autograd.gradcheck(lambda x: dsa_group(x, group, uniform), (images,))


def test_draws_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    dsa(_images(), DSA_GROUPS, torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.get_rng_state())
