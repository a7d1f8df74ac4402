"""Squeeze: resume to the byte, images decoded on demand, and learning."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from ddbench.api.context import Precision
from ddbench.api.dataset import DatasetFacts
from ddbench.api.protocol import Augment, Optimiser, Schedule
from ddbench.training.recipe import Recipe
from ddbench.training.squeeze import train_classifier

CPU = torch.device("cpu")
SGD = Optimiser(name="sgd", lr=0.05, momentum=0.9, weight_decay=5e-4)
ADAMW = Optimiser(name="adamw", lr=1e-2, weight_decay=0.01)


def _recipe(optimiser=SGD, *, epochs=5, **changes):
    augment = (Augment(name="crop", pad=1), Augment(name="flip"))
    return Recipe(optimiser, Schedule(name="cosine"), batch=16, epochs=epochs, augment=augment, **changes)


class Split:
    """A train split that is held as one tensor, or that is asked on the CPU for each batch."""

    def __init__(self, images, labels, *, held):
        self._images, self._labels, self.held = images, labels, held
        counts = tuple(int((labels == label).sum()) for label in range(4))
        self.facts = DatasetFacts("toy", tuple("abcd"), (3, 6, 6), (0.3, 0.35, 0.4), (0.2, 0.25, 0.3), counts, 0, "")

    def indices(self, label):
        return (self._labels == label).nonzero().flatten()

    def images(self, index):
        return self._images[index]


class Killed(Exception):
    """Stands for a kill."""


@dataclass
class Ctx:
    """A stage's context that remembers what was kept, and is killed after so many epochs."""

    train: Split
    kill_after: int | None = None
    kept: dict | None = None
    epochs: list = field(default_factory=list)
    device: torch.device = CPU
    precision: Precision = field(default_factory=Precision)

    def __post_init__(self):
        self.generator = torch.Generator().manual_seed(3)

    def progress(self, step, total, **scalars):
        pass

    def checkpoint(self, state):
        self.kept = {name: value.detach().clone() for name, value in state.items()}
        self.epochs.append(int(state["epoch"]))
        if self.epochs[-1] == self.kill_after:
            raise Killed

    def resumed(self):
        return self.kept


def _split(pixels, *, held=True, count=50):
    return Split(*pixels(count), held=held)


def _weights(network):
    return torch.cat([value.flatten().double() for value in network.state_dict().values()])


@pytest.mark.parametrize("optimiser", [SGD, ADAMW])
@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("epoch", [1, 4])
def test_a_killed_training_ends_with_the_bytes_of_one_never_killed(small, pixels, optimiser, ema, epoch):
    recipe = _recipe(optimiser, ema=ema)
    whole = train_classifier(small(1, dropout=0.3), recipe, Ctx(_split(pixels)))
    killed = Ctx(_split(pixels), kill_after=epoch)
    with pytest.raises(Killed):
        train_classifier(small(1, dropout=0.3), recipe, killed)
    resumed = train_classifier(small(2, dropout=0.3), recipe, Ctx(_split(pixels), kept=killed.kept))
    assert torch.equal(_weights(resumed.network), _weights(whole.network))
    assert (resumed.curve, resumed.steps, resumed.images_seen) == (whole.curve, whole.steps, whole.images_seen)


def test_a_fresh_optimiser_at_the_drop_survives_a_resume(small, pixels):
    recipe = Recipe(SGD, Schedule(name="step", at=0.4, fresh_optimiser=True), batch=16, epochs=5)
    whole = train_classifier(small(1), recipe, Ctx(_split(pixels)))
    killed = Ctx(_split(pixels), kill_after=3)
    with pytest.raises(Killed):
        train_classifier(small(1), recipe, killed)
    resumed = train_classifier(small(1), recipe, Ctx(_split(pixels), kept=killed.kept))
    assert torch.equal(_weights(resumed.network), _weights(whole.network))


def test_every_epoch_but_the_last_is_offered_for_keeping(small, pixels):
    ctx = Ctx(_split(pixels))
    train_classifier(small(1), _recipe(), ctx)
    assert ctx.epochs == [1, 2, 3, 4]


def test_images_decoded_on_demand_train_the_same_network(small, pixels):
    held, decoded = (train_classifier(small(1), _recipe(), Ctx(_split(pixels, held=h))) for h in (True, False))
    assert torch.equal(_weights(held.network), _weights(decoded.network))


def test_the_stages_generator_decides_the_draws(small, pixels):
    first, other = Ctx(_split(pixels)), Ctx(_split(pixels))
    other.generator.manual_seed(4)
    results = [_weights(train_classifier(small(1), _recipe(), ctx).network) for ctx in (first, other)]
    assert not torch.equal(*results)


def test_squeeze_learns_the_classes(small, pixels):
    trained = train_classifier(small(1), _recipe(ADAMW, epochs=8), Ctx(_split(pixels, count=200)))
    images, labels = pixels(100, seed=5)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.3, 0.35, 0.4), (0.2, 0.25, 0.3)))
    right = (trained.network((images / 255 - mean) / std).argmax(dim=1) == labels).float().mean()
    assert right > 0.9


def test_a_teachers_own_normalisation_is_the_one_it_sees(small, pixels):
    facts = _split(pixels).facts
    same = train_classifier(small(1), _recipe(), Ctx(_split(pixels)), normalisation=(facts.mean, facts.std))
    own = train_classifier(small(1), _recipe(), Ctx(_split(pixels)))
    other = train_classifier(small(1), _recipe(), Ctx(_split(pixels)), normalisation=((0.5, 0.5, 0.5), facts.std))
    assert torch.equal(_weights(same.network), _weights(own.network))
    assert not torch.equal(_weights(other.network), _weights(own.network))
