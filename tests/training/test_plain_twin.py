"""The training step against the plain one of `benchmarks/perf`, which is eager and works image by image.

Both sides are given the same draws and compute in float64, so that nothing but the mathematics is compared.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from plain import students as plain
from plain.squeeze import squeeze_epoch, squeeze_optimiser

from ddbench.api.network import TrainedNetwork
from ddbench.api.protocol import DSA_GROUPS, Augment, Loss, Mix, Optimiser, ProtocolSpec, Schedule
from ddbench.training.dsa import dsa_group
from ddbench.training.loop import epoch_by_epoch, fit
from ddbench.training.mix import mixed
from ddbench.training.recipe import student_recipe
from ddbench.training.students import VIEWS, StudentSeeds, held, student_lesson
from ddbench.training.views import draw_epoch, view

MEAN, STD = (0.3, 0.35, 0.4), (0.2, 0.25, 0.3)
SGD = Optimiser(name="sgd", lr=0.05, momentum=0.9, weight_decay=5e-4)
ADAMW = Optimiser(name="adamw", lr=1e-3, weight_decay=0.01)
EXACT = {"atol": 1e-8, "rtol": 1e-8}
EPOCHS = 3
HARD = {"mix": None, "loss": Loss(name="ce"), "teacher_bn": None}


def _spec(regime, optimiser, **changes):
    values = {
        "name": "test/1",
        "title": "",
        "source": "",
        "label_regime": regime,
        "optimiser": optimiser,
        "schedule": Schedule(name="constant"),
        "batch": 10,
        "epochs": EPOCHS,
        "augment": (Augment(name="crop", pad=4), Augment(name="flip")),
        "mix": Mix(name="mixup", alpha=0.8),
        "loss": Loss(name="kl", temperature=30.0),
        "teacher_bn": "running",
    }
    return ProtocolSpec(**{**values, **changes})


def _hard(optimiser):
    return _spec("hard", optimiser, augment=(Augment(name="dsa"),), **HARD)


@pytest.fixture
def data(toy):
    """Return a set whose images are in float64 once they are normalised."""
    mean, std = torch.tensor(MEAN, dtype=torch.float64), torch.tensor(STD, dtype=torch.float64)
    return replace(toy(), mean=mean, std=std)


@pytest.fixture
def taught(data, teacher):
    """Return the set with a teacher in float64."""
    return replace(data, teacher=TrainedNetwork(teacher.module.double(), teacher.classes, data.mean, data.std))


def _fast(network, data, spec, run):
    recipe = student_recipe(spec, "test/small")
    lesson, _ = student_lesson(recipe, data, spec, seeds=StudentSeeds(0), run=run)
    epoch = epoch_by_epoch(network, recipe, lesson=lesson, run=run)
    for number in range(EPOCHS):
        epoch(number)


def _optimiser(network, optimiser):
    if optimiser.name == "sgd":
        return torch.optim.SGD(
            network.parameters(), lr=optimiser.lr, momentum=optimiser.momentum, weight_decay=optimiser.weight_decay
        )
    return torch.optim.AdamW(network.parameters(), lr=optimiser.lr, weight_decay=optimiser.weight_decay)


def _drawn(data, spec, run):
    """Yield the draws of every batch."""
    source, recipe = held(data, run.device), student_recipe(spec, "test/small")
    for epoch in range(EPOCHS):
        yield from draw_epoch(recipe, source, seed=(VIEWS, 0), epoch=epoch)


def _through_pil(data, drawn):
    """Return a batch's images, cropped and flipped by PIL, normalised by torchvision, float32."""
    pixels = plain.Pixels(data.images, data.labels, MEAN, STD)
    offsets, flips = drawn.augment[0].tolist(), (drawn.augment[1] < 0.5).flatten().tolist()
    places = zip(drawn.index.tolist(), offsets, flips, strict=True)
    return torch.stack([plain.viewed(pixels, index, offset=tuple(offset), flipped=flip) for index, offset, flip in places])


