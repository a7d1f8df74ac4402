from __future__ import annotations

import pytest
import torch
from torch import nn

from ddbench.errors import UnfitNetwork
from ddbench.kit import Embedder, features
from ddbench.kit.features import classifier_name


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


class Backwards(nn.Sequential):
    """Holds its classifier first, and a layer that no image reaches last."""

    def __init__(self):
        super().__init__(nn.Linear(4, 5), nn.Conv2d(3, 4, 3), nn.Flatten(2), nn.Linear(9, 9))

    def forward(self, images):
        return self[0](self[2](self[1](images)).mean(dim=2))


def test_the_classifier_is_the_linear_layer_that_runs_last():
    network, images = Backwards(), torch.randn(3, 3, 5, 5)
    assert classifier_name(network, (3, 5, 5)) == "0"
    assert torch.allclose(features(network, images), network[1](images).flatten(2).mean(dim=2), atol=1e-6)


def test_a_convolution_of_one_pixel_classifies_where_it_runs_last():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.randn(3, 3, 5, 5)
    assert torch.allclose(features(network, images), network[0](images).flatten(1), atol=1e-6)


def test_a_network_whose_linear_layers_see_no_image_is_refused():
    class Blind(nn.Sequential):
        def forward(self, images):
            return images.mean(dim=(2, 3))

    with pytest.raises(UnfitNetwork, match="no linear layer of Blind sees an image"):
        features(Blind(nn.Linear(3, 3)), torch.randn(2, 3, 4, 4))


def test_an_embedder_gives_the_features_and_their_derivative(network):
    network, images = network.double().eval(), torch.randn(4, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    expected = network[:-1](images)
    (gradient,) = torch.autograd.grad(expected.square().sum(), images)
    embedder = Embedder(network, (3, 8, 8))
    made = embedder(images)
    assert made.equal(expected)
    assert torch.autograd.grad(made.square().sum(), images)[0].equal(gradient)
    assert made.dtype == torch.float64


def test_an_embedder_keeps_modes_parameters_and_buffers(network):
    before, state = list(network.parameters()), {name: values.clone() for name, values in network.state_dict().items()}
    embedder = Embedder(network, (3, 8, 8))
    assert all(a is b for a, b in zip(before, embedder.parameters(), strict=True))
    assert all(a.equal(b) for a, b in zip(state.values(), embedder.state_dict().values(), strict=True))
    assert network.training
    assert not any(part._forward_pre_hooks for part in embedder.modules())


def test_a_network_that_is_one_linear_layer_has_its_input_for_features():
    class Flat(nn.Linear):
        def forward(self, images):
            return super().forward(images.flatten(1))

    images = torch.randn(2, 3, 2, 2)
    assert Embedder(Flat(12, 4), (3, 2, 2))(images).equal(images.flatten(1))
