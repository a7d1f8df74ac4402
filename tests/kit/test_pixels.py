from __future__ import annotations

import pytest
import torch

from ddbench.errors import BadRequest
from ddbench.kit import Pixels
from ddbench.kit.pixels import refuse_no_jpeg

MEAN, STD = torch.tensor([0.45, 0.5, 0.55]).view(-1, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(-1, 1, 1)
PIXELS = Pixels(MEAN, STD)


def every_value() -> torch.Tensor:
    return torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)


def test_every_pixel_value_survives_normalising():
    assert torch.equal(PIXELS.to_uint8(PIXELS.normalise(every_value())), every_value())


def test_pixels_are_rounded_to_the_nearest_and_clamped():
    values = torch.tensor([-0.2, 0.4 / 255, 0.6 / 255, 100.49 / 255, 100.51 / 255, 1.3])
    images = (values.view(1, 1, 1, -1) - MEAN) / STD
    assert PIXELS.to_uint8(images)[0, 0, 0].tolist() == [0, 0, 1, 100, 101, 255]


def test_bounds_are_black_and_white():
    black, white = torch.zeros(1, 3, 1, 1, dtype=torch.uint8), torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    low, high = PIXELS.bounds()
    assert torch.allclose(PIXELS.normalise(black)[0], low)
    assert torch.allclose(PIXELS.normalise(white)[0], high)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_loses_little_of_a_smooth_image(channels):
    ramp = torch.linspace(0.1, 0.9, 16)
    images = ((ramp[:, None] + ramp) / 2).expand(2, channels, 16, 16)
    plain = Pixels(torch.zeros(channels, 1, 1), torch.ones(channels, 1, 1))
    difference = (plain.to_jpeg(images).int() - plain.to_uint8(images).int()).abs()
    assert 0 < int(difference.max()) <= 8


def test_jpeg_loses_much_of_noise_as_it_does_in_the_released_code():
    noise = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    plain = Pixels(torch.zeros(3, 1, 1), torch.ones(3, 1, 1))
    assert float((plain.to_jpeg(noise).float() - plain.to_uint8(noise).float()).abs().mean()) > 20


def test_jpeg_of_other_channels_is_refused():
    refuse_no_jpeg(3)
    with pytest.raises(BadRequest, match="not 4"):
        refuse_no_jpeg(4)
