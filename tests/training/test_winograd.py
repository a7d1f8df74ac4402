"""Convolutions by Winograd against torch's: values, gradients of any order, rounding, and that nothing else decides a bit."""

from __future__ import annotations

import copy
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from ddbench.api.context import Precision
from ddbench.training import native, winograd
from ddbench.training.cpu_layers import FewChannelsLast, Half, Winograd, WinogradHalf, as_built, cpu_layers_in, with_cpu_layers
from ddbench.training.precision import placed
from ddbench.training.winograd import convolved, panel, suits

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="this machine has no C compiler")

SHAPES = [(2, 8, 8), (3, 4, 4), (1, 7, 5), (2, 13, 6), (1, 3, 3), (2, 1, 1), (5, 12, 9)]


def _pair(shape, channels, made, dtype=torch.float64, *, bias=True):
    count, height, width = shape
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, channels, height, width, dtype=dtype, generator=generator)
    weight = torch.randn(made, channels, 3, 3, dtype=dtype, generator=generator) / channels**0.5
    return images, weight, torch.randn(made, dtype=dtype, generator=generator) if bias else None


def _wide(times=1):
    return times * panel(torch.float64)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_the_convolution(shape, bias):
    inputs = [tensor for tensor in _pair(shape, _wide(), _wide(2), bias=bias) if tensor is not None]
    for tensor in inputs:
        tensor.requires_grad_()
    found, expected = convolved(*inputs), F.conv2d(*inputs, padding=1)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    assert found.is_contiguous(memory_format=torch.channels_last)
    upstream = torch.randn_like(expected)
    gradients = (torch.autograd.grad(outputs, inputs, upstream) for outputs in (found, expected))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-11, rtol=0)


@contextmanager
def _compiled(monkeypatch, *options):
    """Compile with more options inside the block."""
    library = native.library
    with monkeypatch.context() as patch:
        patch.setattr(winograd, "library", lambda source, *given: library(source, *given, *options))
        winograd.panel.cache_clear()
        winograd._native.cache_clear()
        try:
            yield
        finally:
            winograd.panel.cache_clear()
            winograd._native.cache_clear()


@pytest.mark.parametrize("width", [32, 64])
def test_vectors_of_any_width_give_the_convolution(width, monkeypatch):
    """A compiler makes two vectors of one that the processor has not, so that both widths are tested anywhere."""
    with _compiled(monkeypatch, f"-DVECTOR_BYTES={width}"):
        assert panel(torch.float32) == width // 2
        images, weight, bias = (tensor.requires_grad_() for tensor in _pair((5, 9, 6), 64, 64, torch.float32))
        found, expected = convolved(images, weight, bias), F.conv2d(images, weight, bias, padding=1)
        torch.testing.assert_close(found, expected, atol=3e-5, rtol=0)
        upstream = torch.randn_like(expected)
        gradients = (torch.autograd.grad(outputs, (images, weight, bias), upstream) for outputs in (found, expected))
        for mine, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, theirs, atol=3e-4, rtol=1e-4)


def test_turned_kernels_take_gradients_back():
    weight = _pair((2, 6, 9), _wide(), _wide(2))[1]
    gradient = torch.randn(2, _wide(2), 6, 9, dtype=torch.float64)
    expected = F.conv_transpose2d(gradient, weight, padding=1)
    torch.testing.assert_close(convolved(gradient, weight, turned=True), expected, atol=1e-12, rtol=0)


def test_gradients_are_those_of_finite_differences_twice():
    images, weight, bias = (tensor.requires_grad_() for tensor in _pair((1, 3, 5), _wide(), _wide()))
    assert gradcheck(convolved, (images, weight, bias), fast_mode=True)
    assert gradgradcheck(convolved, (images, weight, bias), fast_mode=True)
    assert gradgradcheck(lambda x, w: convolved(x, w, turned=True), (images, weight), fast_mode=True)


