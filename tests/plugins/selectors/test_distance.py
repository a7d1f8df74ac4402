"""The class-relevant distance against closed forms, a plain loop, and what must leave it alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ddbench import Candidate, Job, TrainedNetwork
from ddbench.data import HeldSplit
from ddbench.testing import Bench, toy_dataset
from ddbench_plugins.selectors import Cam, CamOptions, Feature, FeatureOptions
from ddbench_plugins.selectors.distance import DistanceJudge, Features, by_channel, by_place

CLASSES = 4


class LinearHead(nn.Module):
    """Channels are the image's own; a GAP head on them: everything has a closed form."""

    def __init__(self, weight):
        super().__init__()
        self.body = nn.Conv2d(3, 3, 1, bias=False)
        self.body.weight.data = torch.eye(3).view(3, 3, 1, 1)
        self.classifier = nn.Linear(3, CLASSES)
        self.classifier.weight.data = weight

    def forward(self, x):
        return self.classifier(self.body(x).mean((2, 3)))


@pytest.fixture
def data():
    return toy_dataset(classes=CLASSES, per_class=6)


@pytest.fixture
def network(data):
    weight = torch.randn(CLASSES, 3, generator=torch.Generator().manual_seed(2))
    module = LinearHead(weight).eval().requires_grad_(requires_grad=False)
    return TrainedNetwork(module, data.facts.classes, torch.tensor(data.facts.mean), torch.tensor(data.facts.std))


@pytest.fixture
def context(data, tmp_path, network):
    found = Bench(tmp_path, data=data).context({})
    found.needs = {"classifier": network}
    return found


def normalised(data, pixels):
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.facts.mean, data.facts.std))
    return (pixels.float() / 255 - mean) / std


def all_real(data):
    train = HeldSplit(data)
    index = torch.cat([train.indices(label) for label in range(CLASSES)])
    return normalised(data, train.images(index)), torch.arange(CLASSES).repeat_interleave(6)


def job_of(labels, seed=0):
    return Job(0, tuple(labels.tolist()), seed)


def score(context, images, labels, *, selector=None, **options):
    selector = selector or Cam()
    judge = selector.start(context, selector.options(**options), job_of(labels))
    return judge.score(Candidate(images, labels, torch.tensor(0.0), 0))


def plain_activation(network, image, label):
    """Return CAM of one image as the paper's sum over channels, scaled to [0, 1]."""
    activation = torch.zeros(image.shape[1:], dtype=torch.float64)
    for channel in range(3):
        activation += float(network.module.classifier.weight[label, channel]) * image[channel].double()
    activation = activation.clamp_min(0)
    if activation.max() - activation.min() <= 1e-8:
        return torch.ones_like(activation)
    return (activation - activation.min()) / (activation.max() - activation.min())


def plain_distance(network, real, made):
    """Return D(S, T) with a loop over classes and images, in float64."""
    total = 0.0
    for label in range(CLASSES):
        means = []
        for images, labels in (real, made):
            own = [
                plain_activation(network, image, label) * image.double()
                for image, given in zip(images, labels, strict=True)
                if given == label
            ]
            means.append(sum(own) / len(own))
        total += float((means[0] - means[1]).square().sum()) / means[0].numel()
    return total


def test_the_distance_of_a_linear_gap_head_is_the_closed_form(data, context, network):
    made = torch.randn(2 * CLASSES, 3, 8, 8, generator=torch.Generator().manual_seed(3)), torch.arange(CLASSES).repeat(2)
    expected = plain_distance(network, all_real(data), made)
    assert score(context, *made) == pytest.approx(expected, rel=1e-4)


def test_by_channel_it_is_the_distance_of_weighted_means(data, context, network):
    (real, named), made = all_real(data), torch.randn(CLASSES, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    weight = network.module.classifier.weight.clamp_min(0)
    expected = sum(
        float((weight[label] * (real[named == label].mean((0, 2, 3)) - made[label].mean((1, 2)))).square().sum()) / 3
        for label in range(CLASSES)
    )
    assert score(context, made, torch.arange(CLASSES), weighting="channel") == pytest.approx(expected, rel=1e-4)


def test_without_weights_it_is_the_distance_of_mean_maps(data, context):
    (real, named), made = all_real(data), torch.randn(CLASSES, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    expected = sum(float((real[named == label].mean(0) - made[label]).square().mean()) for label in range(CLASSES))
    assert score(context, made, torch.arange(CLASSES), selector=Feature()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"weighting": "channel"}, {"stages": "all"}, {"draws": 3}])
