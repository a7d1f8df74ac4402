"""Batch norm with what follows it against torch's layers: values, gradients, buffers, and where it is left to torch."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from ddbench.training import batch_norm, cpu_layers, native
from ddbench.training.batch_norm import followed, normed, suits
from ddbench.training.cpu_layers import with_cpu_layers
from ddbench.training.norms import After, lanes
from ddbench.training.teaching import answering_copy
from norm_inputs import norm_inputs

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="this machine has no C compiler")

EVERY = [After(1e-5, rectify, halve) for rectify in (False, True) for halve in (False, True)]
LAST = torch.channels_last


def given(*shape, dtype=torch.float64):
    return norm_inputs(shape or (3, 4, 6), 2 * lanes(dtype), dtype)


def plainly(images, weight, bias, after):
    return after.plainly(F.batch_norm(images, None, None, weight, bias, training=True, eps=after.eps))


def chain(*, momentum=0.1, dtype=torch.float64):
    channels = 2 * lanes(dtype)
    return nn.Sequential(nn.BatchNorm2d(channels, momentum=momentum, dtype=dtype), nn.ReLU(), nn.AvgPool2d(2))


@pytest.fixture
def taken(monkeypatch):
    """Keep what follows each batch norm that is taken in one pass."""
    found = []
    monkeypatch.setattr(cpu_layers, "followed", lambda *inputs: found.append(inputs[2]) or followed(*inputs))
    return found


@pytest.mark.parametrize("after", EVERY, ids=str)
@pytest.mark.parametrize("shape", [(3, 4, 6), (1, 2, 2), (5, 32, 16)], ids=str)
def test_values_moments_and_gradients_are_those_of_torchs_layers(shape, after):
    inputs = [tensor.requires_grad_() for tensor in given(*shape)]
    (found, mean, variance), expected = normed(*inputs, after), plainly(*inputs, after)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    assert found.is_contiguous(memory_format=LAST)
    wanted, spread = torch.var_mean(inputs[0], (0, 2, 3), correction=0)[::-1]
    torch.testing.assert_close(mean, wanted, atol=1e-13, rtol=0)
    torch.testing.assert_close(variance, spread, atol=1e-12, rtol=0)
    upstream = torch.randn_like(expected)
    gradients = (torch.autograd.grad(outputs, inputs, upstream) for outputs in (found, expected))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-11, rtol=0)


@pytest.mark.parametrize("after", EVERY, ids=str)
def test_gradients_are_those_of_finite_differences_twice(after):
    inputs = [tensor.requires_grad_() for tensor in given(2, 2, 4)]
    assert gradcheck(lambda *tensors: normed(*tensors, after)[0], inputs, fast_mode=True)
    assert gradgradcheck(lambda *tensors: normed(*tensors, after)[0], inputs, fast_mode=True)


@pytest.mark.parametrize("asked", [0, 1, 2])
def test_only_what_is_asked_for_has_a_gradient_twice(asked):
    inputs = given()
    inputs[asked].requires_grad_()

    def second(found):
        (first,) = torch.autograd.grad(found.square().sum(), inputs[asked], create_graph=True)
        return torch.autograd.grad(first.square().sum(), inputs[asked])[0]

    torch.testing.assert_close(second(normed(*inputs, EVERY[3])[0]), second(plainly(*inputs, EVERY[3])), atol=1e-9, rtol=1e-9)


def test_float32_is_as_exact_as_torch():
    inputs = given(8, 32, 32, dtype=torch.float32)
    exact = plainly(*(tensor.double() for tensor in inputs), EVERY[0])
    mine = float((normed(*inputs, EVERY[0])[0] - exact).abs().max())
    theirs = float((plainly(*inputs, EVERY[0]) - exact).abs().max())
    assert mine < 2 * theirs + 1e-6


def test_threads_decide_no_bit():
    inputs, before = [tensor.requires_grad_() for tensor in given(5, 6, 8, dtype=torch.float32)], torch.get_num_threads()

    def found(threads):
        torch.set_num_threads(threads)
        try:
            outputs, *moments = normed(*inputs, EVERY[3])
            return [outputs, *moments, *torch.autograd.grad(outputs.square().sum(), inputs)]
        finally:
            torch.set_num_threads(before)

    assert all(torch.equal(one, two) for one, two in zip(found(1), found(2), strict=True))


@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0])
def test_running_statistics_move_as_torchs_do_and_serve_in_eval_mode(taken, momentum):
    plain, (images, _, _) = chain(momentum=momentum), given(4, 8, 8)
    ours = with_cpu_layers(copy.deepcopy(plain), native=True)
    for _ in range(3):
        torch.testing.assert_close(ours(images), plain(images), atol=1e-12, rtol=0)
    for name, mine, theirs in zip(plain.state_dict(), ours.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=0, msg=name)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), plain.eval()(images), atol=1e-12, rtol=0)
    assert taken == [After(1e-5, rectify=True, halve=True)] * 4


def test_a_teacher_that_answers_with_batch_statistics_moves_nothing(taken):
    network, (images, _, _) = with_cpu_layers(answering_copy(chain(), "batch"), native=True), given(4, 8, 8)
    before = copy.deepcopy(network.state_dict())
    found = network(images)
    torch.testing.assert_close(found, plainly(images, network[0].weight, network[0].bias, EVERY[3]), atol=1e-12, rtol=0)
    assert all(torch.equal(before[name], values) for name, values in network.state_dict().items())
    assert len(taken) == 1


@pytest.mark.parametrize("grad", [True, False])
def test_a_frozen_norm_is_left_to_torch_where_gradients_are_asked_for(taken, grad):
    network, (images, _, _) = with_cpu_layers(chain(), native=True).eval(), given(4, 8, 8)
    with nullcontext() if grad else torch.no_grad():
        network(images.requires_grad_())
    assert len(taken) == (not grad)


def test_what_does_not_suit_is_left_to_torch():
    (images, _, _), channels = given(), 2 * lanes(torch.float64)
    assert suits(nn.BatchNorm2d(channels).double(), images)
    assert suits(nn.BatchNorm2d(channels, track_running_stats=False).double().eval(), images.requires_grad_())
    assert not suits(nn.BatchNorm2d(channels, affine=False).double(), images)
    assert not suits(nn.BatchNorm2d(channels, momentum=None).double(), images)
    assert not suits(nn.BatchNorm2d(channels), images)
    assert not suits(nn.BatchNorm2d(channels).double(), images.detach().contiguous())
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        with_cpu_layers(chain(), native=True)(images[:1, :, :1, :1])


def test_the_backward_pass_of_our_own_runs_without_gradients_of_gradients(monkeypatch):
    called, backward = [], batch_norm._backward
    monkeypatch.setattr(batch_norm, "_backward", lambda *of: called.append(1) or backward(*of))
    inputs = [tensor.requires_grad_() for tensor in given()]
    torch.autograd.grad(normed(*inputs, EVERY[3])[0].sum(), inputs)
    assert called == [1]
    torch.autograd.grad(normed(*inputs, EVERY[3])[0].sum(), inputs, create_graph=True)
    assert called == [1]
