"""Comparisons recorded as a graph against the same ones taken anew; a CPU stands in for a device with graphs."""

from __future__ import annotations

import pytest
import torch

from ddbench.training.graphs import WARM_UPS
from ddbench_plugins.matching import Distribution, Gradient, comparing
from ddbench_plugins.matching.comparing import Comparisons
from plain_matching import a_job, context, images_of, labels_of, uneven_dataset
from recording import Recorder, Refusing

SPLIT = (0, 1, 2, 2, 1, 0, 0)
NETWORK = "convnet2-w8"

CASES = {
    "DC": (Gradient(), {}),
    "DC, augmented": (Gradient(), {"augment": "dsa", "outer": 3, "inner": 2}),
    "DC, all classes at once": (Gradient(), {"class_group": 0, "distance": "cos"}),
    "DC, batch norm": (Gradient(), {"network": "convnet2-w8-bn"}),
    "DM": (Distribution(), {"class_group": 1}),
    "DM, augmented": (Distribution(), {"augment": "dsa"}),
    "DM, batch norm": (Distribution(), {"network": "convnet2-w8-bn"}),
}


@pytest.fixture
def recorded(monkeypatch):
    """Return a function that lets matching record by a kind of recorder, and gives those that were made."""

    def start(kind):
        made = []

        def recorder_of(_device):
            made.append(kind(lambda: list(start.matching.network.state().values())))
            return made[-1]

        monkeypatch.setattr(comparing, "recorder_of", recorder_of)
        return made

    return start


def _steps(objective, options, images, *, told=None, begun=None):
    """Return loss and gradient of some steps down the gradient."""
    ctx, job = context(uneven_dataset()), a_job(SPLIT)
    if told is not None:
        ctx.note = told.append
    matching = objective.start(ctx, objective.options(**{"network": NETWORK, "batch_real": 6, **options}), job)
    if begun:
        begun(matching)
    found, images, labels = [], images.clone(), labels_of(job)
    for step in range(WARM_UPS + 4):
        loss, gradient = matching.loss_and_grad(images, labels, step)
        found += [loss.clone(), gradient.clone()]
        images = images - 0.1 * gradient
    return found


@pytest.mark.parametrize("name", CASES)
def test_recorded_comparisons_are_the_comparisons(recorded, name):
    objective, options = CASES[name]
    images = images_of(a_job(SPLIT))
    expected = _steps(objective, options, images)
    made = recorded(Recorder)
    found = _steps(objective, options, images, begun=lambda matching: setattr(recorded, "matching", matching))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert [recorder.taken for recorder in made] == [WARM_UPS] * len(made)
    assert all(recorder.operations.done for recorder in made)
    assert 1 <= len(made) <= 3  # one for each kind of batches


def test_where_comparisons_cannot_be_recorded_the_result_says_so_once_for_each_kind_and_nothing_else_changes(recorded):
    images, told = images_of(a_job(SPLIT)), []
    expected = _steps(Gradient(), {"class_group": 0}, images)
    recorded(Refusing)
    found = _steps(Gradient(), {"class_group": 0}, images, told=told)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert [note.partition(" (")[0] for note in told] == ["a step could not be recorded as a graph"]


def test_only_so_many_kinds_of_batches_are_recorded(recorded):
    made = recorded(Recorder)
    comparisons = Comparisons(torch.device("cpu"), print)
    kinds = [comparisons.of((number,), (1,), lambda *_: None) for number in range(comparing.RECORDED + 3)]
    assert len(made) == comparing.RECORDED
    assert comparisons.of((0,), (1,), lambda *_: None) is kinds[0]
