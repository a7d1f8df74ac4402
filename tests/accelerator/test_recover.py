from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from plain.recover import PlainJob, plain_recover

from ddbench import Precision
from ddbench.kit import Pixels, RecoverRecipe, Start, TappedTeacher, recover, views_of
from ddbench.kit.descent import Descent
from ddbench.kit.statistics import group_statistics, norm_with_statistics
from ddbench.seeding import generator_for
from ddbench.training.graphs import WARM_UPS, Replayed, recorder_of
from ddbench.training.precision import device_abilities, forget_compiled
from ddbench_plugins.sre2l import Sre2lOptions

GROUPS, BATCH, STEPS, SHAPE = 2, 10, 12, (3, 32, 32)
RECOVER = sys.modules["ddbench.kit.recover"]


def start_of(recipe, device, dtype=torch.float32):
    images = torch.randn(GROUPS * BATCH, *SHAPE, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    labels = torch.arange(BATCH).repeat(GROUPS)
    views = views_of(recipe.view_rule, recipe.iterations, SHAPE[1:], [generator_for("test", group) for group in range(GROUPS)])
    return Start(images.to(device, dtype), labels.to(device), views.to(device))


def pixels_on(device, dtype=torch.float32):
    values = ((0.45, 0.5, 0.55), (0.2, 0.25, 0.3))
    return Pixels(*(torch.tensor(one, device=device, dtype=dtype).view(-1, 1, 1) for one in values))


def frozen(network, device, dtype=torch.float32):
    return network("convnet3-bn").to(device, dtype).eval().requires_grad_(requires_grad=False)


@pytest.fixture
def recipe():
    return replace(RecoverRecipe.of(Sre2lOptions()), iterations=STEPS)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("groups", [1, 3])
def test_statistics_and_their_gradient_are_those_of_float64(device, layout, dtype, tolerance, groups):
    inputs = (torch.randn(12, 8, 5, 6, generator=torch.Generator().manual_seed(2)) + 3).to(device, dtype).to(memory_format=layout)
    factors = torch.randn(2, groups, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(device)

    def told(function, given):
        given = given.detach().clone().requires_grad_()
        found = function(given)
        total = sum((one.double() * factor).sum() for one, factor in zip(found, factors, strict=True))
        return [*(one.detach() for one in found), *torch.autograd.grad(total, given)]

    def exactly(given):
        var, mean = torch.var_mean(given.view(groups, -1, *given.shape[1:]), dim=(1, 3, 4), correction=0)
        return mean, var

    expected = told(exactly, inputs.double().contiguous())
    for found, exact in zip(told(lambda given: group_statistics(given, groups), inputs), expected, strict=True):
        assert float((found - exact).norm() / exact.norm()) < tolerance


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("groups", [1, 3])
def test_a_frozen_norm_with_statistics_is_both_of_them(device, layout, dtype, tolerance, groups):
    generator = torch.Generator().manual_seed(2)
    inputs = (torch.randn(12, 8, 5, 6, generator=generator) + 1).to(device, dtype).to(memory_format=layout)
    norm = torch.nn.BatchNorm2d(8).double().eval().requires_grad_(requires_grad=False)
    for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        values.copy_(torch.rand(8, generator=generator) + 0.5)
    factors = [torch.randn(*size, generator=generator).to(device) for size in ((12, 8, 5, 6), (groups, 8), (groups, 8))]

    def told(given, norm, join):
        given = given.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        output, (mean, var) = join(norm, given, groups)
        found = (output, mean, var)
        total = sum((one.double() * factor).sum() for one, factor in zip(found, factors, strict=True))
        return [*(one.detach() for one in found), *torch.autograd.grad(total, given)]

    expected = told(inputs.double(), norm.to(device), lambda norm, given, groups: (norm(given), group_statistics(given, groups)))
    narrow = norm if dtype == torch.float64 else norm.float()
    for found, exact in zip(told(inputs, narrow, norm_with_statistics), expected, strict=True):
        assert float((found - exact).norm() / exact.norm()) < tolerance


@pytest.mark.parametrize("view", ["roll", "rrc_flip_roll"])
def test_float64_is_the_plain_implementation_group_by_group(device, network, recipe, view):
    """Learning rates are rounded to float32 there, as the fused kernel reads them, which is what the tolerance is for."""
    recipe, wide = replace(recipe, view=view), torch.float64
    teacher, start, pixels = frozen(network, device, wide), start_of(recipe, device, wide), pixels_on(device, wide)
    made = recover(TappedTeacher(teacher, SHAPE), start, recipe, pixels=pixels)
    for group in range(GROUPS):
        rows = slice(group * BATCH, (group + 1) * BATCH)
        job = PlainJob(start.images[rows], start.labels[rows], start.views[:, group])
        expected = plain_recover(teacher, job, recipe=recipe, pixels=pixels)
        assert float((made[rows] - expected).abs().max()) < 1e-5


def test_recorded_steps_are_the_steps(device, network, recipe, monkeypatch):
    tapped, pixels = TappedTeacher(frozen(network, device, torch.float64), SHAPE), pixels_on(device, torch.float64)
    recorded = recover(tapped, start_of(recipe, device, torch.float64), recipe, pixels=pixels)
    assert not tapped.notes
    monkeypatch.setattr(RECOVER, "recorder_of", lambda _: None)
    taken = recover(tapped, start_of(recipe, device, torch.float64), recipe, pixels=pixels)
    assert float((recorded - taken).abs().max()) < 1e-9


@pytest.mark.filterwarnings("default")
def test_bf16_compiled_and_recorded_stays_near_float32(device, network, recipe):
    if not device_abilities(device).compiler:
        pytest.skip("no compiler for this device")
    made = {}
    for precision in (Precision(), Precision("bf16", compile=True, channels_last=True)):
        forget_compiled(precision)
        tapped = TappedTeacher(frozen(network, device), SHAPE, precision)
        made[precision.dtype] = recover(tapped, start_of(recipe, device), recipe, pixels=pixels_on(device))
        assert not tapped.notes
    moved = (made["fp32"] - start_of(recipe, device).images).abs().median()
    assert float((made["bf16"] - made["fp32"]).abs().median()) < 0.2 * float(moved)


@pytest.mark.parametrize("view", ["roll", "rrc_flip_roll"])
def test_no_step_makes_the_host_wait(device, network, recipe, unhindered, view):
    recipe = replace(recipe, view=view)
    descent = Descent(TappedTeacher(frozen(network, device), SHAPE), start_of(recipe, device), recipe, pixels_on(device))
    step = Replayed(descent.step, recorder_of(device), pytest.fail)
    with unhindered():
        descent.step()
    for _ in range(WARM_UPS + 1):
        step()
    with unhindered():
        step()


def test_a_wait_is_told(device, unhindered):
    with pytest.raises(AssertionError, match="test_recover"), unhindered():
        torch.ones(1, device=device).item()
