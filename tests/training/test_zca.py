"""ZCA whitening: against a plain double-precision fit, its exact sums, and what it does to the train split itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ddbench.api.dataset import DatasetFacts
from ddbench.errors import BadRequest
from ddbench.training import zca
from ddbench.training.zca import EPS, fit_whitening, whitening_of


class Split:
    """Correlated uint8 images in one class."""

    def __init__(self, count=300, shape=(2, 3, 4), *, seed=0):
        generator = torch.Generator().manual_seed(seed)
        size = shape[0] * shape[1] * shape[2]
        mixed = torch.randn(count, size, generator=generator) @ torch.randn(size, size, generator=generator)
        self._images = (mixed * 12 + 120).clamp(0, 255).to(torch.uint8).view(count, *shape)
        self.facts = DatasetFacts("toy", ("a",), shape, (0.5,) * shape[0], (0.2,) * shape[0], (count,), 0, "")

    def indices(self, label):
        return torch.arange(len(self._images))

    def images(self, index):
        return self._images[index]

    @property
    def every(self):
        return self._images


def _plainly(images):
    """Return mean and matrix as the formula says, on pixels in [0, 1], by a singular value decomposition."""
    unit = images.double().flatten(1) / 255
    mean = unit.mean(dim=0)
    axes, variance, _ = torch.linalg.svd((unit - mean).T @ (unit - mean) / (len(unit) - 1))
    return mean, axes @ torch.diag((variance + 0.1) ** -0.5) @ axes.T


def test_the_fit_is_that_of_the_plain_formula_on_pixels_in_0_1():
    train = Split()
    mean, matrix = _plainly(train.every)
    fitted = fit_whitening(train)
    assert torch.allclose(fitted.mean.double(), mean, atol=1e-7)
    assert torch.allclose(fitted.matrix.double(), matrix, atol=1e-6)


def test_whitening_its_own_train_split_leaves_identity_covariance_but_for_eps():
    train = Split()
    white = fit_whitening(train).apply(train.every).double().flatten(1)
    unit = train.every.double().flatten(1) / 255
    before = torch.linalg.eigvalsh(torch.cov(unit.T))
    assert torch.allclose(white.mean(dim=0), torch.zeros(24, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(torch.linalg.eigvalsh(torch.cov(white.T)), (before / (before + EPS)).sort().values, atol=1e-5)


def test_without_eps_the_covariance_is_the_identity(monkeypatch):
    monkeypatch.setattr(zca, "EPS", 0.0)
    train = Split()
    white = fit_whitening(train).apply(train.every).double().flatten(1)
    assert torch.allclose(torch.cov(white.T), torch.eye(24, dtype=torch.float64), atol=1e-4)


def test_sums_are_exact_so_that_the_order_of_images_and_the_pieces_decide_nothing(monkeypatch):
    train, shuffled = Split(), Split()
    shuffled._images = shuffled.every[torch.randperm(300, generator=torch.Generator().manual_seed(1))]
    fitted = fit_whitening(train)
    assert torch.equal(fitted.matrix, fit_whitening(shuffled).matrix)
    monkeypatch.setattr(zca, "EXACT_IMAGES", 7)
    assert torch.equal(fitted.matrix, fit_whitening(train).matrix)


def test_the_largest_sum_of_products_is_counted_exactly():
    black = torch.full((zca.EXACT_IMAGES, 1), -128.0)
    assert (black.T @ black).item() == zca.EXACT_IMAGES * 128 * 128


def test_pixels_as_uint8_and_as_fractions_are_whitened_alike():
    train = Split()
    fitted = fit_whitening(train)
    assert torch.allclose(fitted.apply(train.every), fitted.apply(train.every.float() / 255), atol=1e-6)


def test_reduced_precision_around_it_touches_neither_the_fit_nor_the_images():
    train = Split()
    fitted = fit_whitening(train)
    white = fitted.apply(train.every)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fit_whitening(train).matrix, fitted.matrix)
        assert torch.equal(fitted.apply(train.every), white)


def test_a_split_is_fitted_once():
    train = Split()
    assert whitening_of(train) is whitening_of(train)
    assert whitening_of(Split()) is not whitening_of(train)


def test_images_too_large_for_a_matrix_over_all_values_are_refused_with_the_way_out():
    train = Split()
    train.facts = replace(train.facts, shape=(3, 128, 128))
    with pytest.raises(BadRequest, match="zca=false"):
        fit_whitening(train)
