"""Layers as matrix products against torch's own, and which layers are replaced."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from ddbench.api.context import Precision
from ddbench.api.protocol import Loss, Optimiser, ProtocolSpec, Schedule, TestView
from ddbench.training import cpu_layers
from ddbench.training.cpu_layers import FewChannels, Halving, as_built, cpu_layers_in, with_cpu_layers
from ddbench.training.precision import placed
from ddbench.training.predict import TestImages, logits
from ddbench.training.students import Student, StudentSeeds, train_student
from ddbench.training.views import normalised

CPU = torch.device("cpu")


@pytest.fixture
def products(monkeypatch):
    """Keep the shapes that products are taken of."""
    taken = []
    halved, product = cpu_layers._halved, cpu_layers._product
    monkeypatch.setattr(cpu_layers, "_halved", lambda images: taken.append(images.shape) or halved(images))
    monkeypatch.setattr(cpu_layers, "_product", lambda windows, *rest: taken.append(windows.shape) or product(windows, *rest))
    return taken


def _close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("shape", [(3, 2, 8, 8), (1, 5, 2, 2), (2, 8, 2, 2), (2, 3, 4, 10), (1, 1, 2, 34), (1, 1, 4, 32)])
def test_halving_is_the_mean_of_windows_and_so_are_its_gradients(products, shape):
    images = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    expected, found = nn.AvgPool2d(2)(images), Halving(2)(images)
    _close(found, expected)
    upstream = torch.randn_like(expected)
    _close(torch.autograd.grad(found, images, upstream), torch.autograd.grad(expected, images, upstream))
    assert products == [shape]


def test_the_gradients_of_halving_are_those_of_finite_differences_twice():
    images = torch.randn(2, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    assert gradcheck(Halving(2), images)
    assert gradgradcheck(Halving(2), images)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "how",
    [{"padding": 1}, {"padding": 3}, {}, {"padding": (0, 2), "stride": (2, 1)}],
    ids=["usual", "wide border", "no border", "strides"],
)
def test_a_convolution_of_few_channels_is_the_convolution(products, channels, bias, how):
    layer = nn.Conv2d(channels, 5, (3, 3), bias=bias, dtype=torch.float64, **how)
    images = torch.randn(4, channels, 7, 6, dtype=torch.float64)
    expected = layer(images)
    weights = list(layer.parameters())
    upstream = torch.randn_like(expected)
    by_torch = torch.autograd.grad(expected, weights, upstream)
    found = with_cpu_layers(layer)(images)
    _close(found, expected)
    _close(torch.autograd.grad(found, weights, upstream), by_torch)
    assert (type(layer), products) == (FewChannels, [(4, channels, *expected.shape[2:], 3, 3)])
    assert found.is_contiguous()


def test_weights_of_a_convolution_have_gradients_twice():
    layer = with_cpu_layers(nn.Conv2d(1, 2, 3, padding=1, dtype=torch.float64))
    images = torch.randn(2, 1, 3, 4, dtype=torch.float64)

    def of(weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, images).sigmoid()

    assert gradcheck(of, (layer.weight, layer.bias))
    assert gradgradcheck(of, (layer.weight, layer.bias))


@pytest.mark.parametrize(
    "images",
    [
        torch.randn(2, 3, 5, 6),
        torch.randn(2, 3, 6, 5),
        torch.randn(3, 6, 6),
        torch.randn(0, 3, 6, 6),
        torch.randn(2, 3, 6, 6).to(memory_format=torch.channels_last),
        torch.randn(2, 3, 6, 6).bfloat16(),
        torch.randn(2, 3, 6, 6, device="meta"),
    ],
    ids=["odd height", "odd width", "no batch", "no images", "channels last", "bf16", "meta"],
)
def test_where_the_product_does_not_suit_torch_pools(products, images):
    found, expected = Halving(2)(images), nn.AvgPool2d(2)(images)
    assert (found.shape, found.dtype, found.stride()) == (expected.shape, expected.dtype, expected.stride())
    assert images.device.type == "meta" or torch.equal(found, expected)
    assert products == []


@pytest.mark.parametrize(
    "images",
    [
        torch.randn(2, 3, 6, 6, requires_grad=True),
        torch.randn(2, 3, 6, 6).to(memory_format=torch.channels_last),
        torch.randn(3, 6, 6),
    ],
    ids=["a gradient of the images", "channels last", "no batch"],
)
def test_where_the_product_does_not_suit_torch_convolves(products, images):
    layer = nn.Conv2d(3, 4, 3, padding=1)
    assert torch.equal(with_cpu_layers(layer)(images), nn.Conv2d.forward(layer, images))
    assert products == []


def test_a_batch_that_would_take_much_memory_is_left_to_torch(products, monkeypatch):
    layer, images = with_cpu_layers(nn.Conv2d(3, 4, 3, padding=1)), torch.randn(2, 3, 6, 6)
    monkeypatch.setattr(cpu_layers, "COLUMNS_BYTES", 2 * 27 * 36 * 4)
    layer(images)
    assert len(products) == 1
    monkeypatch.setattr(cpu_layers, "COLUMNS_BYTES", 2 * 27 * 36 * 4 - 1)
    layer(images)
    assert len(products) == 1


def test_a_matrix_made_in_a_test_pass_serves_training():
    cpu_layers._quarters.cache_clear()
    with torch.inference_mode():
        Halving(2)(torch.randn(1, 1, 6, 6))
    images = torch.randn(1, 1, 6, 6, requires_grad=True)
    Halving(2)(images).sum().backward()
    torch.testing.assert_close(images.grad, torch.full((1, 1, 6, 6), 0.25))


def test_only_layers_that_fit_are_replaced_and_their_parameters_and_modes_stay():
    others = [nn.AvgPool2d(3), nn.AvgPool2d(2, stride=1), nn.AvgPool2d(2, padding=1), nn.AvgPool2d(2, ceil_mode=True)]
    others += [nn.AvgPool2d(2, divisor_override=3), nn.MaxPool2d(2), nn.Conv2d(8, 3, 3), nn.Conv2d(3, 3, 3, groups=3)]
    others += [nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 3, dilation=2), nn.Conv2d(3, 8, 3, padding="same")]
    others += [nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.Conv1d(3, 8, 3)]
    kinds = [type(layer) for layer in others]
    fitting = nn.Sequential(nn.AvgPool2d(2), nn.AvgPool2d((2, 2), (2, 2), (0, 0)), nn.Conv2d(3, 8, 3))
    network = nn.Sequential(fitting, *others).eval()
    weight = fitting[2].weight
    assert with_cpu_layers(network) is network
    assert [type(layer) for layer in fitting] == [Halving, Halving, FewChannels]
    assert fitting[2].weight is weight
    assert not any(layer.training for layer in network.modules())
    assert [type(layer) for layer in network[1:]] == kinds


@pytest.mark.parametrize(
    ("precision", "kind"),
    [
        (Precision(), Halving),
        (Precision("bf16"), nn.AvgPool2d),
        (Precision(compile=True, channels_last=True), nn.AvgPool2d),
        (Precision(channels_last=True), nn.AvgPool2d),
    ],
)
def test_networks_are_so_where_they_compute_plainly(precision, kind):
    assert type(placed(nn.Sequential(nn.AvgPool2d(2)), precision, CPU)[0]) is kind


def test_a_network_is_given_back_as_it_was_built_and_a_block_leaves_it_as_it_was():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(2), nn.Flatten())
    kinds = [type(layer) for layer in network]
    assert [type(layer) for layer in as_built(with_cpu_layers(network))] == kinds
    with cpu_layers_in(network):
        assert [type(layer) for layer in network] == [FewChannels, Halving, nn.Flatten]
    assert [type(layer) for layer in network] == kinds
    with cpu_layers_in(with_cpu_layers(network)):
        pass
    assert [type(layer) for layer in network] == [FewChannels, Halving, nn.Flatten]


def test_a_trained_student_is_as_it_was_built_and_is_tested_with_layers_that_suit_the_cpu(small, toy, run, monkeypatch):
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AvgPool2d(2), nn.Flatten(), nn.LazyLinear(4))
    data = toy()
    network(data.images[:1].float())
    spec = ProtocolSpec(
        name="test/1",
        title="",
        source="",
        label_regime="hard",
        loss=Loss(name="ce"),
        optimiser=Optimiser(name="sgd", lr=0.02, momentum=0.9, weight_decay=5e-4),
        schedule=Schedule(name="cosine"),
        batch=10,
        epochs=1,
    )
    used, taken = set(), (FewChannels.forward, Halving.forward)
    monkeypatch.setattr(FewChannels, "forward", lambda self, x: used.add(FewChannels) or taken[0](self, x))
    monkeypatch.setattr(Halving, "forward", lambda self, x: used.add(Halving) or taken[1](self, x))
    trained = train_student(Student(network, "test/small"), data, spec, seeds=StudentSeeds(0), run=run).network
    assert used == {FewChannels, Halving}
    assert [type(layer) for layer in trained][:2] == [nn.Conv2d, nn.AvgPool2d]
    used.clear()
    images = data.images.float() / 255
    test = TestImages(lambda index: images[index], len(images), data.mean, data.std)
    answers = logits(trained, test, TestView(), run)
    assert used == {FewChannels, Halving}
    torch.testing.assert_close(answers, trained(normalised(images, data.mean, data.std)))
