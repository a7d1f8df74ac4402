from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision
from plain.recover import Hooked, PlainJob, plain_recover, plain_view
from torch import nn

from ddbench import Options, Precision
from ddbench.errors import BadOption
from ddbench.kit import Start, TappedTeacher, recover, views_of
from ddbench.kit.descent import layer_weights, recover_loss
from ddbench.seeding import generator_for, seeded_globally
from ddbench.training import native
from ddbench.training.cpu_layers import Winograd

needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="this machine has no C compiler")

GROUPS, BATCH, SHAPE = 3, 4, (3, 8, 8)


def start_of(recipe, *, groups=GROUPS, dtype=torch.float64) -> Start:
    generator = torch.Generator().manual_seed(9)
    images = torch.randn(GROUPS * BATCH, *SHAPE, generator=generator, dtype=torch.float64)[: groups * BATCH]
    labels = torch.randint(4, (GROUPS * BATCH,), generator=generator)[: groups * BATCH]
    views = views_of(recipe.view_rule, recipe.iterations, SHAPE[1:], [generator_for("test", group) for group in range(groups)])
    return Start(images.to(dtype), labels, views)


def part(start: Start, group: int) -> Start:
    rows = slice(group * BATCH, (group + 1) * BATCH)
    return Start(start.images[rows], start.labels[rows], start.views[:, group : group + 1], start.first_gradient)


def plainly(teacher, start: Start, recipe, pixels, **more) -> torch.Tensor:
    """Return what the plain implementation makes of each group, one after another."""
    made = []
    for group in range(start.views.shape[1]):
        one = part(start, group)
        job = PlainJob(one.images, one.labels, one.views[:, 0], one.first_gradient)
        made.append(plain_recover(teacher, job, recipe=recipe, pixels=pixels, **more))
    return torch.cat(made)


