"""What a batch is shown: draws of an epoch, pairing between sets, and what its views are made of."""

from __future__ import annotations

import pytest
import torch

from ddbench.api.protocol import Augment, Mix, Optimiser, Schedule, batch_sizes
from ddbench.training.recipe import Recipe
from ddbench.training.students import held
from ddbench.training.views import draw_epoch, normalised, view

CPU = torch.device("cpu")


def _recipe(*augment, mix=None, batch=10):
    return Recipe(
        Optimiser(name="sgd", lr=0.1, weight_decay=0.0), Schedule(name="constant"), batch=batch, epochs=2, augment=augment, mix=mix
    )


EVERYTHING = _recipe(
    Augment(name="crop", pad=2), Augment(name="flip"), Augment(name="rrc"), Augment(name="dsa"), mix=Mix(name="cutmix", alpha=1.0)
)


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own(toy):
    source = held(toy(24), CPU)
    orders = [
        torch.cat([drawn.index for drawn in draw_epoch(_recipe(), source, seed=("views", 0), epoch=epoch)]) for epoch in (0, 1)
    ]
    for order in orders:
        assert sorted(order.tolist()) == list(range(24))
    assert not torch.equal(*orders)


@pytest.mark.parametrize(
    ("images", "batch", "sizes"),
    [
        (100, 128, [100]),
        (24, 10, [10, 10, 4]),
        (20, 10, [10, 10]),
        (21, 10, [10, 11]),
        (1, 10, [1]),
        (11, 10, [11]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_a_last_partial_batch_is_kept_and_a_single_image_joins_the_batch_before(images, batch, sizes):
    assert batch_sizes(images, batch) == sizes


def test_no_batch_is_empty_of_meaning():
    with pytest.raises(ValueError, match="at least one image"):
        batch_sizes(0, 10)


def test_an_epoch_can_be_drawn_without_those_before_it(toy):
    source = held(toy(24), CPU)
    alone = draw_epoch(EVERYTHING, source, seed=("views", 0), epoch=5)
    for epoch in range(5):
        draw_epoch(EVERYTHING, source, seed=("views", 0), epoch=epoch)
    after = draw_epoch(EVERYTHING, source, seed=("views", 0), epoch=5)
    for a, b in zip(alone, after, strict=True):
        assert torch.equal(view(source, EVERYTHING, a), view(source, EVERYTHING, b))


def test_sets_of_equal_size_share_order_augmentation_and_mixing(toy):
    one, other = (held(toy(24, seed=seed), CPU) for seed in (0, 1))
    for a, b in zip(
        draw_epoch(EVERYTHING, one, seed=("views", 3), epoch=1),
        draw_epoch(EVERYTHING, other, seed=("views", 3), epoch=1),
        strict=True,
    ):
        assert torch.equal(a.index, b.index)
        assert a.groups == b.groups
        assert all(torch.equal(x, y) for x, y in zip(a.augment, b.augment, strict=True))
        assert (a.mix.coefficient, a.mix.box) == (b.mix.coefficient, b.mix.box)
        assert torch.equal(a.mix.partner, b.mix.partner)


def test_other_seeds_and_other_purposes_draw_differently(toy):
    source = held(toy(24), CPU)
    orders = {
        tuple(draw_epoch(_recipe(batch=24), source, seed=key, epoch=0)[0].index.tolist()) for key in (("a", 0), ("a", 1), ("b", 0))
    }
    assert len(orders) == 3


def test_draws_leave_the_global_generator_alone(toy):
    before = torch.get_rng_state()
    source = held(toy(24), CPU)
    view(source, EVERYTHING, draw_epoch(EVERYTHING, source, seed=("views", 0), epoch=0)[0])
    assert torch.equal(before, torch.get_rng_state())


def test_a_view_is_the_recipes_steps_in_order_then_mixing(toy):
    data = toy(24)
    recipe = _recipe(Augment(name="shift", pixels=1), Augment(name="flip"), mix=Mix(name="mixup", alpha=0.8))
    source = held(data, CPU)
    drawn = draw_epoch(recipe, source, seed=("views", 0), epoch=0)[1]
    shown = []
    for place, (top, left), u in zip(
        drawn.index.tolist(), drawn.augment[0].tolist(), drawn.augment[1].flatten().tolist(), strict=True
    ):
        pixels = torch.nn.functional.pad(data.images[place], (1, 1, 1, 1))[:, top : top + 6, left : left + 6]
        image = (pixels / 255 - data.mean.view(3, 1, 1)) / data.std.view(3, 1, 1)
        shown.append(image.flip(-1) if u < 0.5 else image)
    shown = torch.stack(shown)
    expected = drawn.mix.coefficient * shown + (1 - drawn.mix.coefficient) * shown[drawn.mix.partner]
    torch.testing.assert_close(view(source, recipe, drawn), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("space", ["unit", "normalised"])
def test_float_sets_are_padded_with_black_like_the_same_pixels_in_bytes(toy, space):
    from dataclasses import replace

    data = toy(24)
    unit = data.images / 255
    images = unit if space == "unit" else normalised(unit, data.mean, data.std)
    recipe = _recipe(Augment(name="crop", pad=3), Augment(name="rrc"))
    sources = [held(data, CPU), held(replace(data, images=images, space=space), CPU)]
    views = [view(source, recipe, draw_epoch(recipe, source, seed=("views", 0), epoch=0)[0]) for source in sources]
    torch.testing.assert_close(*views, atol=1e-5, rtol=0)


def test_whitened_sets_are_used_as_they_are_and_padded_with_zeros(toy):
    from dataclasses import replace

    images = torch.randn(24, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    source = held(replace(toy(24), images=images, space="zca"), CPU)
    assert torch.equal(source.fetch(torch.tensor([3, 1])), images[[3, 1]])
    assert source.fill.tolist() == [0.0, 0.0, 0.0]
