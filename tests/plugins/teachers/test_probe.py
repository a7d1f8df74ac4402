"""The probe of class order, on confusion matrices made by hand."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binom

from ddbench.errors import TeacherMismatch
from ddbench_plugins.teachers.probe import at_chance, check_order

CLASSES = tuple(f"c{i}" for i in range(10))


def confusion_of(accuracy: float, *, classes: int = 10, per_class: int = 20, seed: int = 0) -> torch.Tensor:
    """Return what a network with this accuracy, wrong evenly, answers to `per_class` images of each class."""
    wrong = (1 - accuracy) / (classes - 1)
    chances = torch.full((classes, classes), wrong).fill_diagonal_(accuracy)
    answers = torch.multinomial(chances, per_class, replacement=True, generator=torch.Generator().manual_seed(seed))
    return torch.stack([torch.bincount(row, minlength=classes) for row in answers])


@pytest.mark.parametrize("accuracy", [0.4, 0.6, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(10))
def test_a_teacher_that_is_better_than_chance_passes_in_its_own_order(accuracy, seed):
    check_order(confusion_of(accuracy, seed=seed), CLASSES, "teacher")


@pytest.mark.parametrize("accuracy", [0.7, 0.85, 1.0])
@pytest.mark.parametrize("seed", range(10))
def test_two_swapped_classes_are_found_and_named(accuracy, seed):
    swapped = confusion_of(accuracy, seed=seed)[:, [0, 1, 2, 4, 3, 5, 6, 7, 8, 9]]
    with pytest.raises(TeacherMismatch, match=r"train images of 'c[34]' are called 'c[34]', and 2 of 10 classes are moved"):
        check_order(swapped, CLASSES, "teacher")


@pytest.mark.parametrize("seed", range(20))
def test_a_network_that_guesses_never_passes(seed):
    with pytest.raises(TeacherMismatch):
        check_order(confusion_of(0.1, seed=seed), CLASSES, "teacher")


@pytest.mark.parametrize(("classes", "per_class"), [(100, 20), (1000, 5), (200, 20)])
@pytest.mark.parametrize("accuracy", [0.25, 0.7])
def test_weak_and_strong_teachers_of_many_classes_pass(classes, per_class, accuracy):
    names = tuple(str(i) for i in range(classes))
    check_order(confusion_of(accuracy, classes=classes, per_class=per_class), names, "teacher")


@pytest.mark.parametrize(("classes", "per_class"), [(100, 20), (1000, 5)])
def test_all_classes_moved_by_one_are_found_among_many(classes, per_class):
    names = tuple(str(i) for i in range(classes))
    with pytest.raises(TeacherMismatch, match=f"{classes} of {classes} classes are moved"):
        check_order(confusion_of(0.7, classes=classes, per_class=per_class).roll(1, dims=1), names, "teacher")


@pytest.mark.parametrize(("images", "classes"), [(200, 10), (2000, 100), (5000, 1000)])
def test_guessing_exceeds_the_bound_almost_never(images, classes):
    assert binom.sf(at_chance(images, classes), images, 1 / classes) < 1e-3
