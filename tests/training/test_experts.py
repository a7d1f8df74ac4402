"""Experts: snapshots against plain SGD by hand, no aliases, equal bytes, reading from disk."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from ddbench.api.context import Precision
from ddbench.api.dataset import DatasetFacts
from ddbench.api.experts import ExpertOptions
from ddbench.api.protocol import Augment
from ddbench.errors import BadRequest
from ddbench.training.experts import StoredExperts, expert_file_name, expert_recipe, train_expert
from ddbench.training.views import Source, draw_epoch
from ddbench.training.zca import whitening_of

CPU = torch.device("cpu")


class Split:
    """A train split; `held` says whether it is asked for positions on the device."""

    def __init__(self, images, labels, *, held=True):
        self._images, self._labels, self.held = images, labels, held
        counts = tuple(int((labels == label).sum()) for label in range(4))
        self.facts = DatasetFacts("toy", tuple("abcd"), (3, 6, 6), (0.3, 0.35, 0.4), (0.2, 0.25, 0.3), counts, 0, "")

    def indices(self, label):
        return (self._labels == label).nonzero().flatten()

    def images(self, index):
        return self._images[index]


@dataclass
class Ctx:
    """What training an expert asks of a stage's context."""

    train: Split
    seed: int = 3
    notes: list = field(default_factory=list)
    device: torch.device = CPU
    precision: Precision = field(default_factory=Precision)

    def __post_init__(self):
        self.generator = torch.Generator().manual_seed(self.seed)

    def progress(self, step, total, **scalars):
        pass

    def note(self, line):
        self.notes.append(line)


PLAIN = ExpertOptions(count=1, epochs=3, lr=0.05, batch=8, augment="none")


@pytest.fixture
def trained(small, pixels):
    """Return a function that trains an expert on a small split."""

    def train(o=PLAIN, *, seed=3, held=True, network=1):
        return train_expert(Ctx(Split(*pixels(20), held=held), seed), o, small(network))

    return train


def test_snapshots_are_those_of_plain_sgd_written_by_hand(small, pixels, trained):
    weights, _ = trained()
    images, labels = pixels(20)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.3, 0.35, 0.4), (0.2, 0.25, 0.3)))
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(3)))
    network = small(1).train()
    source = Source(20, (6, 6), None, torch.zeros(3))
    for epoch in range(3):
        for name, value in network.state_dict().items():
            assert torch.allclose(weights[name][epoch], value, atol=1e-6), (name, epoch)
        for drawn in draw_epoch(expert_recipe(PLAIN), source, seed=("expert views", seed), epoch=epoch):
            network.zero_grad()
            functional.cross_entropy(network((images[drawn.index] / 255 - mean) / std), labels[drawn.index]).backward()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.sub_(parameter.grad, alpha=0.05)
    assert all(torch.allclose(weights[name][3], value, atol=1e-6) for name, value in network.state_dict().items())


def test_the_first_snapshot_is_the_fresh_network_and_every_other_differs_from_the_one_before(small, trained):
    weights, _ = trained()
    assert torch.equal(weights["conv.weight"][0], small(1).conv.weight)
    steps = (weights["conv.weight"][1:] - weights["conv.weight"][:-1]).abs().flatten(1).amax(dim=1)
    assert len(steps) == 3
    assert (steps > 0).all()


