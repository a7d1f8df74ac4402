"""Losses against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from ddbench.api.protocol import Loss
from ddbench.training.losses import criterion, distillation_kl


def _kl_by_hand(student, teacher, temperature):
    """Return the mean over rows of sum p (log p - log q), in plain numbers."""
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p = [math.exp(v / temperature) for v in t]
        q = [math.exp(v / temperature) for v in s]
        total += sum(a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q, strict=True))
    return total / len(student)


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0, 30.0])
def test_kl_is_the_divergence_of_the_student_from_the_teacher_averaged_over_the_batch(temperature):
    student = torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.5, 3.0]])
    teacher = torch.tensor([[4.0, -2.0, 1.0], [2.0, 2.0, -7.0]])
    by_hand = _kl_by_hand(student, teacher, temperature)
    assert distillation_kl(student, teacher, temperature=temperature, times_t2=False).item() == pytest.approx(by_hand, rel=1e-4)
    assert distillation_kl(student, teacher, temperature=temperature, times_t2=True).item() == pytest.approx(
        by_hand * temperature**2, rel=1e-4
    )


def test_kl_of_two_classes_at_even_student_odds_is_the_closed_form():
    # p = softmax(log 3, 0) = (3/4, 1/4), q = (1/2, 1/2): 3/4 log(3/2) + 1/4 log(1/2)
    teacher, student = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert distillation_kl(student, teacher, temperature=1.0, times_t2=False).item() == pytest.approx(expected, rel=1e-5)


def test_kl_is_not_the_divergence_the_other_way_round():
    a, b = torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    forward, backward = (distillation_kl(x, y, temperature=1.0, times_t2=False) for x, y in ((a, b), (b, a)))
    assert abs(float(forward - backward)) > 0.1


def test_times_t2_keeps_the_gradient_at_high_temperature_and_leaving_it_out_shrinks_it():
    teacher = torch.tensor([[0.4, -0.1, 0.2]])
    norms = {}
    for temperature, times in ((50.0, True), (100.0, True), (50.0, False), (100.0, False)):
        student = torch.zeros(1, 3, requires_grad=True)
        distillation_kl(student, teacher, temperature=temperature, times_t2=times).backward()
        norms[temperature, times] = float(student.grad.norm())
    assert norms[100.0, True] == pytest.approx(norms[50.0, True], rel=0.02)
    assert norms[100.0, False] == pytest.approx(norms[50.0, False] / 4, rel=0.02)


def test_soft_cross_entropy_of_one_hot_labels_is_cross_entropy():
    logits, labels = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 0.0]]), torch.tensor([2, 0])
    hard = criterion(Loss(name="ce"))(logits, labels)
    soft = criterion(Loss(name="soft_ce"))(logits, torch.eye(3)[labels])
    assert torch.allclose(hard, soft)


def test_soft_cross_entropy_of_even_logits_is_the_log_of_the_number_of_classes():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    assert criterion(Loss(name="soft_ce"))(torch.zeros(2, 3), probabilities).item() == pytest.approx(math.log(3), rel=1e-6)
