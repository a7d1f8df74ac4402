"""Stored labels: their price, their file, and which row belongs to which image."""

from __future__ import annotations

import pytest
import torch

from ddbench.api.protocol import Augment, Loss, Mix, Optimiser, ProtocolSpec, Schedule
from ddbench.errors import BadRequest
from ddbench.training.labels import StoredLabels, label_epochs, stored_label_bytes, write_labels
from ddbench.training.recipe import student_recipe
from ddbench.training.students import VIEWS, held
from ddbench.training.views import draw_epoch, view


def _spec(**changes):
    values = {
        "name": "test/1",
        "title": "",
        "source": "",
        "label_regime": "soft_epoch",
        "optimiser": Optimiser(name="adamw", lr=1e-3, weight_decay=0.01),
        "schedule": Schedule(name="cosine"),
        "batch": 10,
        "epochs": 3,
        "augment": (Augment(name="crop", pad=2), Augment(name="flip")),
        "mix": Mix(name="mixup", alpha=0.8),
        "loss": Loss(name="kl", temperature=30.0),
        "teacher_bn": "running",
    }
    return ProtocolSpec(**{**values, **changes})


def test_cifar100_at_fifty_images_per_class_costs_four_hundred_megabytes():
    assert stored_label_bytes(_spec(epochs=400), images=5000, classes=100) == 400_000_000


def test_labels_that_are_not_stored_cost_nothing():
    spec = _spec(label_regime="soft_online")
    assert stored_label_bytes(spec, images=5000, classes=100) == 0


def test_row_i_is_the_answer_to_the_view_made_of_image_i(toy, teacher, run):
    data, spec = toy(teacher=teacher), _spec()
    epochs = list(label_epochs(data, spec, view_seed=5, run=run))
    source, recipe = held(data, run.device), student_recipe(spec, "")
    assert [tuple(logits.shape) for logits in epochs] == [(24, 4)] * 3
    for epoch, logits in enumerate(epochs):
        for drawn in draw_epoch(recipe, source, seed=(VIEWS, 5), epoch=epoch):
            expected = teacher.module(view(source, recipe, drawn)).half()
            torch.testing.assert_close(logits[drawn.index], expected, atol=2e-3, rtol=2e-3)


def test_epochs_differ_and_view_seeds_differ(toy, teacher, run):
    data = toy(teacher=teacher)
    one, other = (torch.stack(list(label_epochs(data, _spec(), view_seed=seed, run=run))) for seed in (0, 1))
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one, other)


def test_a_file_of_labels_comes_back_whole(tmp_path, toy, teacher, run):
    data = toy(teacher=teacher)
    epochs = list(label_epochs(data, _spec(), view_seed=5, run=run))
    path = tmp_path / "labels.safetensors"
    write_labels(path, iter(epochs), shape=(3, 24, 4), view_seed=5)
    read = StoredLabels.read(path)
    assert read.view_seed == 5
    assert torch.equal(read.logits, torch.stack(epochs))


@pytest.mark.parametrize("shape", [(2, 24, 4), (4, 24, 4), (3, 24, 5)])
def test_labels_of_another_shape_than_promised_are_refused(tmp_path, shape):
    epochs = (torch.zeros(24, 4, dtype=torch.float16) for _ in range(3))
    with pytest.raises(BadRequest):
        write_labels(tmp_path / "labels.safetensors", epochs, shape=shape, view_seed=0)


def test_a_protocol_of_hard_labels_has_nothing_to_store(toy, run):
    spec = _spec(label_regime="hard", loss=Loss(name="ce"), teacher_bn=None, mix=None)
    with pytest.raises(BadRequest, match="nothing to store"):
        next(label_epochs(toy(), spec, view_seed=0, run=run))
