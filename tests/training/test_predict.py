"""Answers on a test split: one pass in order, through the view that the protocol states."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from ddbench.api import protocol
from ddbench.api.context import Precision
from ddbench.api.network import TrainedNetwork
from ddbench.errors import BadRequest
from ddbench.training import predict
from ddbench.training.loop import RunSettings
from ddbench.training.views import normalised
from ddbench.training.zca import Whitening

CPU = torch.device("cpu")
PLAIN = protocol.TestView()


def _test(pixels, size=None, count=23):
    images, _ = pixels(count)
    asked = []

    def take(index):
        asked.extend(index.tolist())
        return images[index]

    mean, std = torch.tensor([0.3, 0.35, 0.4]), torch.tensor([0.2, 0.25, 0.3])
    return predict.TestImages(take, count, mean, std, size), images, asked


def test_answers_are_those_of_one_image_at_a_time_in_order(small, pixels, run):
    network = small(4)
    test, images, asked = _test(pixels)
    answers = predict.logits(network, test, PLAIN, run, batch=10)
    network.eval()
    alone = torch.cat([network(normalised(image[None], test.mean, test.std)) for image in images])
    torch.testing.assert_close(answers, alone.detach(), atol=1e-5, rtol=1e-5)
    assert asked == list(range(23))
    assert not answers.is_inference()


def test_a_network_that_learned_from_whitened_images_is_shown_whitened_ones(small, pixels, run):
    network, (images, _) = small(4), pixels(23)
    generator = torch.Generator().manual_seed(1)
    whitening = Whitening(torch.rand(108, generator=generator), torch.randn(108, 108, generator=generator) / 10)
    test = replace(_test(pixels)[0], whitening=whitening)
    answers = predict.logits(network, test, PLAIN, run, batch=10)
    shown = ((images.double() / 255).flatten(1) - whitening.mean.double()) @ whitening.matrix.double()
    alone = network.eval()(shown.float().view(images.shape))
    torch.testing.assert_close(answers, alone.detach(), atol=1e-5, rtol=1e-5)


def test_the_network_keeps_its_mode_and_its_statistics(small, pixels, run):
    network = small(4).train()
    before = network.norm.running_mean.clone()
    predict.logits(network, _test(pixels)[0], PLAIN, run)
    assert all(module.training for module in network.modules())
    assert torch.equal(network.norm.running_mean, before)


@pytest.mark.parametrize(("size", "resize", "crop"), [((40, 52), 32, 28), ((20, 16), 24, 21), ((30, 30), 30, 25)])
def test_the_view_is_torchvisions_resize_and_centre_crop_before_rounding(size, resize, crop):
    images = torch.randint(0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    ours = predict.seen(images, protocol.TestView(resize=resize, crop=crop)).float()
    theirs = tv.center_crop(tv.resize(images / 255, [resize], antialias=True), [crop, crop])
    torch.testing.assert_close(ours if ours.max() <= 1 else ours / 255, theirs, atol=1e-5, rtol=0)


def test_images_of_the_crops_size_are_left_alone():
    images = torch.randint(0, 256, (2, 3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert predict.seen(images, protocol.TestView(resize=32, crop=28)) is images
    assert predict.seen(images, PLAIN) is images


def test_a_view_of_another_size_than_training_is_refused(small, pixels, run):
    test, _, _ = _test(pixels, size=(6, 6))
    with pytest.raises(BadRequest, match=r"8x8, but the student was trained at 6x6"):
        predict.logits(small(), test, protocol.TestView(resize=9, crop=8), run)
    with pytest.raises(BadRequest, match="does not fit"):
        predict.logits(small(), test, protocol.TestView(crop=8), run)


def test_top1_is_the_fraction_of_largest_answers_that_are_right():
    answers = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.5, 0.5]])
    assert predict.top1(answers, torch.tensor([1, 0, 0, 0])) == 0.75


def test_top1_of_a_trained_network_on_a_split(small, pixels, run):
    images, labels = pixels(30)
    split = SimpleNamespace(images=lambda index: images[index], labels=lambda: labels)
    split_type = type(
        "Split", (), {"__len__": lambda _: 30, "images": staticmethod(split.images), "labels": staticmethod(split.labels)}
    )
    network = small(4).eval()
    mean, std = torch.zeros(3), torch.ones(3)
    trained = TrainedNetwork(network, tuple("abcd"), mean, std)
    expected = (network(images / 255).argmax(dim=1) == labels).double().mean()
    assert predict.predict_top1(trained, split_type(), precision=run.precision, device=run.device) == pytest.approx(float(expected))


@pytest.mark.parametrize("norm", [torch.nn.GroupNorm(8, 8), torch.nn.BatchNorm2d(8)])
def test_the_layout_changes_no_answer(pixels, norm):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), norm, torch.nn.Flatten(), torch.nn.Linear(8 * 16, 4))
    test, _, _ = _test(pixels)
    plain, last = (predict.logits(network, test, PLAIN, RunSettings(CPU, Precision(channels_last=last))) for last in (False, True))
    torch.testing.assert_close(last, plain, atol=1e-5, rtol=1e-5)
