from __future__ import annotations

import pytest
import torch
from torch import nn

from ddbench.errors import UnfitNetwork
from ddbench.kit import features


@pytest.fixture
def network() -> nn.Module:
    body = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 7), nn.Dropout(0.5)]
    return nn.Sequential(*body, nn.Linear(7, 5))


def test_features_times_the_classifier_are_the_logits(network):
    images = torch.randn(9, 3, 8, 8)
    network.eval()
    last = network[-1]
    expected = network(images)
    assert torch.allclose(features(network, images) @ last.weight.T + last.bias, expected, atol=1e-6)


def test_the_batch_size_does_not_matter(network):
    images = torch.randn(9, 3, 8, 8)
    assert torch.allclose(features(network, images, batch=2), features(network, images), atol=1e-6)


def test_features_are_flat_and_float32_for_a_float64_network(network):
    made = features(network.double(), torch.randn(2, 3, 8, 8, dtype=torch.float64))
    assert made.shape == (2, 7)
    assert made.dtype == torch.float32
    assert not made.requires_grad


def test_a_network_is_left_as_it_was_found(network):
    network[1].eval()
    state = {name: values.clone() for name, values in network.state_dict().items()}
    features(network, torch.randn(4, 3, 8, 8))
    assert [part.training for part in network] == [True, False, True, True, True, True, True]
    assert all(torch.equal(values, state[name]) for name, values in network.state_dict().items())
    assert not any(part._forward_pre_hooks for part in network.modules())


def test_the_hook_goes_even_where_the_network_fails(network):
    with pytest.raises(RuntimeError):
        features(network, torch.randn(4, 3, 9, 9))
    assert not any(part._forward_pre_hooks for part in network.modules())


def test_a_network_without_a_linear_layer_is_refused():
    with pytest.raises(UnfitNetwork, match="no linear layer"):
        features(nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten()), torch.randn(2, 3, 8, 8))
