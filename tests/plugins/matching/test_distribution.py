"""Distribution matching against a loop over classes in float64, and what must not matter to it."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from ddbench import Precision
from ddbench.api.protocol import DSA_GROUPS
from ddbench.errors import UnfitNetwork
from ddbench.testing import ObjectiveConformance
from ddbench_plugins.matching import draws as drawing
from ddbench_plugins.matching.distribution import Distribution, DistributionOptions
from plain_matching import a_job, batches, context, fresh, images_of, labels_of, plain, real_images, uneven_dataset

NETWORK = "convnet2-w8"
SPLIT = (0, 1, 2, 2, 1, 0, 0)


class TestContract(ObjectiveConformance):
    objective = Distribution()
    options: ClassVar = {"network": "toy/smooth", "batch_real": 6}


def begun(ctx, job, **options):
    return Distribution().start(
        ctx, DistributionOptions(**{"network": NETWORK, "batch_real": 6, "augment": "none", **options}), job
    )


def naive(ctx, job, images, step, *, network=NETWORK, count=6, strategy=None):
    drawn = fresh(ctx, network, job, "distribution", step).requires_grad_(False)
    embed = nn.Sequential(*list(drawn.children())[:-1])
    found = batches(ctx, job, "distribution", step, count=count, strategy=strategy)
    if not network.endswith("bn"):
        return plain.dm_step(embed, images, found)
    for part in embed.modules():
        part.train(isinstance(part, nn.BatchNorm2d))
    return plain.dm_step_together(embed, images, found)


def agree(found, expected):
    return torch.allclose(found[0], expected[0], rtol=1e-8, atol=0) and torch.allclose(found[1], expected[1], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("group", [0, 1, 3])
@pytest.mark.parametrize("strategy", [None, DSA_GROUPS])
def test_a_step_is_that_of_a_loop_over_classes(group, strategy):
    ctx, job = context(), a_job()
    images = images_of(job)
    matching = begun(ctx, job, class_group=group, augment="dsa" if strategy else "none")
    for step in (0, 1, 7):
        assert agree(matching.loss_and_grad(images, labels_of(job), step), naive(ctx, job, images, step, strategy=strategy))


def test_classes_of_unequal_size_and_in_any_order_are_matched_alike():
    ctx, job = context(uneven_dataset()), a_job(SPLIT)
    images = images_of(job)
    matching = begun(ctx, job, batch_real=8, class_group=2)
    assert agree(matching.loss_and_grad(images, labels_of(job), 3), naive(ctx, job, images, 3, count=8))


@pytest.mark.parametrize(("group", "largest"), [(1, 2), (3, 6), (0, 8)])
def test_no_more_than_a_group_of_classes_is_embedded_with_a_graph(monkeypatch, group, largest):
    ctx, job = context(), a_job()
    matching, held = begun(ctx, job, class_group=group), []
    whole = matching._passed
    monkeypatch.setattr(matching, "_passed", lambda images: held.append(len(images) * images.requires_grad) or whole(images))
    matching.loss_and_grad(images_of(job), labels_of(job), 0)
    assert max(held) == largest
    assert sum(held) == len(images_of(job))


@pytest.mark.parametrize("group", [0, 1])
def test_with_batch_norm_all_classes_share_a_pass_whatever_the_group(group):
    ctx, job = context(), a_job()
    images = images_of(job)
    matching = begun(ctx, job, network="convnet2-w8-bn", class_group=group)
    for step in (0, 4):
        expected = naive(ctx, job, images, step, network="convnet2-w8-bn")
        assert agree(matching.loss_and_grad(images, labels_of(job), step), expected)


def test_real_images_in_many_passes_are_those_in_one(monkeypatch):
    ctx, job = context(), a_job()
    images = images_of(job)
    whole = begun(ctx, job).loss_and_grad(images, labels_of(job), 0)
    monkeypatch.setitem(drawing.CHUNK_PIXELS, "cpu", 5 * 64)
    assert agree(begun(ctx, job).loss_and_grad(images, labels_of(job), 0), whole)


def test_a_set_that_is_the_real_batch_has_nothing_to_learn_under_the_same_augmentation():
    ctx, job = context(), a_job((0, 0, 0, 1, 1, 1))
    images = torch.cat([real_images(ctx, job, "distribution real", (step, label), 3) for step, label in ((5, 0), (5, 1))])
    loss, gradient = begun(ctx, job, batch_real=3, augment="dsa").loss_and_grad(images, labels_of(job), 5)
    assert float(loss) < 1e-20
    assert float(gradient.abs().max()) < 1e-10


def test_a_step_draws_the_same_whatever_was_drawn_before():
    ctx, job = context(), a_job()
    images, used = images_of(job), begun(ctx, job, augment="dsa")
    for step in range(3):
        used.loss_and_grad(images, labels_of(job), step)
    again = begun(ctx, job, augment="dsa").loss_and_grad(images, labels_of(job), 3)
    assert all(a.equal(b) for a, b in zip(used.loss_and_grad(images, labels_of(job), 3), again, strict=True))
    assert dict(used.state()) == {}


def test_steps_and_distill_seeds_draw_apart():
    ctx, job = context(), a_job()
    images, losses = images_of(job), set()
    for seed in (0, 1):
        matching = begun(ctx, replace(job, seed=seed))
        losses |= {float(matching.loss_and_grad(images, labels_of(job), step)[0]) for step in range(3)}
    assert len(losses) == 6


def test_the_order_of_images_within_a_class_moves_only_their_gradients():
    ctx, job = context(), a_job()
    images, order = images_of(job), torch.tensor([4, 1, 6, 3, 0, 5, 2, 7])
    matching = begun(ctx, job, augment="dsa")
    loss, gradient = matching.loss_and_grad(images, labels_of(job), 2)
    swapped_loss, swapped = matching.loss_and_grad(images[order], labels_of(job), 2)
    assert torch.allclose(swapped_loss, loss, rtol=1e-12)
    assert torch.allclose(swapped, gradient[order], rtol=1e-9, atol=1e-12)


def test_a_class_with_fewer_images_than_the_batch_gives_all():
    ctx, job = context(), a_job()
    images = images_of(job)
    found = begun(ctx, job, batch_real=500).loss_and_grad(images, labels_of(job), 0)
    assert agree(found, naive(ctx, job, images, 0, count=12))


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
    assert float(torch.cosine_similarity(*directions, dim=0)) > 0.98


def test_dropout_draws_nothing():
    body = [nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4)]
    ctx, job = context(build=lambda: nn.Sequential(*body)), a_job()
    before = torch.get_rng_state()
    first, second = (begun(ctx, job).loss_and_grad(images_of(job), labels_of(job), 0)[0] for _ in range(2))
    assert float(first) == float(second)
    assert torch.get_rng_state().equal(before)


def test_a_network_without_a_linear_classifier_is_refused_at_the_start():
    ctx = context(build=lambda: nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten()))
    with pytest.raises(UnfitNetwork, match="no linear layer"):
        begun(ctx, a_job())


def test_the_work_of_a_step_is_the_passes_it_makes():
    facts = context(uneven_dataset()).train.facts
    work = Distribution().work(DistributionOptions(batch_real=8), facts, 30)
    assert (work.network, work.passes) == ("convnet3", 5 + 8 + 8 + 3 * 30)