def test_second_derivatives_are_those_of_the_convolution():
    images, weight, bias = (tensor.requires_grad_() for tensor in _pair((2, 5, 6), _wide(), _wide(2)))

    def second(layer):
        first = torch.autograd.grad(layer().sigmoid().square().sum(), (weight, bias), create_graph=True)
        return torch.autograd.grad(sum(part.square().sum() for part in first), (images, weight, bias))

    by_torch = second(lambda: F.conv2d(images, weight, bias, padding=1))
    for mine, theirs in zip(second(lambda: convolved(images, weight, bias)), by_torch, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=1e-9)


def _one_after_another(images, weight):
    """The convolution with its products added in float32 one by one, as they are written."""
    height, width = images.shape[2:]
    padded, total = F.pad(images, (1, 1, 1, 1)), torch.zeros(len(images), len(weight), height, width)
    for channel in range(images.shape[1]):
        for y in range(3):
            for x in range(3):
                shown = padded[:, channel, None, y : y + height, x : x + width]
                total += weight[:, channel, y, x, None, None] * shown
    return total


@pytest.mark.parametrize(("channels", "side"), [(64, 32), (128, 16), (512, 4)])
def test_rounding_in_float32_is_a_few_times_that_of_the_sum_as_written(channels, side):
    images, weight, _ = _pair((2, side, side), channels, channels, torch.float32, bias=False)
    exact = F.conv2d(images.double(), weight.double(), padding=1)
    both = (convolved(images, weight), _one_after_another(images, weight))
    mine, plain = (float((found - exact).norm() / exact.norm()) for found in both)
    assert mine < 4e-6
    assert mine < 3 * plain  # torch's own depends on the processor


