"""Latents of the generator: how they begin, which styles still matter, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ddbench.errors import BadRequest, PriorMismatch
from ddbench.seeding import generator_for
from ddbench_plugins.priors import Random, Trained
from ddbench_plugins.priors.levels import TrunkOptions

LABELS = torch.tensor([2, 0, 2, 1])


@pytest.fixture
def prior(fitting, options, data):
    weights, _ = Trained().fit(fitting(), options(steps=2))
    return Trained().load(weights, options(steps=2), data.facts)


def begin(prior, how, space="w+", labels=LABELS, real=None):
    return prior.init_latents(labels, space, how=how, real=real, generator=generator_for("hierarchy test"))


def test_spaces_go_from_styles_through_each_level_to_pixels(prior):
    assert prior.spaces == ("w+", "f1", "f2", "pixel")
    shapes = {space: {name: tuple(t.shape) for name, t in begin(prior, "sample", space).tensors.items()} for space in prior.spaces}
    assert shapes == {
        "w+": {"w": (4, 3, 128)},
        "f1": {"f": (4, 16, 4, 4), "w": (4, 3, 128)},
        "f2": {"f": (4, 8, 8, 8), "w": (4, 3, 128)},
        "pixel": {"x": (4, 3, 8, 8)},
    }


@pytest.mark.parametrize(("space", "used"), [("w+", 0), ("f1", 1), ("f2", 2)])
def test_styles_that_are_behind_a_space_get_no_gradient_and_the_others_do(prior, space, used):
    z = begin(prior, "sample", space)
    w = z.tensors["w"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(prior.decode(replace(z, tensors={**z.tensors, "w": w})).square().sum(), [w])
    assert [bool(gradient[:, place].any()) for place in range(3)] == [place >= used for place in range(3)]


def test_a_class_mean_is_the_mean_of_a_thousand_styles_of_the_class(prior):
    z = begin(prior, "class_mean")
    codes = torch.randn(1000, 64, generator=generator_for("hierarchy test"))
    for row, label in enumerate(LABELS):
        styles = torch.stack([prior.trunk.mapping(code[None], label[None])[0] for code in codes])
        for place in range(3):
            torch.testing.assert_close(z.tensors["w"][row, place], styles.mean(dim=0), rtol=1e-4, atol=1e-5)


def test_images_of_a_class_begin_equal_at_its_mean_and_different_when_sampled(prior):
    mean, sample = begin(prior, "class_mean").tensors["w"], begin(prior, "sample").tensors["w"]
    assert mean[0].equal(mean[2])
    assert not mean[0].equal(mean[1])
    assert not sample[0].equal(sample[2])


def test_encoding_takes_the_mean_code_of_the_real_image(prior, data):
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.facts.mean, data.facts.std))
    unit = torch.rand(4, 3, 8, 8, generator=generator_for("real"))
    z = begin(prior, "encode", real=(unit - mean) / std)
    code, _ = prior.encoder(2 * unit - 1, LABELS)
    torch.testing.assert_close(z.tensors["w"], prior.trunk.styles(code, LABELS), rtol=1e-4, atol=1e-4)


def test_noise_has_the_scale_of_sampled_styles_coordinate_by_coordinate(prior):
    labels = torch.arange(4).repeat(700)
    noise, sample = (begin(prior, how, labels=labels).tensors["w"][:, 0] for how in ("noise", "sample"))
    torch.testing.assert_close(noise.mean(dim=0), sample.mean(dim=0), rtol=0, atol=0.15)
    torch.testing.assert_close(noise.std(dim=0), sample.std(dim=0), rtol=0.15, atol=0.02)
    assert not begin(prior, "noise").tensors["w"][:, 0].equal(begin(prior, "noise").tensors["w"][:, 1])


def test_pixels_begin_as_what_the_styles_decode_to_and_may_leave_the_range(prior):
    x = begin(prior, "sample", "pixel")
    torch.testing.assert_close(x.tensors["x"], prior.decode(begin(prior, "sample")))
    x.tensors["x"][0] = 3.0
    prior.regularise(x)
    assert prior.decode(x)[0].eq(3.0).all()


def test_latents_are_clipped_at_ten_and_nan_becomes_zero(prior):
    z = begin(prior, "sample", "f1")
    z.tensors["f"][0, 0, 0, 0], z.tensors["f"][1, 0, 0, 0], z.tensors["w"][2, 0, 0] = 30.0, float("nan"), float("-inf")
    prior.regularise(z)
    assert (z.tensors["f"][0, 0, 0, 0], z.tensors["f"][1, 0, 0, 0], z.tensors["w"][2, 0, 0]) == (10.0, 0.0, -10.0)


@pytest.mark.parametrize("real", [None, torch.zeros(3, 3, 8, 8)])
def test_encoding_without_an_image_for_each_label_is_refused(prior, real):
    with pytest.raises(BadRequest, match="one real image for each of the 4 labels"):
        begin(prior, "encode", real=real)


def test_an_unknown_beginning_is_refused(prior):
    with pytest.raises(BadRequest, match="begin as 'magic'"):
        begin(prior, "magic")


def test_an_untrained_prior_has_the_trained_ones_spaces_and_cannot_encode(fitting, data, prior):
    options = TrunkOptions(channels=8, max_channels=16)
    weights, told = Random().fit(fitting(), options)
    random = Random().load(weights, options, data.facts)
    assert random.spaces == prior.spaces
    assert told["steps"] == 0
    with pytest.raises(BadRequest, match="untrained prior cannot encode"):
        begin(random, "encode", real=torch.zeros(4, 3, 8, 8))


def test_weights_for_other_classes_of_the_same_number_are_refused(fitting, options, data):
    weights, _ = Trained().fit(fitting(), options(steps=1))
    other = replace(data.facts, name="other", classes=("a", "b", "c", "d"))
    with pytest.raises(PriorMismatch, match="another class list than other's"):
        Trained().load(weights, options(steps=1), other)


def test_weights_made_with_other_options_are_refused(fitting, options, data):
    weights, _ = Trained().fit(fitting(), options(steps=1))
    with pytest.raises(PriorMismatch, match="is meant"):
        Trained().load(weights, options(steps=1, channels=16), data.facts)
