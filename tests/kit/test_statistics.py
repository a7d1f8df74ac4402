from __future__ import annotations

import pytest
import torch

from ddbench.kit import Segments, group_statistics, segment_norms, statistics
from ddbench.kit.statistics import norm_with_statistics
from ddbench.training import native
from ddbench.training.norms import Joined

SIZES = [3, 1, 5]


def drawn(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_gradients_of_group_statistics_are_right(groups, layout):
    inputs = drawn(6, 4, 3, 2).contiguous(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: group_statistics(x, groups), (inputs,))


@pytest.fixture
def own_kernels(monkeypatch):
    """A CPU with CUDA's kernel for an affine map of each channel, so that what is built on it is tested anywhere."""

    def elemt(x, weight, bias, mean, invstd, _eps):
        columns = (one.view(-1, 1, 1) for one in (mean, invstd * weight, bias))
        mean, scale, bias = columns
        return (x - mean) * scale + bias

    monkeypatch.setattr(statistics, "OWN_AFFINE", {"cpu"})
    monkeypatch.setattr(torch, "batch_norm_elemt", elemt)


@pytest.mark.parametrize("groups", [1, 3])
def test_the_gradients_by_own_kernels_are_right(own_kernels, groups):
    inputs = drawn(6, 4, 3, 2).requires_grad_()
    norm = torch.nn.BatchNorm2d(4).double().eval().requires_grad_(requires_grad=False)
    for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        values.copy_(drawn(4).abs() + 0.5)
    assert torch.autograd.gradcheck(lambda x: group_statistics(x, groups), (inputs,))

    def joined(x):
        output, told = norm_with_statistics(norm, x, groups)
        return output, *told

    assert torch.autograd.gradcheck(joined, (inputs,))
    for found, expected in zip(joined(inputs), (norm(inputs), *group_statistics(inputs, groups)), strict=True):
        assert torch.allclose(found, expected, atol=1e-12)


def frozen_norm(channels: int, dtype: torch.dtype = torch.float64) -> torch.nn.BatchNorm2d:
    norm = torch.nn.BatchNorm2d(channels).to(dtype).eval().requires_grad_(requires_grad=False)
    for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        values.copy_(drawn(channels, dtype=dtype).abs() + 0.5)
    return norm


@pytest.mark.skipif(native.compiler() is None, reason="this machine has no C compiler")
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("shortcut", [None, torch.channels_last, torch.contiguous_format])
def test_a_norm_by_kernels_of_ours_is_the_norm_and_the_statistics(shortcut, groups, rectify, monkeypatch):
    taken = []
    frozen = statistics.norms.frozen
    monkeypatch.setattr(statistics.norms, "frozen", lambda *of, **how: taken.append(1) or frozen(*of, **how))
    norm, inputs = frozen_norm(8), [drawn(6, 8, 3, 2).contiguous(memory_format=torch.channels_last).requires_grad_()]
    if shortcut is not None:
        inputs.append(drawn(6, 8, 3, 2, seed=5).contiguous(memory_format=shortcut).requires_grad_())

    def joined(x, added=None, *, ours):
        output, told = norm_with_statistics(norm, x, groups, native=ours, joined=Joined(rectify, added))
        return output, *told

    assert bool((joined(*inputs, ours=True)[0] < 0).any()) != rectify
    assert torch.autograd.gradcheck(lambda *x: joined(*x, ours=True), inputs)
    upstream = [drawn(*part.shape) for part in joined(*inputs, ours=False)]
    gradients = []
    for ours in (True, False):
        taken.clear()
        found = joined(*inputs, ours=ours)
        assert len(taken) == ours
        gradients.append((*found, *torch.autograd.grad(found, inputs, upstream)))
    for mine, theirs in zip(*gradients, strict=True):
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.skipif(native.compiler() is None, reason="this machine has no C compiler")
def test_kernels_of_ours_refuse_groups_that_are_not_equal():
    inputs = drawn(6, 16, 3, 2).contiguous(memory_format=torch.channels_last)
    for groups in (4, 7, 0):
        with pytest.raises(ValueError, match=f"6 images are no {groups} equal groups"):
            norm_with_statistics(frozen_norm(16), inputs, groups, native=True)


@pytest.mark.skipif(native.compiler() is None, reason="this machine has no C compiler")
def test_kernels_of_ours_take_statistics_of_any_stride_and_dtype_and_keep_nan():
    inputs, norm = drawn(4, 16, 3, 2).contiguous(memory_format=torch.channels_last), frozen_norm(16)
    norm.running_mean, norm.running_var = drawn(32)[::2], norm.running_var.float()
    norm.weight = torch.nn.Parameter(drawn(32)[::2], requires_grad=False)
    inputs[0, 0, 0, 0] = torch.nan
    found, _ = norm_with_statistics(norm, inputs, 2, native=True, joined=Joined(rectify=True))
    shape = (1, -1, 1, 1)
    slope = norm.weight / torch.sqrt(norm.running_var.double() + norm.eps)
    expected = ((inputs - norm.running_mean.view(shape)) * slope.view(shape) + norm.bias.view(shape)).relu()
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10, equal_nan=True)
    assert bool(found[0, 0, 0, 0].isnan())