def test_training_on_does_not_touch_snapshots(small, pixels):
    network = small(1)
    weights, _ = train_expert(Ctx(Split(*pixels(20))), PLAIN, network)
    before = {name: value.clone() for name, value in weights.items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert all(torch.equal(weights[name], before[name]) for name in weights)


def test_buffers_are_kept_too_and_counts_stay_whole(trained):
    weights, _ = trained()
    assert weights["norm.num_batches_tracked"].tolist() == [0, 3, 6, 9]
    assert not torch.equal(weights["norm.running_mean"][1], weights["norm.running_mean"][3])


def test_equal_seeds_give_equal_bytes_and_the_generator_decides(trained):
    first, again, other = trained()[0], trained()[0], trained(seed=4)[0]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv.weight"][3], other["conv.weight"][3])


def test_fewer_epochs_are_a_prefix_of_more(trained):
    o = ExpertOptions(count=1, epochs=2, batch=8)
    long, short = trained(o.model_copy(update={"epochs": 4}))[0], trained(o)[0]
    assert all(torch.equal(long[name][:3], short[name]) for name in long)


def test_images_decoded_on_demand_train_the_same_expert(trained):
    held, decoded = trained()[0], trained(held=False)[0]
    assert all(torch.equal(held[name], decoded[name]) for name in held)


def test_dsa_with_all_groups_is_the_default_and_changes_the_trajectory(trained):
    o = ExpertOptions(count=1, epochs=1, batch=8)
    assert expert_recipe(o).augment == (Augment(name="dsa"),)
    plain = trained(o.model_copy(update={"augment": "none"}))[0]
    assert not torch.equal(trained(o)[0]["conv.weight"][1], plain["conv.weight"][1])


def test_an_unknown_group_of_dsa_is_refused():
    with pytest.raises(ValueError, match="unknown group of dsa: blur"):
        ExpertOptions(strategy="color_blur")


def test_whitened_experts_see_whitened_images(small, pixels):
    split = Split(*pixels(20))
    white = whitening_of(split).apply(split._images)
    weights, _ = train_expert(Ctx(split), ExpertOptions(count=1, epochs=1, lr=0.05, batch=20, augment="none", zca=True), small(1))
    network = small(1).train()
    functional.cross_entropy(network(white), split._labels).backward()
    assert torch.allclose(weights["conv.weight"][1], network.conv.weight - 0.05 * network.conv.weight.grad, atol=1e-6)


def test_top1_is_that_of_the_last_weights_on_the_train_images(small, pixels, trained):
    o = PLAIN.model_copy(update={"epochs": 15, "lr": 0.1})
    weights, top1 = trained(o)
    network = small(0).eval()
    network.load_state_dict({name: values[-1] for name, values in weights.items()})
    images, labels = pixels(20)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.3, 0.35, 0.4), (0.2, 0.25, 0.3)))
    assert top1 == pytest.approx((network((images / 255 - mean) / std).argmax(dim=1) == labels).float().mean().item())
    assert top1 > 0.6


def _stored(folder, weights, count=2):
    for number in range(count):
        save_file({name: (values + number).contiguous() for name, values in weights.items()}, folder / expert_file_name(number))
    card = {"options": {**PLAIN.model_dump(), "count": count}, "network": {"name": "toy/small"}}
    return StoredExperts.open(folder, card, device=CPU)


def test_weights_of_an_expert_and_epoch_come_back_from_disk(trained, tmp_path):
    weights, _ = trained()
    experts = _stored(tmp_path, weights)
    assert (experts.count, experts.epochs, experts.network) == (2, 3, "toy/small")
    read = experts.weights(1, 2)
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weights[name][2] + 1) for name in read)


@pytest.mark.parametrize("asked", [(2, 0), (-1, 0), (0, 4), (0, -1)])
def test_an_expert_or_epoch_that_there_is_not_is_refused(trained, tmp_path, asked):
    with pytest.raises(BadRequest, match="experts 0 to 1, kept after 0 to 3"):
        _stored(tmp_path, trained()[0]).weights(*asked)


def test_a_missing_file_is_found_when_experts_are_opened(trained, tmp_path):
    _stored(tmp_path, trained()[0])
    (tmp_path / expert_file_name(1)).unlink()
    with pytest.raises(BadRequest, match="1 of 2 experts are missing"):
        StoredExperts.open(tmp_path, {"options": {**PLAIN.model_dump(), "count": 2}, "network": {"name": "toy/small"}}, device=CPU)