def _same(network, twin):
    ours, theirs = network.state_dict(), twin.state_dict()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], **EXACT)


@pytest.mark.parametrize("optimiser", [SGD, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("bn", ["running", "batch"])
def test_a_student_of_a_teacher_is_trained_as_the_plain_step_trains_it(small, taught, run, optimiser, bn):
    spec, data = _spec("soft_online", optimiser, teacher_bn=bn), taught
    network, twin = small(1).double().train(), small(1).double().train()
    before = copy.deepcopy(data.teacher.module.state_dict())
    _fast(network, data, spec, run)
    answering = copy.deepcopy(data.teacher.module).train(bn == "batch")  # as the released scripts leave it
    descent, source, recipe = _optimiser(twin, optimiser), held(data, run.device), student_recipe(spec, "")
    for drawn in _drawn(data, spec, run):
        seen = view(source, recipe, replace(drawn, mix=None))
        torch.testing.assert_close(seen.float(), _through_pil(data, drawn), atol=1e-5, rtol=1e-5)
        images = plain.mixup(seen, drawn.mix.partner, drawn.mix.coefficient)
        plain.step(descent, plain.distilled(twin(images), answering(images).detach(), 30.0))
    _same(network, twin)
    assert all(torch.equal(value, before[name]) for name, value in data.teacher.module.state_dict().items())


@pytest.mark.parametrize("optimiser", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_a_student_under_dsa_is_trained_as_the_plain_step_trains_it(small, data, run, optimiser):
    spec = _hard(optimiser)
    network, twin = small(1).double().train(), small(1).double().train()
    _fast(network, data, spec, run)
    descent, source = _optimiser(twin, optimiser), held(data, run.device)
    for drawn in _drawn(data, spec, run):
        images = plain.dsa(source.fetch(drawn.index), drawn.groups[0], drawn.augment[0])
        plain.step(descent, F.cross_entropy(twin(images), data.labels[drawn.index]))
    _same(network, twin)


def test_a_classifier_is_trained_as_the_plain_squeeze_trains_it(small, data, run):
    spec = _spec("hard", Optimiser(name="sgd", lr=0.1, momentum=0.9, weight_decay=5e-4), **HARD)
    network, twin = small(1).double().train(), small(1).double().train()
    _fast(network, data, spec, run)
    source, recipe = held(data, run.device), student_recipe(spec, "")
    batches = ((view(source, recipe, drawn), data.labels[drawn.index]) for drawn in _drawn(data, spec, run))
    squeeze_epoch(twin, squeeze_optimiser(twin), batches)
    _same(network, twin)


def test_training_epoch_by_epoch_is_training_at_once(small, data, run):
    spec = _hard(SGD)
    recipe = student_recipe(spec, "test/small")
    lesson, _ = student_lesson(recipe, data, spec, seeds=StudentSeeds(0), run=run)
    single, whole = small(1, dropout=0.3).double(), small(1, dropout=0.3).double()
    epoch = epoch_by_epoch(single, recipe, lesson=lesson, run=run)
    for number in range(EPOCHS):
        epoch(number)
    fit(whole, recipe, lesson=lesson, run=run)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in single.state_dict().items())


@pytest.mark.parametrize("group", DSA_GROUPS.split("_"))
def test_every_group_of_dsa_is_the_plain_one(group):
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(7, 3, 12, 8, generator=generator, dtype=torch.float64)
    uniform = torch.rand(7, 3, generator=generator)
    torch.testing.assert_close(dsa_group(images, group, uniform.double()), plain.dsa(images, group, uniform), **EXACT)


def test_mixing_is_the_plain_one(data, run):
    spec = _spec("soft_online", SGD)
    for drawn in _drawn(data, spec, run):
        images = held(data, run.device).fetch(drawn.index)
        torch.testing.assert_close(mixed(images, drawn.mix), plain.mixup(images, drawn.mix.partner, drawn.mix.coefficient), **EXACT)