@pytest.mark.skipif(native.compiler() is None, reason="this machine has no C compiler")
def test_what_is_added_may_have_another_shape():
    norm, inputs = frozen_norm(16), drawn(4, 16, 3, 2).contiguous(memory_format=torch.channels_last).requires_grad_()
    added = drawn(1, 16, 1, 1).requires_grad_()
    found, expected = (
        (norm_with_statistics(norm, inputs, 2, native=ours, joined=Joined(True, added))[0]) for ours in (True, False)
    )
    assert torch.allclose(found, expected, atol=1e-12)
    for one, other in zip(*(torch.autograd.grad(out.square().sum(), (inputs, added)) for out in (found, expected)), strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_a_norm_without_bias_is_left_to_torch():
    norm, inputs = frozen_norm(16), drawn(4, 16, 3, 2).contiguous(memory_format=torch.channels_last)
    norm.bias = None
    output, _ = norm_with_statistics(norm, inputs, 2, native=True)
    assert torch.equal(output, norm(inputs))


@pytest.mark.skipif(native.compiler() is None, reason="this machine has no C compiler")
def test_statistics_by_kernels_of_ours_are_exact_far_from_the_running_ones():
    inputs, norm = drawn(6, 16, 16, 16, dtype=torch.float32) + 1000, frozen_norm(16, torch.float32)
    _, (mean, var) = norm_with_statistics(norm, inputs.contiguous(memory_format=torch.channels_last), 2, native=True)
    exact = group_statistics(inputs.double(), 2)
    assert torch.allclose(mean.double(), exact[0], rtol=1e-6)
    assert torch.allclose(var.double(), exact[1], rtol=1e-3)


def test_a_norm_that_does_not_suit_is_left_to_torch():
    norm, inputs = frozen_norm(6), drawn(2, 6, 3, 3)  # channels that fill no vector, and the usual layout
    output, _ = norm_with_statistics(norm, inputs, 1, native=True)
    assert torch.equal(output, norm(inputs))


def test_group_statistics_are_those_of_each_group_alone():
    inputs = drawn(6, 4, 3, 2) * 3 + 5
    mean, var = group_statistics(inputs, 3)
    for group in range(3):
        values = inputs[2 * group : 2 * group + 2].transpose(0, 1).flatten(1)
        assert torch.allclose(mean[group], values.mean(1), atol=1e-12)
        assert torch.allclose(var[group], values.var(1, unbiased=False), atol=1e-12)


def test_statistics_do_not_depend_on_the_order_of_a_groups_images():
    inputs = drawn(5, 4, 3, 2)
    first, second = group_statistics(inputs, 1), group_statistics(inputs[[3, 0, 4, 1, 2]], 1)
    assert all(torch.allclose(one, other, atol=1e-14) for one, other in zip(first, second, strict=True))


def test_shift_and_scale_act_on_statistics_as_they_must():
    inputs = drawn(5, 4, 3, 2)
    mean, var = group_statistics(inputs, 1)
    moved_mean, moved_var = group_statistics(inputs * 2 + 100, 1)
    assert torch.allclose(moved_mean, 2 * mean + 100)
    assert torch.allclose(moved_var, 4 * var)


def test_bfloat16_activations_have_float32_statistics_and_bfloat16_gradients():
    inputs = (drawn(8, 4, 6, 6) + 3).bfloat16().requires_grad_()
    mean, var = group_statistics(inputs, 2)
    assert mean.dtype == var.dtype == torch.float32
    wide_mean, wide_var = group_statistics(inputs.detach().double(), 2)
    assert torch.allclose(mean.double(), wide_mean, atol=1e-5)
    assert torch.allclose(var.double(), wide_var, atol=1e-5)
    assert torch.autograd.grad(var.sum(), inputs)[0].dtype == torch.bfloat16


def test_segment_norms_are_the_norms_of_each_layer():
    values = drawn(2, sum(SIZES))
    expected = torch.stack([part.norm(dim=1) for part in values.split(SIZES, dim=1)], dim=1)
    assert torch.allclose(segment_norms(values, Segments.from_sizes(SIZES)), expected, atol=1e-14)


def test_the_gradients_of_segment_norms_are_right():
    segments = Segments.from_sizes(SIZES)
    assert torch.autograd.gradcheck(lambda v: segment_norms(v, segments), (drawn(2, sum(SIZES)).requires_grad_(),))


def test_the_gradient_of_a_layer_already_met_is_zero():
    values = drawn(1, sum(SIZES))
    values[:, 3] = 0
    values.requires_grad_()
    (grad,) = torch.autograd.grad(segment_norms(values, Segments.from_sizes(SIZES)).sum(), values)
    assert grad[0, 3] == 0
    assert torch.allclose(grad[:, :3], values[:, :3] / values[:, :3].norm())


def test_padding_shorter_layers_adds_nothing_to_a_norm():
    norms = segment_norms(torch.ones(1, 9, dtype=torch.float64), Segments.from_sizes(SIZES))
    assert torch.allclose(norms, torch.tensor([[3.0, 1.0, 5.0]], dtype=torch.float64).sqrt())
