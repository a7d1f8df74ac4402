"""The quality gate, on priors of which the verdict is known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from ddbench.api.context import Precision
from ddbench.api.prior import Latents
from ddbench.data import HeldSplit
from ddbench.data.splits import train_labels
from ddbench.testing import toy_dataset
from ddbench.training import gate
from ddbench.training.gate import chance_bound, images_of_a_class, judge, reported, spread

CPU = torch.device("cpu")


@dataclass
class Fake:
    """A prior whose images are what a function makes of labels and a generator: float32 in [0, 1]."""

    unit: Any
    train: HeldSplit
    value_range: tuple[float, float] | None = (-1.0, 1.0)
    spaces: tuple[str, ...] = ("w+", "pixel")

    def init_latents(self, labels, space, *, how, real, generator):
        assert (space, how, real) == ("w+", "sample", None)
        return Latents(space, {"w": self.unit(self.train, labels, generator)}, labels)

    def decode(self, z):
        if self.value_range is None:
            mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.train.facts.mean, self.train.facts.std))
            return (z.tensors["w"] - mean) / std
        low, high = self.value_range
        return z.tensors["w"] * (high - low) + low


def real(train, labels, generator):
    """Return real images of the labels."""
    found = [train.indices(int(label)) for label in labels]
    place = [int(torch.randint(len(positions), (), generator=generator)) for positions in found]
    return train.images(torch.stack([positions[i] for positions, i in zip(found, place, strict=True)])).float() / 255


def of_any_class(train, labels, generator):
    """Return real images of classes that have nothing to do with the labels."""
    return real(train, torch.randint(train.facts.num_classes, (len(labels),), generator=generator), generator)


def class_means(train, labels, generator):
    """Return the mean image of each label's class."""
    means = [train.images(train.indices(label)).float().mean(dim=0) / 255 for label in range(train.facts.num_classes)]
    return torch.stack(means)[labels]


def broken(train, labels, generator):
    """Return NaN."""
    return real(train, labels, generator) * float("nan")


@pytest.fixture(scope="module")
def train():
    return HeldSplit(toy_dataset(per_class=60))


@pytest.fixture(autouse=True, scope="module")
def _small_gate():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "IMAGES", 200)
        patch.setattr(gate, "STEPS", (60, 60))
        yield


def judged(unit, train, *, seed=0, **settings):
    return judge(Fake(unit, train, **settings), train, seed=seed, device=CPU, precision=Precision())


@pytest.fixture(scope="module")
def verdict(train):
    """The verdict on real images."""
    return judged(real, train)


def test_real_images_pass(verdict):
    assert verdict.passed
    assert verdict.reasons == ()
    assert verdict.real_accuracy > 0.9
    assert verdict.fidelity == pytest.approx(verdict.real_accuracy, abs=0.1)
    assert verdict.spread == pytest.approx(verdict.real_spread, rel=0.1)


def test_a_prior_that_ignores_labels_fails_by_its_fidelity(train):
    report = judged(of_any_class, train)
    assert not report.passed
    assert report.fidelity == pytest.approx(1 / 4, abs=0.12)
    assert len(report.reasons) == 1
    assert "class fidelity is" in report.reasons[0]
    assert "prior.steps" in report.reasons[0]


def test_with_two_classes_guessing_is_not_enough_either():
    train = HeldSplit(toy_dataset(classes=2, per_class=60))
    report = judged(of_any_class, train)
    assert not report.passed
    assert "class fidelity is" in report.reasons[0]


def test_a_prior_that_gives_each_class_its_mean_fails_by_its_spread(train):
    report = judged(class_means, train)
    assert not report.passed
    assert report.fidelity > 0.9
    assert report.spread == pytest.approx(0, abs=1e-6)
    assert len(report.reasons) == 1
    assert "spread within classes is 0.0000" in report.reasons[0]
    assert "prior.kl" in report.reasons[0]


def test_images_that_are_not_numbers_fail(train):
    assert not judged(broken, train).passed


def test_the_same_images_in_another_range_get_the_same_verdict(train, verdict):
    for value_range in (None, (0.0, 1.0)):
        other = judged(real, train, value_range=value_range)
        assert other.fidelity == pytest.approx(verdict.fidelity, abs=0.011)
        assert other.spread == pytest.approx(verdict.spread, rel=1e-4)


def test_a_verdict_can_be_made_again_and_draws_nothing_global(train, verdict):
    before = torch.get_rng_state()
    assert judged(real, train) == verdict
    assert torch.equal(torch.get_rng_state(), before)
    assert judged(real, train, seed=1) != verdict


def test_a_report_is_json(verdict):
    told = json.loads(json.dumps(verdict.to_json()))
    assert told["reasons"] == []
    assert told["passed"] is True
    assert set(told) == {"fidelity", "real_accuracy", "spread", "real_spread", "passed", "reasons"}


@pytest.mark.parametrize(
    ("fidelity", "share", "passed"), [(0.48, 0.3, True), (0.4799, 0.3, False), (0.48, 0.2999, False), (float("nan"), 1, False)]
)
def test_both_bounds_are_six_tenths_of_the_accuracy_and_three_tenths_of_the_spread(fidelity, share, passed):
    report = reported(fidelity=fidelity, real_accuracy=0.8, spread=share * 0.5, real_spread=0.5)
    assert report.passed is passed
    assert len(report.reasons) == (0 if passed else 1)


def test_spread_is_the_mean_deviation_of_a_pixel_within_its_class(train):
    labels = train_labels(train)
    images = train.images(torch.arange(len(labels))).float() / 255
    deviations = []
    for label in range(4):
        for pixel in images[labels == label].flatten(1).double().T:
            mean = sum(pixel.tolist()) / len(pixel)
            deviations.append((sum((value - mean) ** 2 for value in pixel.tolist()) / (len(pixel) - 1)) ** 0.5)
    assert spread(images, labels) == pytest.approx(sum(deviations) / len(deviations), rel=1e-9)


def test_every_class_has_as_many_images_and_at_least_four(monkeypatch):
    monkeypatch.setattr(gate, "IMAGES", 1000)
    assert [images_of_a_class(classes) for classes in (2, 10, 30, 200, 1000)] == [500, 100, 34, 5, 4]


def test_the_bound_of_chance_is_three_deviations_above_guessing():
    draws = (torch.rand(20_000, 200, generator=torch.Generator().manual_seed(0)) < 0.25).double().mean(dim=1)
    assert float((draws > chance_bound(4, 200)).double().mean()) < 0.005
    assert chance_bound(4, 200) < 0.35


def test_large_images_are_averaged_down_before_the_classifier_sees_them(monkeypatch):
    seen = set()
    forward = gate.GateClassifier.forward
    monkeypatch.setattr(gate.GateClassifier, "forward", lambda self, x: seen.add(tuple(x.shape[2:])) or forward(self, x))
    monkeypatch.setattr(gate, "SIDE", 4)
    assert judged(real, HeldSplit(toy_dataset((1, 16, 12), per_class=30))).real_accuracy > 0.5
    assert seen == {(5, 4)}


def test_the_classifier_is_trained_for_twenty_passes_within_bounds(monkeypatch):
    monkeypatch.setattr(gate, "STEPS", (300, 800))
    assert [gate.gate_recipe(images, (8, 8)).steps for images in (100, 3200, 50_000)] == [300, 500, 800]
    assert [gate.gate_recipe(100, size).augment[0].pixels for size in ((8, 8), (32, 32), (28, 16))] == [1, 2, 1]
