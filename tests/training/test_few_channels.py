"""Convolutions of few channels in channels-last against torch's: values, gradients, and which layers are replaced."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from ddbench.training import few_channels, native
from ddbench.training.cpu_layers import FewChannels, FewChannelsLast, as_built, with_cpu_layers
from ddbench.training.few_channels import Window, convolved, panel, suits

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="this machine has no C compiler")

WINDOWS = [
    ((3, 3), Window((1, 1), (1, 1))),
    ((3, 3), Window((1, 1), (3, 3))),
    ((5, 5), Window((1, 1), (2, 2))),
    ((7, 7), Window((2, 2), (3, 3))),
    ((3, 2), Window((2, 1), (0, 2))),
    ((1, 4), Window((1, 3), (0, 0))),
]


def _inputs(channels, size, *, bias=True, dtype=torch.float64, count=5):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, channels, 9, 13, dtype=dtype, generator=generator).to(memory_format=torch.channels_last)
    weight = torch.randn(2 * panel(dtype), channels, *size, dtype=dtype, generator=generator)
    return images, weight, torch.randn(len(weight), dtype=dtype, generator=generator) if bias else None


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("size", "window"), WINDOWS, ids=str)
def test_values_and_gradients_are_those_of_the_convolution(channels, bias, size, window):
    images, weight, added = _inputs(channels, size, bias=bias)
    inputs = [tensor.requires_grad_() for tensor in (images, weight, added) if tensor is not None]
    found, expected = convolved(images, weight, added, window), F.conv2d(images, weight, added, *window)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    assert found.is_contiguous(memory_format=torch.channels_last)
    upstream = torch.randn_like(expected)
    gradients = (torch.autograd.grad(outputs, inputs, upstream) for outputs in (found, expected))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-11, rtol=0)


def test_gradients_are_those_of_finite_differences_twice():
    inputs = [tensor.requires_grad_() for tensor in _inputs(3, (3, 3), count=2)]
    assert gradcheck(lambda *of: convolved(*of, WINDOWS[0][1]), inputs, fast_mode=True)
    assert gradgradcheck(lambda *of: convolved(*of, WINDOWS[0][1]).sigmoid(), inputs, fast_mode=True)


def test_only_gradients_that_are_asked_for_are_computed(monkeypatch):
    images, weight, bias = (tensor.requires_grad_() for tensor in _inputs(3, (3, 3)))
    called = []
    for name in ("_image_gradient", "_kernel_gradient"):
        own = getattr(few_channels, name)
        monkeypatch.setattr(few_channels, name, lambda *of, own=own, name=name: called.append(name) or own(*of))
    for asked, expected in (([images], ["_image_gradient"]), ([weight, bias], ["_kernel_gradient"]), ([bias], [])):
        called.clear()
        torch.autograd.grad(convolved(images, weight, bias, WINDOWS[0][1]).sum(), asked)
        assert called == expected


@pytest.mark.parametrize("count", [1, 15, 40])
def test_neither_threads_nor_other_images_of_a_batch_decide_a_bit(count):
    images, weight, bias = _inputs(3, (3, 3), dtype=torch.float32, count=count)
    gradient = torch.randn(count, len(weight), 9, 13).to(memory_format=torch.channels_last)
    before = torch.get_num_threads()

    def found(threads):
        torch.set_num_threads(threads)
        try:
            made = convolved(images, weight, bias, WINDOWS[0][1])
            back = few_channels._image_gradient(images, weight, gradient, WINDOWS[0][1])
            return made, back, few_channels._kernel_gradient(images, weight, gradient, WINDOWS[0][1])
        finally:
            torch.set_num_threads(before)

    alone = found(1)
    assert all(torch.equal(one, other) for one, other in zip(alone, found(2), strict=True))
    assert torch.equal(convolved(images[:1], weight, bias, WINDOWS[0][1]), alone[0][:1])
    assert torch.equal(few_channels._image_gradient(images[:1], weight, gradient[:1], WINDOWS[0][1]), alone[1][:1])


def test_in_float32_it_is_as_exact_as_torch():
    images, weight, _ = _inputs(3, (3, 3), dtype=torch.float32, count=64, bias=False)
    gradient = torch.randn(64, len(weight), 9, 13).to(memory_format=torch.channels_last)
    for exact, mine in (
        (torch.nn.grad.conv2d_weight(images.double(), weight.shape, gradient.double(), padding=1), few_channels._kernel_gradient),
        (torch.nn.grad.conv2d_input(images.shape, weight.double(), gradient.double(), padding=1), few_channels._image_gradient),
    ):
        assert float((mine(images, weight, gradient, WINDOWS[0][1]) - exact).norm() / exact.norm()) < 1e-6


def test_where_it_does_not_suit_torch_convolves():
    layer = with_cpu_layers(nn.Conv2d(3, 64, 3, padding=1), native=True)
    assert type(layer) is FewChannelsLast
    last = torch.randn(2, 3, 6, 6).to(memory_format=torch.channels_last)
    others = (torch.randn(2, 3, 6, 6), torch.randn(3, 6, 6))
    for images in others:
        assert not suits(images, layer.weight)
        assert torch.equal(layer(images), nn.Conv2d.forward(layer, images))
    assert not suits(last.bfloat16(), layer.weight)
    assert not suits(last[:0], layer.weight)
    torch.testing.assert_close(layer(last), nn.Conv2d.forward(layer, last), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.Conv2d(3, 64, 3, padding=1), FewChannelsLast),
        (nn.Conv2d(1, 32, 7, stride=2), FewChannelsLast),
        (nn.Conv2d(3, 6, 5), FewChannels),  # they fill no vectors
        (nn.Conv2d(3, 64, 20), FewChannels),  # more taps than there is room for
        (nn.Conv2d(5, 64, 3, padding=1), nn.Conv2d),
        (nn.Conv2d(3, 64, 3, padding=1, dilation=2), nn.Conv2d),
        (nn.Conv2d(3, 64, 3, padding=1, padding_mode="reflect"), nn.Conv2d),
    ],
    ids=str,
)
def test_which_layers_are_replaced(layer, kind):
    assert type(with_cpu_layers(copy.deepcopy(layer))) is not FewChannelsLast
    assert type(with_cpu_layers(layer, native=True)) is kind
    assert type(as_built(layer)) is nn.Conv2d
