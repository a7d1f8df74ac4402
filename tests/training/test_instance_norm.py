"""Instance norm, rectifier and halving in one pass against torch's three layers, and where they are taken together."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from ddbench.training import cpu_layers, instance_norm, native
from ddbench.training.cpu_layers import Chain, InstanceNorm, as_built, with_cpu_layers
from ddbench.training.instance_norm import normed, plainly
from ddbench.training.norms import After, lanes, suits
from norm_inputs import norm_inputs

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="this machine has no C compiler")

EVERY = [After(1e-5, rectify, halve) for rectify in (False, True) for halve in (False, True)]


def _inputs(shape=(3, 4, 6), channels=None, dtype=torch.float64):
    return norm_inputs(shape, channels or 2 * lanes(dtype), dtype)


@pytest.fixture
def taken(monkeypatch):
    """Keep what follows each norm that is taken in one pass."""
    found = []
    monkeypatch.setattr(cpu_layers, "normed", lambda *inputs: found.append(inputs[3]) or normed(*inputs))
    return found


@pytest.mark.parametrize("after", EVERY, ids=str)
@pytest.mark.parametrize("shape", [(3, 4, 6), (1, 2, 2), (2, 32, 16)], ids=str)
def test_values_and_gradients_are_those_of_the_three_layers(shape, after):
    inputs = [tensor.requires_grad_() for tensor in _inputs(shape)]
    found, expected = normed(*inputs, after), plainly(*inputs, after)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    assert found.is_contiguous(memory_format=torch.channels_last)
    upstream = torch.randn_like(expected)
    gradients = (torch.autograd.grad(outputs, inputs, upstream) for outputs in (found, expected))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-11, rtol=0)


@pytest.mark.parametrize("after", EVERY, ids=str)
def test_gradients_are_those_of_finite_differences_twice(after):
    inputs = [tensor.requires_grad_() for tensor in _inputs((2, 2, 4), lanes(torch.float64))]
    assert gradcheck(lambda *tensors: normed(*tensors, after), inputs, fast_mode=True)
    assert gradgradcheck(lambda *tensors: normed(*tensors, after), inputs, fast_mode=True)


@pytest.mark.parametrize("asked", [0, 1, 2])
def test_only_what_is_asked_for_has_a_gradient_twice(asked):
    inputs = list(_inputs())
    inputs[asked].requires_grad_()

    def second(layer):
        (first,) = torch.autograd.grad(layer(*inputs, EVERY[3]).square().sum(), inputs[asked], create_graph=True)
        return torch.autograd.grad(first.square().sum(), inputs[asked])[0]

    torch.testing.assert_close(second(normed), second(plainly), atol=1e-9, rtol=1e-9)


def test_float32_is_as_exact_as_torch():
    inputs = _inputs((4, 32, 32), 64, torch.float32)
    exact = plainly(*(tensor.double() for tensor in inputs), EVERY[0])
    mine, theirs = (float((layer(*inputs, EVERY[0]) - exact).abs().max()) for layer in (normed, plainly))
    assert mine < 2 * theirs + 1e-6


def test_neither_threads_nor_other_images_of_a_batch_decide_a_bit():
    images, weight, bias = _inputs((5, 6, 8), 32, torch.float32)
    before = torch.get_num_threads()

    def found(threads):
        torch.set_num_threads(threads)
        try:
            return normed(images, weight, bias, EVERY[3])
        finally:
            torch.set_num_threads(before)

    assert torch.equal(found(1), found(2))
    assert torch.equal(normed(images[1:3], weight, bias, EVERY[3]), found(1)[1:3])


def test_what_does_not_suit_is_left_to_torch(taken):
    layer = with_cpu_layers(nn.GroupNorm(16, 16), native=True)
    assert type(layer) is InstanceNorm
    last = torch.randn(2, 16, 4, 4).to(memory_format=torch.channels_last)
    for images in (
        torch.randn(2, 16, 4, 4),
        torch.randn(0, 16, 4, 4),
        torch.randn(2, 16, 4),
        torch.randn(2, 16, 4, 4, device="meta"),
    ):
        assert not suits(images, layer.weight)
    assert not suits(last.bfloat16(), layer.weight)
    assert not suits(torch.randn(2, 12, 4, 4).to(memory_format=torch.channels_last), torch.ones(12)) or lanes(torch.float32) == 4
    assert torch.equal(
        layer(torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(0))),
        nn.GroupNorm(16, 16)(torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(0))),
    )
    assert taken == []
    torch.testing.assert_close(layer(last), nn.GroupNorm.forward(layer, last), atol=1e-5, rtol=0)
    assert taken == [After(layer.eps)]


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(4, 16), nn.GroupNorm(16, 16, affine=False), nn.BatchNorm2d(16), nn.InstanceNorm2d(16)], ids=str
)
def test_other_norms_stay(norm):
    kind = type(norm)
    assert type(with_cpu_layers(norm, native=True)) is kind


@pytest.mark.parametrize(
    ("layers", "side", "expected"),
    [
        ([nn.ReLU(), nn.AvgPool2d(2)], 8, [(True, True)]),
        ([nn.ReLU(), nn.AvgPool2d(2)], 7, [(True, False)]),
        ([nn.ReLU(), nn.MaxPool2d(2)], 8, [(True, False)]),
        ([nn.AvgPool2d(2), nn.ReLU()], 8, [(False, True)]),
        ([nn.ReLU6(), nn.AvgPool2d(2)], 8, [(False, False)]),
        ([nn.ReLU(), nn.AvgPool2d(4)], 8, [(True, False)]),
        ([], 8, [(False, False)]),
        ([nn.ReLU(), nn.AvgPool2d(2), nn.GroupNorm(16, 16), nn.ReLU()], 8, [(True, True), (True, False)]),
    ],
    ids=str,
)
def test_layers_that_follow_a_norm_are_taken_with_it(taken, layers, side, expected):
    chain = nn.Sequential(nn.Identity(), nn.GroupNorm(16, 16), *layers)
    images = torch.randn(2, 16, side, side).to(memory_format=torch.channels_last)
    plain = chain(images)
    assert type(with_cpu_layers(chain, native=True)) is Chain
    torch.testing.assert_close(chain(images), plain, atol=1e-5, rtol=0)
    assert [(after.rectify, after.halve) for after in taken] == expected
    assert type(as_built(chain)) is nn.Sequential


@pytest.mark.parametrize("looked_at", [0, 1, 2])
def test_a_layer_that_is_looked_at_is_not_taken_with_others(taken, looked_at):
    chain = with_cpu_layers(nn.Sequential(nn.GroupNorm(16, 16), nn.ReLU(), nn.AvgPool2d(2)), native=True)
    seen = []
    chain[looked_at].register_forward_hook(lambda layer, _given, made: seen.append((type(layer), made.shape)))
    images = torch.randn(2, 16, 8, 8).to(memory_format=torch.channels_last)
    plain = nn.Sequential.forward(chain, images)
    torch.testing.assert_close(chain(images), plain, atol=1e-6, rtol=0)
    assert len(seen) == 2
    assert seen[0] == seen[1]


def test_a_convnet_trains_as_it_does_by_torch_in_float64():
    def gradients(*, ours):
        torch.manual_seed(0)
        channels = 2 * lanes(torch.float64)
        layers = [nn.Conv2d(3, channels, 3, padding=1), nn.GroupNorm(channels, channels), nn.ReLU(), nn.AvgPool2d(2)]
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(channels, channels), nn.ReLU(), nn.AvgPool2d(2)]
        network = nn.Sequential(nn.Sequential(*layers), nn.Flatten(), nn.Linear(channels * 4, 3)).double()
        images = torch.randn(8, 3, 8, 8, dtype=torch.float64)
        if ours:
            network = with_cpu_layers(network, native=True).to(memory_format=torch.channels_last)
            images = images.to(memory_format=torch.channels_last)
        return torch.autograd.grad(network(images).square().sum(), list(network.parameters()))

    for mine, theirs in zip(gradients(ours=True), gradients(ours=False), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-8, rtol=1e-8)


def test_the_backward_pass_of_our_own_runs_without_gradients_of_gradients(monkeypatch):
    called = []
    backward = instance_norm._backward
    monkeypatch.setattr(instance_norm, "_backward", lambda *of: called.append(1) or backward(*of))
    images, weight, bias = (tensor.requires_grad_() for tensor in _inputs())
    torch.autograd.grad(normed(images, weight, bias, EVERY[3]).sum(), images)
    assert called == [1]
    torch.autograd.grad(normed(images, weight, bias, EVERY[3]).sum(), images, create_graph=True)
    assert called == [1]