def test_real_images_themselves_are_at_distance_zero(data, context, options):
    real = all_real(data)
    far = score(context, torch.zeros_like(real[0]), real[1], **options)
    assert score(context, *real, **options) < 1e-6 * far


def test_images_of_one_class_may_change_places(data, context):
    images, labels = all_real(data)
    moved = images + torch.randn(images.shape, generator=torch.Generator().manual_seed(5))
    order = torch.cat([torch.randperm(6, generator=torch.Generator().manual_seed(label)) + 6 * label for label in range(CLASSES)])
    assert score(context, moved[order], labels) == pytest.approx(score(context, moved, labels), rel=1e-5)


def test_only_the_part_that_speaks_for_the_class_counts():
    maps = torch.zeros(1, 2, 2, 2)
    maps[0, 0] = torch.tensor([[0.0, 1.0], [2.0, 4.0]])
    maps[0, 1] = torch.tensor([[5.0, 0.0], [0.0, 0.0]])  # where the class is spoken against
    relevant = by_place(maps, torch.tensor([[1.0, -1.0]]))
    expected = maps * torch.tensor([[0.0, 0.25], [0.5, 1.0]])
    torch.testing.assert_close(relevant, expected)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [-1.0, -1.0]])
def test_where_no_place_speaks_for_the_class_every_place_counts_alike(weights):
    maps = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(6))
    assert by_place(maps, torch.tensor([weights]).expand(3, 2)).equal(maps)


def test_the_scale_of_weights_does_not_matter_for_places_and_their_sign_does_for_channels():
    maps, weights = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(6)), torch.tensor([[1.0, -0.5]]).expand(3, 2)
    torch.testing.assert_close(by_place(maps, weights * 100), by_place(maps, weights), rtol=1e-5, atol=1e-6)
    assert not by_channel(maps, weights)[:, 1].any()


def test_images_are_shown_as_the_classifier_normalises(data, context, network):
    other = TrainedNetwork(copy.deepcopy(network.module), network.classes, torch.zeros(3), torch.ones(3))
    features = Features(other, data.facts, "last", "none")
    pixels = HeldSplit(data).images(torch.arange(5))
    expected = (pixels.float() / 255).flatten(1) / (3 * 64) ** 0.5
    torch.testing.assert_close(features.of(normalised(data, pixels), torch.zeros(5, dtype=torch.int64)), expected)


def test_real_means_rest_on_as_many_images_as_asked_and_on_the_seed(data, context):
    judges = [
        DistanceJudge.of_real(
            context,
            FeatureOptions(real=real),
            job_of(torch.arange(CLASSES), seed),
            Features(context.needs["classifier"], data.facts, "last", "none"),
        )
        for real, seed in ((6, 0), (600, 1), (2, 0), (2, 1))
    ]
    torch.testing.assert_close(judges[0].real[0], judges[1].real[0])  # all of them, in another order
    assert not judges[2].real[0].equal(judges[3].real[0])
    assert not torch.allclose(judges[0].real[0], judges[2].real[0])


def test_classes_that_the_job_does_not_make_do_not_count(data, context):
    images, labels = all_real(data)
    some = labels < 2
    assert score(context, images[some], labels[some]) == pytest.approx(0, abs=1e-9)


def test_draws_are_shared_so_that_the_same_view_is_compared(data, context):
    made, labels = torch.randn(CLASSES, 3, 8, 8, generator=torch.Generator().manual_seed(4)), torch.arange(CLASSES)
    one = score(context, made, labels, draws=1, strategy="flip")
    assert one == pytest.approx(score(context, made, labels), rel=1e-4)  # a flip of both changes no distance


def test_batches_do_not_change_the_distance(data, context, monkeypatch):
    made, labels = torch.randn(3 * CLASSES, 3, 8, 8, generator=torch.Generator().manual_seed(4)), torch.arange(CLASSES).repeat(3)
    whole = score(context, made, labels)
    monkeypatch.setattr("ddbench_plugins.selectors.distance.BATCH", 5)
    assert score(context, made, labels) == pytest.approx(whole, rel=1e-5)


def test_an_unknown_group_of_augmentations_is_refused():
    with pytest.raises(ValueError, match="unknown group"):
        CamOptions(strategy="color_warp")
