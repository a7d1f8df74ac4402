"""Building a network from its specification and a seed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from ddbench import NetworkFamily, NetworkSpec
from ddbench.errors import BadRequest, UnknownName
from ddbench.networks import build, count_parameters

SPEC = NetworkSpec("toy/linear", 1, (1, 2, 2), 3)


@dataclass
class Toy(NetworkFamily):
    name: str = "toy"
    version: int = 1

    def names(self):
        return ("linear",)

    def fit(self, name, *, shape, num_classes):
        return SPEC

    def build(self, spec):
        return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(4, spec.num_classes)).eval()


def weights(seed: int) -> torch.Tensor:
    return build(SPEC, {"toy": Toy()}, seed=seed)[2].weight


def test_equal_seeds_give_equal_bytes_and_different_seeds_do_not():
    assert torch.equal(weights(5), weights(5))
    assert not torch.equal(weights(5), weights(6))


def test_the_global_generator_neither_decides_nor_changes():
    torch.manual_seed(1)
    first = weights(5)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(first, weights(5))
    assert torch.equal(before, torch.get_rng_state())


def test_a_built_network_is_in_train_mode():
    assert all(module.training for module in build(SPEC, {"toy": Toy()}, seed=0).modules())


def test_a_network_fitted_by_another_version_of_its_family_is_refused():
    with pytest.raises(BadRequest, match=r"version 1 .* version 2"):
        build(SPEC, {"toy": Toy(version=2)}, seed=0)


def test_a_network_of_a_family_that_is_not_loaded_is_refused():
    with pytest.raises(UnknownName, match="toy/linear"):
        build(SPEC, {}, seed=0)


def test_shared_weights_count_once_and_frozen_ones_too():
    shared, frozen = nn.Linear(3, 3), nn.Linear(5, 1).requires_grad_(requires_grad=False)
    assert count_parameters(nn.Sequential(shared, shared, frozen)) == (3 * 3 + 3) + (5 + 1)
