"""Batched augmentation against one image at a time, written with loops or torchvision."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from ddbench.api.protocol import Augment
from ddbench.training.augment import augmented, crop, draw, draw_boxes, resized_crop

FILL = torch.tensor([-1.5, -1.25, -2.0])


def _images(count=5, height=9, width=7, seed=0):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("step", "pad"), [(Augment(name="crop", pad=4), 4), (Augment(name="shift", pixels=1), 1)])
def test_crop_and_shift_read_a_window_of_the_image_padded_with_black(step, pad):
    images = _images()
    drawn = draw(step, len(images), size=(9, 7), generator=_generator())
    result = augmented(images, step, drawn, fill=FILL)
    for image, out, (top, left) in zip(images, result, drawn.tolist(), strict=True):
        for channel in range(3):
            padded = torch.nn.functional.pad(image[channel], (pad,) * 4, value=float(FILL[channel]))
            assert torch.equal(out[channel], padded[top : top + 9, left : left + 7])


def test_crop_of_normalised_images_is_torchvisions_crop_of_pixels_then_normalised():
    pixels = torch.randint(0, 256, (4, 3, 8, 8), generator=_generator(), dtype=torch.uint8)
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.25]).view(3, 1, 1)
    offsets = draw(Augment(name="crop", pad=4), 4, size=(8, 8), generator=_generator(1))
    ours = crop((pixels / 255 - mean) / std, offsets, pad=4, fill=(-mean / std).flatten())
    for image, out, (top, left) in zip(pixels, ours, offsets.tolist(), strict=True):
        theirs = tv.crop(tv.pad(image, [4, 4, 4, 4], fill=0), top, left, 8, 8)
        assert torch.equal(out, (theirs / 255 - mean) / std)


def test_offsets_reach_every_place_and_no_other():
    offsets = draw(Augment(name="crop", pad=2), 4000, size=(8, 8), generator=_generator())
    assert offsets.unique().tolist() == [0, 1, 2, 3, 4]


def test_flip_mirrors_about_half_of_the_images_left_to_right():
    images = _images(400)
    drawn = draw(Augment(name="flip"), 400, size=(9, 7), generator=_generator())
    result = augmented(images, Augment(name="flip"), drawn, fill=FILL)
    flipped = [torch.equal(out, image.flip(-1)) for image, out in zip(images, result, strict=True)]
    kept = [torch.equal(out, image) for image, out in zip(images, result, strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert 160 < sum(flipped) < 240


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (32, 32)])
def test_resized_crop_is_torchvisions_for_every_image(size):
    height, width = size
    images = _images(12, height, width)
    boxes = draw_boxes(12, size, scale=(0.08, 1.0), generator=_generator())
    ours = resized_crop(images, boxes)
    for image, out, (top, left, h, w) in zip(images, ours, boxes.tolist(), strict=True):
        theirs = tv.resized_crop(image, top, left, h, w, [height, width], antialias=True)
        torch.testing.assert_close(out, theirs, atol=2e-5, rtol=0)


def test_resized_crop_of_the_whole_image_is_the_image():
    images = _images(2, 6, 6)
    torch.testing.assert_close(resized_crop(images, torch.tensor([[0, 0, 6, 6], [0, 0, 6, 6]])), images, atol=1e-5, rtol=0)


def test_resized_crop_of_one_pixel_is_that_pixel_everywhere():
    images = _images(1, 6, 6)
    out = resized_crop(images, torch.tensor([[2, 3, 1, 1]]))
    torch.testing.assert_close(out, images[:, :, 2:3, 3:4].expand(-1, -1, 6, 6), atol=1e-5, rtol=0)


def test_boxes_lie_inside_the_image_and_follow_torchvisions_distribution():
    from torchvision.transforms import RandomResizedCrop

    boxes = draw_boxes(20_000, (32, 32), scale=(0.08, 1.0), generator=_generator())
    top, left, h, w = boxes.unbind(1)
    assert bool((top >= 0).all() and (left >= 0).all() and (top + h <= 32).all() and (left + w <= 32).all())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.tensor(
            [RandomResizedCrop.get_params(torch.empty(1, 32, 32), [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
        )
    areas = [(b[:, 2] * b[:, 3]).double() / 1024 for b in (boxes, theirs)]
    ratios = [(b[:, 3] / b[:, 2]).log().double() for b in (boxes, theirs)]
    for ours, other in (areas, ratios, [b[:, 0].double() for b in (boxes, theirs)]):
        error = 5 * math.sqrt(float(ours.var()) / len(ours) + float(other.var()) / len(other))
        assert abs(float(ours.mean() - other.mean())) < error
        assert abs(float(ours.std() / other.std()) - 1) < 0.06


def test_an_image_too_long_for_any_box_gives_torchvisions_centred_one():
    boxes = draw_boxes(3, (4, 40), scale=(1.0, 1.0), generator=_generator())  # the whole area cannot be had at an allowed ratio
    assert boxes.tolist() == [[0, (40 - 5) // 2, 4, 5]] * 3


def test_draws_come_from_the_generator_alone():
    steps = [Augment(name=name) for name in ("crop", "flip", "shift", "rrc", "dsa")]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = [draw(step, 6, size=(8, 8), generator=_generator(3)) for step in steps]
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    assert all(torch.equal(a, draw(step, 6, size=(8, 8), generator=_generator(3))) for a, step in zip(first, steps, strict=True))