def _off(found, exact):
    found, exact = found.detach().double(), exact.detach()
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("options", [(), ("-DVECTOR_BYTES=32",)], ids=["as it is", "of shorter vectors"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rounding_to_bf16_leaves_values_and_gradients_near(shape, options, monkeypatch):
    with _compiled(monkeypatch, *options):
        inputs = [tensor.requires_grad_() for tensor in _pair(shape, 32, 64, torch.float32)]
        exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
        found, expected = convolved(*inputs, half=True), F.conv2d(*exact, padding=1)
        assert 1e-3 < _off(found, expected) < 2e-2
        upstream = torch.randn(expected.shape)
        mine, theirs = torch.autograd.grad(found, inputs, upstream), torch.autograd.grad(expected, exact, upstream.double())
        for one, other in zip(mine[:2], theirs[:2], strict=True):
            assert 1e-3 < _off(one, other) < 3e-2
        torch.testing.assert_close(mine[2].double(), theirs[2], atol=1e-4, rtol=0)  # of the bias: nothing is multiplied


def test_both_ways_to_multiply_bf16_round_alike(monkeypatch):
    """Where a vector holds 64 bytes, a processor with bf16 multiplies it by itself."""
    found = []
    for options in ((), ("-DVECTOR_BYTES=32",)):
        images, weight, _ = _pair((3, 9, 6), 64, 64, torch.float32, bias=False)  # laid out anew
        with _compiled(monkeypatch, *options):
            found.append((convolved(images, weight, half=True), winograd._kernel_gradient(images, images, half=True)))
    for one, other in zip(*found, strict=True):
        assert _off(one, other.double()) < 1e-6


def test_second_derivatives_are_rounded_too_and_near():
    images, weight, _ = (None if tensor is None else tensor.requires_grad_() for tensor in _pair((2, 8, 8), 32, 32, bias=False))

    def second(layer, *inputs):
        first = torch.autograd.grad(layer(*inputs).sigmoid().square().sum(), inputs[1], create_graph=True)
        return torch.autograd.grad(first[0].square().sum(), inputs)

    exact = second(lambda x, w: F.conv2d(x, w, padding=1), images, weight)
    narrow = [tensor.detach().float().requires_grad_() for tensor in (images, weight)]
    for one, other in zip(second(lambda x, w: convolved(x, w, half=True), *narrow), exact, strict=True):
        assert 1e-3 < _off(one, other) < 5e-2


@pytest.mark.parametrize("alone", [0, 2**30], ids=["all share a part", "each thread has its own"])
@pytest.mark.parametrize("room", [1, 2**30], ids=["in parts", "at once"])
def test_values_do_not_depend_on_the_parts_they_are_computed_in(room, alone, monkeypatch):
    images, weight, _ = _pair((40, 8, 8), _wide(), _wide(), bias=False)
    expected = convolved(images, weight)
    monkeypatch.setattr(winograd, "ROOM_BYTES", room)
    monkeypatch.setattr(winograd, "ALONE_BYTES", alone)
    assert torch.equal(convolved(images, weight), expected)
    gradient = torch.randn(40, _wide(), 8, 8, dtype=torch.float64)
    found = winograd._kernel_gradient(images, gradient)
    expected = torch.nn.grad.conv2d_weight(images, weight.shape, gradient, padding=1)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("alone", [0, 2**30], ids=["all share a part", "each thread has its own"])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bf16"])
def test_neither_threads_nor_layouts_nor_other_images_of_a_batch_decide_a_bit(alone, half, monkeypatch):
    monkeypatch.setattr(winograd, "ALONE_BYTES", alone)
    images, weight, bias = _pair((7, 9, 11), 32, 64, torch.float32)
    gradient = torch.randn(7, 64, 9, 11)
    before = torch.get_num_threads()

    def found(threads):
        torch.set_num_threads(threads)
        try:
            back = convolved(gradient, weight, turned=True, half=half)
            return convolved(images, weight, bias, half=half), back, winograd._kernel_gradient(images, gradient, half=half)
        finally:
            torch.set_num_threads(before)

    alone, together = found(1), found(2)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
    last = (tensor.to(memory_format=torch.channels_last) for tensor in (images, weight))
    assert torch.equal(convolved(*last, bias, half=half), alone[0])
    assert torch.equal(convolved(images[3:5], weight, bias, half=half), alone[0][3:5])


def test_a_frozen_kernel_is_read_once_and_again_when_it_is_moved(monkeypatch):
    images, weight, _ = _pair((2, 8, 8), _wide(), _wide(), bias=False)
    read = []
    values = winograd._kernel_values
    monkeypatch.setattr(winograd, "_kernel_values", lambda of, how: read.append(how.turned) or values(of, how))
    images.requires_grad_()
    for _ in range(3):
        convolved(images, weight).sum().backward()
    assert sorted(read) == [False, True]
    weight.mul_(2)
    torch.testing.assert_close(convolved(images, weight), F.conv2d(images, weight, padding=1), atol=1e-12, rtol=0)
    assert sorted(read) == [False, False, True]
    convolved(images, weight.requires_grad_())
    convolved(images, weight)
    assert len(read) == 5  # a kernel that learns is read every time


def test_inference_tensors_are_convolved_too():
    with torch.inference_mode():
        images, weight, bias = _pair((2, 8, 8), _wide(), _wide())
        torch.testing.assert_close(convolved(images, weight, bias), F.conv2d(images, weight, bias, padding=1), atol=1e-12, rtol=0)


def test_what_is_given_does_not_suit_where_little_is_saved():
    weight = torch.zeros(16, 16, 3, 3)
    assert suits(torch.zeros(100, 16, 32, 32), weight)
    assert suits(torch.zeros(100, 16, 4, 4), weight)
    assert not suits(torch.zeros(100, 16, 2, 2), weight)  # a tile of 16 outputs for 4
    assert not suits(torch.zeros(1, 16, 8, 8), weight)  # few tiles
    assert not suits(torch.zeros(100, 16, 8, 8).bfloat16(), weight.bfloat16())
    assert not suits(torch.zeros(100, 16, 8, 8).double(), weight)
    assert not suits(torch.zeros(16, 8, 8), weight)


@pytest.mark.parametrize(
    ("layer", "replaced"),
    [
        (nn.Conv2d(32, 64, 3, padding=1), True),
        (nn.Conv2d(32, 64, 3, padding="same", bias=False), True),
        (nn.Conv2d(32, 64, 3, padding=1, stride=2), False),
        (nn.Conv2d(32, 64, 3), False),
        (nn.Conv2d(32, 64, 5, padding=1), False),
        (nn.Conv2d(32, 64, 3, padding=1, groups=2), False),
        (nn.Conv2d(32, 64, 3, padding=1, dilation=2), False),
        (nn.Conv2d(32, 64, 3, padding=1, padding_mode="reflect"), False),
        (nn.Conv2d(33, 64, 3, padding=1), False),
        (nn.Conv2d(32, 65, 3, padding=1), False),
        (nn.Conv2d(32, 64, 3, padding=1).bfloat16(), False),
    ],
    ids=lambda value: "" if isinstance(value, bool) else str(value),
)
def test_which_layers_are_replaced(layer, replaced):
    assert type(with_cpu_layers(copy.deepcopy(layer))) is not Winograd
    assert (type(with_cpu_layers(layer, native=True)) is Winograd) == replaced
    assert type(as_built(layer)) is nn.Conv2d


def test_in_bf16_the_other_convolutions_are_rounded_as_well():
    layers = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.Conv2d(32, 64, 3, stride=2),
        nn.Conv2d(64, 64, 3, groups=2),
    )
    kinds = [FewChannelsLast, WinogradHalf, Half, nn.Conv2d]
    assert [type(layer) for layer in with_cpu_layers(layers, native=True, half=True)] == kinds
    assert all(parameter.dtype == torch.float32 for parameter in layers.parameters())
    images = torch.randn(8, 32, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    for layer in list(layers)[1:3]:
        found, exact = layer(images), nn.Conv2d.forward(layer, images)
        gradients = [torch.autograd.grad(given.square().sum(), (images, layer.weight)) for given in (found, exact)]
        assert found.dtype == torch.float32
        assert 1e-3 < _off(found, exact.double()) < 2e-2
        assert all(1e-3 < _off(one, other.double()) < 4e-2 for one, other in zip(*gradients, strict=True))
    assert [type(layer) for layer in as_built(layers)] == [nn.Conv2d] * 4


def test_networks_in_float64_are_not_rounded():
    layers = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 64, 1)).double()
    assert [type(layer) for layer in with_cpu_layers(layers, native=True, half=True)] == [Winograd, nn.Conv2d]
    with pytest.raises(ValueError, match="is float32, given"):
        convolved(torch.zeros(2, 32, 8, 8).double(), layers[0].weight, half=True)


