"""calibration against sums made by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ddbench_plugins.robustness import Calibration
from ddbench_plugins.robustness.calibration import CalibrationOptions


def measured(logits, labels, **options) -> dict[str, float]:
    context = SimpleNamespace(logits=lambda: torch.as_tensor(logits), test_labels=lambda: torch.as_tensor(labels))
    found = Calibration().evaluate(context, CalibrationOptions(**options))
    assert not any(metric.higher_is_better for metric in found)
    return {metric.name: metric.value for metric in found}


def slow_ece(probabilities, labels, bins) -> float:
    """Return the calibration error bin by bin, image by image."""
    total = 0.0
    for number in range(bins):
        inside = []
        for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
            confidence = max(row)
            if number / bins <= confidence < (number + 1) / bins:
                inside.append((confidence, row.index(confidence) == label))
        if inside:
            confidence = sum(one for one, _ in inside) / len(inside)
            top1 = sum(right for _, right in inside) / len(inside)
            total += len(inside) / len(labels) * abs(top1 - confidence)
    return total


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_ece_is_the_weighted_gap_between_confidence_and_top1_of_each_bin(bins):
    generator = torch.Generator().manual_seed(bins)
    logits = 2 * torch.randn(300, 7, generator=generator)
    labels = torch.randint(7, (300,), generator=generator)
    assert measured(logits, labels, bins=bins)["ece"] == pytest.approx(slow_ece(logits.double().softmax(1), labels, bins), abs=1e-6)


def test_a_student_that_says_a_half_and_is_right_half_the_time_is_calibrated():
    found = measured([[0.0, 0.0]] * 4, [0, 1, 0, 1])
    assert found["ece"] == pytest.approx(0, abs=1e-7)
    assert found["nll"] == pytest.approx(0.6931472, abs=1e-6)
    assert found["brier"] == pytest.approx(0.5)


def test_one_that_is_sure_and_always_wrong_has_the_worst_of_each_that_is_bounded():
    found = measured([[100.0, 0.0]] * 3, [1, 1, 1])
    assert found == {"ece": pytest.approx(1), "nll": pytest.approx(100), "brier": pytest.approx(2)}


def test_nll_is_torchs_cross_entropy_and_does_not_overflow():
    logits = torch.tensor([[1e4, 0.0, -1e4], [0.5, 0.25, 0.0]])
    labels = torch.tensor([1, 2])
    expected = torch.nn.functional.cross_entropy(logits.double(), labels)
    assert measured(logits, labels)["nll"] == pytest.approx(float(expected))
