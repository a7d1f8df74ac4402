"""Gradient matching against a loop over classes in float64, a network's training between steps, and what must not matter."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import nn

from ddbench import Precision
from ddbench.api.protocol import DSA_GROUPS
from ddbench.errors import BadOption
from ddbench.seeding import generator_for
from ddbench.testing import ObjectiveConformance
from ddbench.training.dsa import dsa
from ddbench_plugins.matching import draws as drawing
from ddbench_plugins.matching.comparing import Comparison
from ddbench_plugins.matching.gradient import RELEASED, Gradient, GradientOptions, Loops, loops
from plain_matching import (
    a_job,
    batches,
    context,
    fresh,
    images_of,
    labels_of,
    plain,
    real_images,
    trained,
    uneven_dataset,
)

NETWORK = "convnet2-w8"
SPLIT = (0, 1, 2, 2, 1, 0, 0)


class TestContract(ObjectiveConformance):
    objective = Gradient()
    options: ClassVar = {"network": "toy/smooth", "batch_real": 6, "outer": 2, "inner": 2, "augment": "dsa"}


def begun(ctx, job, **options):
    return Gradient().start(ctx, GradientOptions(**{"network": NETWORK, "batch_real": 6, **options}), job)


def naive(ctx, job, images, step, *, network=None, count=6, strategy=None, distance="layerwise"):
    network = network or fresh(ctx, NETWORK, job, "gradient", step)
    found = batches(ctx, job, "gradient", step, count=count, strategy=strategy)
    return plain.dc_step(network, images, found, distance=distance)


def agree(found, expected):
    return torch.allclose(found[0], expected[0], rtol=1e-8, atol=0) and torch.allclose(found[1], expected[1], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("distance", ["layerwise", "mse", "cos"])
@pytest.mark.parametrize("strategy", [None, DSA_GROUPS])
def test_a_step_is_that_of_a_loop_over_classes(distance, strategy):
    ctx, job = context(), a_job()
    images = images_of(job)
    matching = begun(ctx, job, distance=distance, augment="dsa" if strategy else "none")
    for step in (0, 1, 7):
        expected = naive(ctx, job, images, step, strategy=strategy, distance=distance)
        assert agree(matching.loss_and_grad(images, labels_of(job), step), expected)


@pytest.mark.parametrize("group", [0, 2, 3])
def test_the_class_group_moves_no_number(group):
    ctx, job = context(uneven_dataset()), a_job(SPLIT)
    images = images_of(job)
    one = begun(ctx, job, class_group=1).loss_and_grad(images, labels_of(job), 3)
    assert agree(begun(ctx, job, class_group=group).loss_and_grad(images, labels_of(job), 3), one)
    assert agree(one, naive(ctx, job, images, 3))


def test_no_more_than_a_group_of_classes_has_its_graph_held(monkeypatch):
    ctx, job = context(), a_job()
    matching, held = begun(ctx, job, class_group=3), []
    compared = Comparison._compared
    monkeypatch.setattr(Comparison, "_compared", lambda self: held.append(self.places[2].unique().tolist()) or compared(self))
    matching.loss_and_grad(images_of(job), labels_of(job), 0)
    assert held == [[0, 1, 2], [3]]


@pytest.mark.parametrize("compiled", [False, True])
def test_real_images_in_passes_of_one_size_are_those_in_one_pass(monkeypatch, compiled):
    ctx, job = context(uneven_dataset()), a_job(SPLIT)
    images = images_of(job)
    whole = begun(ctx, job, batch_real=11).loss_and_grad(images, labels_of(job), 0)
    monkeypatch.setitem(drawing.CHUNK_PIXELS, "cpu", 4 * 64)
    parted = begun(ctx, job, batch_real=11)
    parted.precision = Precision(compile=compiled)  # rows are then filled up with images that count nothing
    sizes, quick = set(), parted._quick
    parted._quick = lambda *given: sizes.add(len(given[1])) or quick(*given)
    parted._quick.note = None
    assert agree(parted.loss_and_grad(images, labels_of(job), 0), whole)
    assert (sizes == {4}) is compiled


def test_batch_norm_holds_the_statistics_of_sixteen_real_images_a_class():
    ctx, job = context(), a_job()
    images = images_of(job)
    network = fresh(ctx, "convnet2-w8-bn", job, "gradient", 4)
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
    network(torch.cat([real_images(ctx, job, "gradient statistics", (4, label), 16) for label in range(4)]))
    for norm in norms:
        norm.eval()
    matching = begun(ctx, job, network="convnet2-w8-bn")
    matching.loss_and_grad(images, labels_of(job), 3)
    assert agree(matching.loss_and_grad(images, labels_of(job), 4), naive(ctx, job, images, 4, network=network))


def test_between_steps_the_network_trains_on_the_images_and_the_next_one_is_fresh():
    ctx, job, options = context(), a_job(), {"outer": 3, "inner": 2, "batch_net": 5, "lr_net": 0.1}
    matching = begun(ctx, job, **options)
    network = fresh(ctx, NETWORK, job, "gradient", 0)
    for step in range(4):
        images = images_of(job, seed=step)
        if step == 3:
            network = fresh(ctx, NETWORK, job, "gradient", 1)
        elif step:
            trained(network, images, labels_of(job), job, step, epochs=2, batch=5, lr=0.1)
        found = matching.loss_and_grad(images, labels_of(job), step)
        assert agree(found, naive(ctx, job, images, step, network=network))


def test_under_dsa_the_network_trains_on_images_augmented_one_by_one():
    ctx, job = context(), a_job()
    images, labels = images_of(job), labels_of(job)
    matching = begun(ctx, job, outer=2, inner=2, lr_net=0.1, augment="dsa")
    matching.loss_and_grad(images, labels, 0)
    network, generator = fresh(ctx, NETWORK, job, "gradient", 0), generator_for("gradient training", 0, 0, 1)
    for _ in range(2):
        rows = torch.randperm(len(images), generator=generator)
        plain.train_epoch(network, [(_as_drawn(images[rows], generator), labels[rows])], 0.1)
    expected = naive(ctx, job, images, 1, network=network, strategy=DSA_GROUPS)
    assert agree(matching.loss_and_grad(images, labels, 1), expected)


def _as_drawn(images, generator):
    """Return what `dsa` makes of float32 draws, in float64."""
    state = generator.get_state()
    dsa(images.float(), DSA_GROUPS, generator)
    after = generator.get_state()
    generator.set_state(state)
    made = dsa(images, DSA_GROUPS, generator)
    assert generator.get_state().equal(after)
    return made


def test_a_walk_killed_between_two_networks_goes_on_with_the_same_bytes():
    ctx, job, options = context(), a_job(), {"outer": 3, "inner": 2, "lr_net": 0.1, "augment": "dsa"}
    whole, images = begun(ctx, job, **options), images_of(job)
    for step in range(2):
        whole.loss_and_grad(images, labels_of(job), step)
    kept = {name: tensor.clone() for name, tensor in whole.state().items()}
    resumed = begun(ctx, job, **options)
    resumed.load(kept)
    for step in range(2, 5):
        expected = whole.loss_and_grad(images, labels_of(job), step)
        found = resumed.loss_and_grad(images, labels_of(job), step)
        assert all(a.equal(b) for a, b in zip(found, expected, strict=True))


def test_what_a_question_out_of_turn_did_is_undone_by_putting_the_state_back():
    ctx, job = context(), a_job()
    images, labels = images_of(job), labels_of(job)
    asked, left_alone = (begun(ctx, job, outer=3, lr_net=0.1) for _ in range(2))
    for matching in (asked, left_alone):
        matching.loss_and_grad(images, labels, 0)
    before = {name: tensor.clone() for name, tensor in asked.state().items()}
    asked.loss_and_grad(images, labels, 1)
    asked.load(before)
    assert asked.loss_and_grad(images, labels, 1)[1].equal(left_alone.loss_and_grad(images, labels, 1)[1])


def test_a_network_that_serves_one_step_is_no_state():
    matching = begun(context(), a_job())
    matching.loss_and_grad(images_of(a_job()), labels_of(a_job()), 0)
    assert dict(matching.state()) == {}


def test_a_set_that_is_the_real_batch_has_nothing_to_learn_under_the_same_augmentation():
    ctx, job = context(), a_job((0, 0, 0, 1, 1, 1))
    images = torch.cat([real_images(ctx, job, "gradient real", (5, label), 3) for label in (0, 1)])
    loss, _ = begun(ctx, job, batch_real=3, augment="dsa", distance="mse").loss_and_grad(images, labels_of(job), 5)
    assert float(loss) < 1e-20


def test_the_order_of_images_within_a_class_moves_only_their_gradients():
    ctx, job = context(), a_job()
    images, order = images_of(job), torch.tensor([4, 1, 6, 3, 0, 5, 2, 7])
    matching = begun(ctx, job, augment="dsa")
    loss, gradient = matching.loss_and_grad(images, labels_of(job), 2)
    swapped_loss, swapped = matching.loss_and_grad(images[order], labels_of(job), 2)
    assert torch.allclose(swapped_loss, loss, rtol=1e-10)
    assert torch.allclose(swapped, gradient[order], rtol=1e-7, atol=1e-10)


def test_parameters_that_no_image_reaches_are_left_out():
    class WithSpare(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Flatten(), nn.Linear(192, 4))
            self.spare = nn.Linear(3, 3)

        def forward(self, images):
            return self[1](self[0](images))

    ctx, job = context(build=WithSpare), a_job()
    loss, _ = begun(ctx, job).loss_and_grad(images_of(job), labels_of(job), 0)
    network = fresh(ctx, "any", job, "gradient", 0)
    assert torch.allclose(loss, naive(ctx, job, images_of(job), 0, network=nn.Sequential(network[0], network[1]))[0], rtol=1e-8)


def test_rows_that_point_the_same_way_are_at_distance_zero_and_opposite_ones_at_two():
    from ddbench_plugins.matching.dc import cos, layerwise, mse

    weight, bias = torch.randn(5, 3, 2, 2, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    scaled = [weight * torch.tensor([1.0, 2.0, -3.0, 4.0, -5.0]).view(5, 1, 1, 1), -bias]
    assert float(layerwise([weight, bias], scaled)) == pytest.approx(2 * 2, abs=1e-5)
    assert float(cos([weight, bias], [3 * weight, 3 * bias])) == pytest.approx(0, abs=1e-6)
    assert float(mse([weight, bias], [weight, bias + 2])) == pytest.approx(5 * 4)


@pytest.mark.parametrize("ipc", RELEASED)
def test_dcs_schedule_is_its_table(ipc):
    assert loops(GradientOptions(schedule="dc"), ipc) == Loops(*RELEASED[ipc])
    assert loops(GradientOptions(), ipc) == Loops(1, 1)
    assert loops(GradientOptions(schedule="dc", inner=7), ipc) == Loops(RELEASED[ipc][0], 7)


def test_an_ipc_that_the_table_lacks_is_refused_with_what_to_give():
    with pytest.raises(BadOption, match="no entry for ipc 2, only for 1, 10, 20, 30, 40, 50; give both"):
        begun(context(), a_job(), schedule="dc")
    assert loops(GradientOptions(schedule="dc", outer=4, inner=2), 2) == Loops(4, 2)


def test_the_work_of_a_step_counts_real_images_second_derivatives_and_training():
    facts = context(uneven_dataset()).train.facts
    plain_work = Gradient().work(GradientOptions(batch_real=8), facts, 30)
    assert plain_work.passes == 3 * (5 + 8 + 8) + 9 * 30
    assert (
        Gradient().work(GradientOptions(batch_real=8, outer=4, inner=10), facts, 30).passes
        == plain_work.passes + 3 * 30 * 10 * 0.75
    )


def in_float32(job, **precision):
    """Return the gradient of the first step in float32, flat, and the notes on what did not go as the precision says."""
    ctx = context(precision=Precision(**precision), dtype=torch.float32)
    loss, gradient = begun(ctx, job).loss_and_grad(images_of(job).float(), labels_of(job), 0)
    assert loss.dtype == gradient.dtype == torch.float32
    return gradient.flatten(), ctx.notes


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's compiler looks at it itself
def test_compiled_a_step_is_the_same_step():
    plainly, compiled = in_float32(a_job()), in_float32(a_job(), compile=True, channels_last=True)
    assert compiled[1] == []
    assert torch.allclose(plainly[0], compiled[0], rtol=1e-3, atol=1e-6)


def test_bf16_keeps_the_gradients_direction():
    directions = [in_float32(a_job(), dtype=dtype)[0] for dtype in ("fp32", "bf16")]
    assert float(torch.cosine_similarity(*directions, dim=0)) > 0.95