def test_a_network_that_has_layers_of_ours_gets_others():
    network = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 64, 1))
    for half, kinds in ((True, [WinogradHalf, Half]), (False, [Winograd, nn.Conv2d]), (True, [WinogradHalf, Half])):
        assert [type(layer) for layer in with_cpu_layers(network, native=True, half=half)] == kinds
    assert [type(layer) for layer in with_cpu_layers(network)] == [nn.Conv2d] * 2


def test_a_frozen_network_asked_in_inference_mode_has_gradients_afterwards():
    network = with_cpu_layers(nn.Sequential(nn.Conv2d(16, 32, 3, stride=2), nn.Conv2d(32, 32, 1)), native=True, half=True)
    network.requires_grad_(requires_grad=False)
    images = torch.randn(4, 16, 9, 9)
    with torch.inference_mode():
        answered = network(images).clone()
    found = network(images.requires_grad_())
    assert torch.equal(found, answered)
    assert float(torch.autograd.grad(found.sum(), images)[0].abs().sum()) > 0


def test_what_is_kept_of_a_frozen_weight_is_of_its_dtype_and_place():
    layer = with_cpu_layers(nn.Conv2d(32, 32, 3, padding=1, bias=False), native=True).requires_grad_(requires_grad=False)
    images = torch.randn(8, 32, 8, 8)
    layer(images)
    layer.double()
    torch.testing.assert_close(layer(images.double()), F.conv2d(images.double(), layer.weight, padding=1), atol=1e-11, rtol=0)
    layer.weight.data = torch.randn_like(layer.weight)
    torch.testing.assert_close(layer(images.double()), F.conv2d(images.double(), layer.weight, padding=1), atol=1e-11, rtol=0)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(2, 32, 8, 8), (32, 9, 7)], ids=["images", "an image"])
def test_a_convolution_of_single_pixels_in_bf16_is_torchs(shape, stride):
    layer, images = nn.Conv2d(32, 64, 1, stride=stride), torch.randn(shape)
    expected = F.conv2d(*(tensor.bfloat16() for tensor in (images, layer.weight, layer.bias)), stride=stride)
    found = with_cpu_layers(layer, native=True, half=True)(images)
    torch.testing.assert_close(found, expected.float(), atol=1e-2, rtol=1e-2)
    assert type(layer) is Half