VARIANTS = [
    {},
    {"view": "rrc_flip_roll"},
    {"tv_l2": 0.02, "l2_scale": 0.03},
    {"first_bn": 1.0, "r_var": 11.0, "lr": 0.25},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_fifty_steps_in_float64_are_those_of_the_plain_implementation(teacher, recipe, pixels, variant):
    recipe = replace(recipe, iterations=50, **variant)
    start = start_of(recipe)
    made = recover(TappedTeacher(teacher, SHAPE), start, recipe, pixels=pixels)
    assert torch.allclose(made, plainly(teacher, start, recipe, pixels), rtol=0, atol=1e-8)


WINOGRAD = Precision(channels_last=True, native=True)


@needs_compiler
def test_fifty_steps_by_winograd_are_those_of_the_plain_implementation_in_float64(wide_teacher, recipe, pixels):
    recipe = replace(recipe, iterations=50)
    start, tapped = start_of(recipe), TappedTeacher(wide_teacher(), SHAPE, WINOGRAD)
    assert [type(tapped.network[place]) for place in (3, 6)] == [Winograd, Winograd]
    stacked = recover(tapped, start, recipe, pixels=pixels)
    assert torch.allclose(stacked, plainly(wide_teacher(), start, recipe, pixels), rtol=0, atol=1e-8)
    separate = [recover(tapped, part(start, group), recipe, pixels=pixels) for group in range(GROUPS)]
    assert torch.allclose(stacked, torch.cat(separate), rtol=0, atol=1e-8)


@needs_compiler
def test_winograd_in_float32_differs_from_the_plain_implementation_by_rounding_only(wide_teacher, recipe, pixels):
    recipe = replace(recipe, iterations=10, lr=0.02)
    start = start_of(recipe, dtype=torch.float32)
    narrow = replace(pixels, mean=pixels.mean.float(), std=pixels.std.float())
    made = recover(TappedTeacher(wide_teacher().float(), SHAPE, WINOGRAD), start, recipe, pixels=narrow)
    exact = plainly(wide_teacher(), replace(start, images=start.images.double()), recipe, pixels)
    assert float((made.double() - exact).abs().median()) < 1e-5
    assert float((made.double() - exact).abs().max()) < 1e-2


def test_weights_that_take_gradients_in_vain_change_no_image(teacher, recipe, pixels):
    """As DWA's release leaves them for all of recover."""
    start = start_of(recipe, groups=1)
    made = recover(TappedTeacher(teacher, SHAPE), start, recipe, pixels=pixels)
    assert torch.allclose(made, plainly(teacher, start, recipe, pixels, frozen=False), rtol=0, atol=1e-10)


def test_float32_differs_from_the_plain_implementation_by_rounding_only(teacher, recipe, pixels):
    recipe = replace(recipe, iterations=10, lr=0.02)
    start = start_of(recipe, dtype=torch.float32)
    narrow = replace(pixels, mean=pixels.mean.float(), std=pixels.std.float())
    made = recover(TappedTeacher(teacher.float(), SHAPE), start, recipe, pixels=narrow)
    exact = plainly(teacher.double(), replace(start, images=start.images.double()), recipe, pixels)
    assert float((made.double() - exact).abs().median()) < 1e-5
    assert float((made.double() - exact).abs().max()) < 1e-2


def test_stacked_jobs_are_separate_jobs_over_fifty_steps(teacher, recipe, pixels):
    recipe = replace(recipe, iterations=50)
    start, tapped = start_of(recipe), TappedTeacher(teacher, SHAPE)
    stacked = recover(tapped, start, recipe, pixels=pixels)
    separate = [recover(tapped, part(start, group), recipe, pixels=pixels) for group in range(GROUPS)]
    assert torch.allclose(stacked, torch.cat(separate), rtol=0, atol=1e-8)


@pytest.mark.parametrize("precision", [Precision(), pytest.param(WINOGRAD, marks=needs_compiler)], ids=["torch", "winograd"])
def test_resnet18_has_the_gradient_of_the_plain_implementation(recipe, precision):
    with seeded_globally(1):
        network = torchvision.models.resnet18(num_classes=4)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    network = network.double().eval().requires_grad_(requires_grad=False)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    labels, view = torch.arange(4), torch.tensor([[3, 1]])
    tapped = TappedTeacher(network, (3, 32, 32), precision)
    loss, _, _ = recover_loss(tapped, images, labels, view, (layer_weights(tapped, recipe), 0.0, 0.0))
    (fast,) = torch.autograd.grad(loss, images)
    hooked = Hooked(network)
    plain_loss = nn.functional.cross_entropy(network(plain_view(images, view[0].tolist())), labels)
    plain_loss = plain_loss + recipe.r_bn * hooked.term(recipe.first_bn, recipe.r_var)
    (plain,) = torch.autograd.grad(plain_loss, images)
    assert torch.allclose(loss, plain_loss, rtol=1e-10)
    assert torch.allclose(fast, plain, rtol=0, atol=1e-8)
    assert len(tapped.layer_names) == 20


def test_reported_losses_are_group_means(teacher, recipe, pixels):
    recipe = replace(recipe, iterations=1)
    start, tapped = start_of(recipe), TappedTeacher(teacher, SHAPE)

    def reported(start: Start) -> torch.Tensor:
        seen = []
        recover(tapped, start, recipe, pixels=pixels, watch=lambda _, ce, bn: seen.append(torch.stack([ce, bn])))
        return seen[0]

    assert torch.allclose(reported(start), torch.stack([reported(part(start, group)) for group in range(GROUPS)]).mean(0))


def test_images_end_between_black_and_white(teacher, recipe, pixels):
    low, high = pixels.bounds()
    made = recover(TappedTeacher(teacher, SHAPE), start_of(recipe), recipe, pixels=pixels)
    assert bool(((made >= low) & (made <= high)).all())


def test_the_last_step_counts_whatever_its_loss(teacher, recipe, pixels):
    seen = []
    made = recover(
        TappedTeacher(teacher, SHAPE),
        start_of(recipe),
        replace(recipe, lr=5.0),
        pixels=pixels,
        watch=lambda state, *_: seen.append(state.images.clone()),
    )
    assert len(seen) == recipe.iterations
    assert torch.equal(made, seen[-1])


def test_recover_leaves_start_and_weights_unchanged(teacher, recipe, pixels):
    start, tapped = start_of(recipe), TappedTeacher(teacher, SHAPE)
    images = start.images.clone()
    weights = {name: values.clone() for name, values in tapped.state_dict().items()}
    recover(tapped, start, recipe, pixels=pixels)
    assert torch.equal(start.images, images)
    assert all(torch.equal(values, weights[name]) for name, values in tapped.state_dict().items())
    assert all(parameter.grad is None for parameter in tapped.parameters())


def test_a_first_gradient_counts_once(teacher, recipe, pixels):
    recipe = replace(recipe, iterations=4)
    start = start_of(recipe, groups=1)
    gradient = torch.randn(start.images.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    start = replace(start, first_gradient=gradient)
    made = recover(TappedTeacher(teacher, SHAPE), start, recipe, pixels=pixels)
    assert torch.allclose(made, plainly(teacher, start, recipe, pixels), rtol=0, atol=1e-10)


@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_run_ends_with_the_same_bytes(teacher, recipe, pixels, stop):
    start, tapped = start_of(recipe), TappedTeacher(teacher, SHAPE)
    states = []

    def keep(state, *_) -> None:
        states.append(
            replace(state, images=state.images.clone(), exp_avg=state.exp_avg.clone(), exp_avg_sq=state.exp_avg_sq.clone())
        )

    whole = recover(tapped, start, recipe, pixels=pixels, watch=keep)
    again = recover(tapped, replace(start, resumed=states[stop - 1]), recipe, pixels=pixels)
    assert torch.equal(again, whole)


def test_the_rate_is_a_cosine_from_lr_towards_zero(recipe):
    recipe = replace(recipe, iterations=4, lr=2.0)
    assert [recipe.rate(step) for step in range(5)] == pytest.approx([2.0, 1.7071068, 1.0, 0.2928932, 0.0])


def test_layer_weights_give_the_first_layer_its_own(teacher, recipe):
    weights = layer_weights(TappedTeacher(teacher, SHAPE), replace(recipe, r_bn=0.5, r_var=3.0, first_bn=10.0))
    assert torch.allclose(weights, torch.tensor([[5.0, 0.5, 0.5], [15.0, 1.5, 1.5]], dtype=torch.float64))


def test_offsets_the_wrong_way_round_are_refused(recipe):
    with pytest.raises(BadOption, match=r"roll_low \(5\) is above roll_high \(3\)"):
        replace(recipe, roll_low=5)


def test_annealing_without_crops_is_refused(recipe):
    with pytest.raises(BadOption, match="needs crops"):
        replace(recipe, crop_annealing=0.5)


def test_a_recipe_takes_the_options_of_its_fields_names(recipe):
    class Wide(Options):
        rho: float = 1.0
        iterations: int = recipe.iterations
        batch: int = recipe.batch
        lr: float = recipe.lr
        r_bn: float = recipe.r_bn
        r_var: float = recipe.r_var
        first_bn: float = recipe.first_bn
        view: str = recipe.view
        roll_low: int = recipe.roll_low
        roll_high: int = recipe.roll_high
        crop_annealing: float = recipe.crop_annealing
        init: str = recipe.init
        jpeg: bool = recipe.jpeg
        tv_l2: float = recipe.tv_l2
        l2_scale: float = recipe.l2_scale

    assert type(recipe).of(Wide()) == recipe


def test_without_a_compiler_a_line_says_so_and_the_images_are_those_of_an_uncompiled_run(teacher, recipe, pixels, monkeypatch):
    def broken(function, **settings):
        def fail(*inputs):
            raise torch._dynamo.exc.BackendCompilerFailed(lambda: None, ValueError("no compiler"), None)

        return fail

    expected = recover(TappedTeacher(teacher, SHAPE), start_of(recipe), recipe, pixels=pixels)
    monkeypatch.setattr(torch, "compile", broken)
    tapped = TappedTeacher(teacher, SHAPE, Precision(compile=True))
    assert torch.equal(recover(tapped, start_of(recipe), recipe, pixels=pixels), expected)
    assert tapped.notes == ["compiling failed (BackendCompilerFailed): running uncompiled"]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("view", ["roll", "rrc_flip_roll"])
def test_compiled_and_eager_recover_agree(teacher, recipe, pixels, view):
    recipe = replace(recipe, iterations=50, view=view)
    start = start_of(recipe)
    eager = recover(TappedTeacher(teacher, SHAPE), start, recipe, pixels=pixels)
    compiled = recover(TappedTeacher(teacher, SHAPE, Precision(compile=True)), start, recipe, pixels=pixels)
    assert torch.allclose(compiled, eager, rtol=0, atol=1e-8)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_moved_weights_reach_what_is_compiled(teacher, recipe, pixels):
    compiled, eager = (TappedTeacher(teacher, SHAPE, Precision(compile=on)) for on in (True, False))
    for factor in (1.0, 1.5):
        moved = {name: values * factor for name, values in teacher.named_parameters()}
        compiled.load(moved)
        eager.load(moved)
        start = start_of(recipe)
        made = recover(compiled, start, recipe, pixels=pixels)
        assert torch.allclose(made, recover(eager, start, recipe, pixels=pixels), rtol=0, atol=1e-8)
