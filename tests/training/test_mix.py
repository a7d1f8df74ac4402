"""Mixing against plain loops and the Beta distribution's moments."""

from __future__ import annotations

import math

import pytest
import torch

from ddbench.api.protocol import Mix
from ddbench.training.mix import MixDraw, draw_beta, draw_box, draw_mix, mixed


def _images(count=6, seed=0):
    return torch.randn(count, 3, 8, 10, generator=torch.Generator().manual_seed(seed))


def test_mixup_blends_each_image_with_its_partner():
    images = _images()
    drawn = draw_mix(Mix(name="mixup", alpha=0.8), 6, size=(8, 10), generator=torch.Generator().manual_seed(1))
    result = mixed(images, drawn)
    for i, j in enumerate(drawn.partner.tolist()):
        expected = drawn.coefficient * images[i] + (1 - drawn.coefficient) * images[j]
        torch.testing.assert_close(result[i], expected, atol=1e-6, rtol=1e-5)


def test_cutmix_pastes_one_box_from_each_partner():
    images = _images()
    drawn = MixDraw(0.5, (2, 7, 0, 4), torch.tensor([3, 4, 5, 0, 1, 2]))
    result = mixed(images, drawn)
    for i, j in enumerate(drawn.partner.tolist()):
        for y in range(8):
            for x in range(10):
                source = images[j] if 2 <= y < 7 and x < 4 else images[i]
                assert torch.equal(result[i, :, y, x], source[:, y, x])


def test_partners_are_a_permutation_and_one_coefficient_serves_the_batch():
    drawn = draw_mix(Mix(name="mixup", alpha=1.0), 50, size=(8, 8), generator=torch.Generator().manual_seed(1))
    assert sorted(drawn.partner.tolist()) == list(range(50))
    assert 0.0 <= drawn.coefficient <= 1.0
    assert drawn.box is None


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 3.0])
def test_coefficients_have_the_moments_of_beta(alpha):
    generator = torch.Generator().manual_seed(0)
    drawn = torch.tensor([draw_beta(alpha, generator) for _ in range(4000)], dtype=torch.float64)
    variance = 1 / (4 * (2 * alpha + 1))
    kurtosis_factor = 3 * (2 * alpha + 1) / (2 * alpha + 3)  # E(x - 1/2)^4 / variance^2
    assert abs(float(drawn.mean()) - 0.5) < 5 * math.sqrt(variance / 4000)
    assert abs(float(drawn.var()) - variance) < 5 * variance * math.sqrt((kurtosis_factor - 1) / 4000)


def test_a_tiny_alpha_gives_no_nan():
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_beta(1e-3, generator) for _ in range(50)]
    assert all(0.0 <= value <= 1.0 for value in drawn)
    assert 0 < sum(value > 0.5 for value in drawn) < 50


def test_a_box_has_sides_of_the_square_root_of_what_is_not_kept_clipped_at_the_border():
    generator = torch.Generator().manual_seed(0)
    for coefficient in (0.0, 0.3, 0.75, 1.0):
        half = [int(side * math.sqrt(1 - coefficient)) // 2 for side in (32, 20)]
        boxes = [draw_box(coefficient, (32, 20), generator) for _ in range(200)]
        for top, bottom, left, right in boxes:
            assert 0 <= top <= bottom <= 32
            assert 0 <= left <= right <= 20
            assert bottom - top <= 2 * half[0]
            assert right - left <= 2 * half[1]
        if coefficient == 0.75:
            assert max(b[1] - b[0] for b in boxes) == 16


def test_the_centre_of_a_box_is_uniform_over_pixels():
    generator = torch.Generator().manual_seed(0)
    centres = [draw_box(0.99, (10, 10), generator) for _ in range(3000)]  # sides of one pixel: half of 1 is 0, the box empty
    rows = [top for top, *_ in centres]
    assert all(230 < rows.count(row) < 370 for row in range(10))