def test_small_batches_in_bf16_are_torchs_own_in_bf16():
    layer = with_cpu_layers(nn.Conv2d(32, 64, 3, padding=1), native=True, half=True)
    images = torch.randn(1, 32, 8, 8)
    expected = F.conv2d(*(tensor.bfloat16() for tensor in (images, layer.weight, layer.bias)), padding=1)
    assert torch.equal(layer(images), expected.float())


@pytest.mark.parametrize("last", [True, False])
def test_a_layer_keeps_the_layout_of_its_images(last):
    layer, images = with_cpu_layers(nn.Conv2d(32, 64, 3, padding=1), native=True), torch.randn(3, 32, 16, 16)
    layout = torch.channels_last if last else torch.contiguous_format
    found = layer(images.to(memory_format=layout))
    assert found.is_contiguous(memory_format=layout)
    torch.testing.assert_close(found, nn.Conv2d.forward(layer, images), atol=1e-5, rtol=0)


def test_small_batches_are_left_to_torch():
    layer, images = with_cpu_layers(nn.Conv2d(32, 64, 3, padding=1), native=True), torch.randn(1, 32, 8, 8)
    assert torch.equal(layer(images), nn.Conv2d.forward(layer, images))


def test_a_block_leaves_a_network_as_it_was():
    network = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1))
    with cpu_layers_in(network, native=True):
        assert type(network[0]) is Winograd
    assert type(network[0]) is nn.Conv2d


@pytest.mark.parametrize("trained", [True, False])
def test_a_tiny_map_keeps_its_layout_and_its_values(trained):
    layer = with_cpu_layers(nn.Conv2d(16, 32, 3, padding=1, bias=False, dtype=torch.float64), native=True)
    layer.requires_grad_(trained)
    images = torch.randn(3, 16, 2, 2, dtype=torch.float64).to(memory_format=torch.channels_last)
    given = layer(images)
    assert given.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(given, F.conv2d(images, layer.weight, padding=1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("trained", [True, False])
def test_weights_that_are_trained_and_their_gradients_are_laid_out_as_usual(trained):
    network = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(32, 16, 3, stride=2), nn.Conv2d(16, 16, 3, padding=1))
    placed(network.requires_grad_(trained), Precision(channels_last=True, native=True), torch.device("cpu"))
    weights = [layer.weight for layer in network]
    assert [weight.is_contiguous() for weight in weights] == [trained] * 3
    if trained:
        network(torch.randn(9, 16, 9, 9).to(memory_format=torch.channels_last)).square().sum().backward()
        assert all(weight.grad.is_contiguous() for weight in weights)


@pytest.mark.parametrize("leaf", [True, False])
def test_only_gradients_that_are_asked_for_are_computed(monkeypatch, leaf):
    called = []
    made, convolve = winograd._kernel_gradient, winograd._convolve
    monkeypatch.setattr(winograd, "_kernel_gradient", lambda *of, **how: called.append("weight") or made(*of, **how))
    monkeypatch.setattr(winograd, "_convolve", lambda *of: called.append("images") or convolve(*of))
    images, weight, bias = (tensor.requires_grad_() for tensor in _pair((2, 8, 8), _wide(), _wide(2), bias=True))

    def layer():
        return convolved(*((images, weight) if leaf else (images * 1, weight * 1)), bias)

    def asked(*of, bias_too=False):
        found = layer()
        called.clear()
        torch.autograd.grad(found.sum(), [*of, *([bias] if bias_too else [])])
        return sorted(called)

    assert asked(images) == ["images"]
    assert asked(weight) == ["weight"]
    assert asked(images, weight, bias_too=True) == ["images", "weight"]
    assert asked(bias_too=True) == []
    found = layer()
    (first,) = torch.autograd.grad(found.square().sum(), weight, create_graph=True)
    called.clear()
    torch.autograd.grad(first.square().sum(), images)
    assert sorted(called) == ["images"] * 3  # of the kernel's gradient by its two inputs, and back through the layer itself
    layer().sum().backward()
    assert images.grad is not None
    assert weight.grad is not None
