"""ConvNet-D(W), its variants and ConvNetGAP."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from torch.nn import functional as F

from ddbench.errors import UnfitNetwork, UnknownName
from ddbench.networks import build, count_parameters, resolve
from ddbench_plugins.networks import ddbench_networks

FAMILIES = {family.name: family for family in ddbench_networks()}


def spec_of(name, shape=(3, 32, 32), num_classes=10):
    return resolve(name, FAMILIES, shape=shape, num_classes=num_classes)


def network_of(name, shape=(3, 32, 32), num_classes=10, seed=0):
    return build(spec_of(name, shape, num_classes), FAMILIES, seed=seed)


def parameters_in_closed_form(depth, width, channels, side, classes, *, norm=True, gap=False):
    """Return the number of weights of a ConvNet, counted by hand."""
    total, inputs = 0, channels
    for block in range(depth):
        outputs = width * 2**block if gap else width
        total += 9 * inputs * outputs + outputs + (2 * outputs if norm else 0)
        inputs = outputs
    return total + (inputs if gap else inputs * (side >> depth) ** 2) * classes + classes


def test_convnet3_has_the_320010_parameters_of_the_field():
    assert count_parameters(network_of("convnet3")) == 320_010 == parameters_in_closed_form(3, 128, 3, 32, 10)


@pytest.mark.parametrize("sizes", [(1, 32, 1, 8, 4), (2, 64, 3, 32, 100), (4, 256, 3, 64, 10)])
@pytest.mark.parametrize("variant", ["", "-bn", "-gn", "-nonorm"])
@pytest.mark.parametrize("gap", [False, True])
def test_parameters_are_as_counted_by_hand(sizes, variant, gap):
    depth, width, channels, side, classes = sizes
    network = network_of(f"convnet{'gap' if gap else ''}{depth}-w{width}{variant}", (channels, side, side), classes)
    assert count_parameters(network) == parameters_in_closed_form(*sizes, norm=variant != "-nonorm", gap=gap)


def slow_convnet(parameters, images, *, depth, norm="in", activation=F.relu, first_padding=1, gap=False):
    """Return what a ConvNet answers, written with plain functions and norms by their definition."""
    at = iter(parameters)
    for block in range(depth):
        images = F.conv2d(images, next(at), next(at), padding=first_padding if block == 0 else 1)
        over = {"in": (2, 3), "bn": (0, 2, 3)}[norm]
        mean = images.mean(over, keepdim=True)
        scaled = (images - mean) / torch.sqrt(((images - mean) ** 2).mean(over, keepdim=True) + 1e-5)
        images = activation(scaled * next(at)[:, None, None] + next(at)[:, None, None])
        height, width = images.shape[2] // 2 * 2, images.shape[3] // 2 * 2
        cut = images[:, :, :height, :width]
        images = (cut[:, :, ::2, ::2] + cut[:, :, 1::2, ::2] + cut[:, :, ::2, 1::2] + cut[:, :, 1::2, 1::2]) / 4
    flat = images.mean((2, 3)) if gap else images.reshape(len(images), -1)
    return flat @ next(at).T + next(at)


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("convnet3", (3, 32, 32), {"depth": 3}),
        ("convnet3", (1, 8, 8), {"depth": 3}),
        ("convnet3", (1, 28, 28), {"depth": 3, "first_padding": 3}),
        ("convnet3", (3, 28, 28), {"depth": 3}),
        ("convnet2-bn-w32", (3, 12, 20), {"depth": 2, "norm": "bn"}),
        ("convnet2-w32-sigmoid", (3, 16, 16), {"depth": 2, "activation": torch.sigmoid}),
        ("convnet2-w32-swish", (3, 16, 16), {"depth": 2, "activation": lambda x: x * torch.sigmoid(x)}),
        ("convnet2-w32-leaky", (3, 16, 16), {"depth": 2, "activation": lambda x: torch.where(x > 0, x, 0.01 * x)}),
        ("convnetgap2-w32", (3, 16, 16), {"depth": 2, "gap": True}),
    ],
)
def test_answers_agree_with_a_plain_convnet(name, shape, options):
    network = network_of(name, shape)
    images = torch.randn(4, *shape, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(network(images), slow_convnet(network.parameters(), images, **options), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("convnet3", "convnet3"),
        ("convnet", "convnet3"),
        ("convnet3-in-w128-relu-avg", "convnet3"),
        ("convnet3-w64-bn", "convnet3-bn-w64"),
        ("convnet2-max-leaky-w32-gn", "convnet2-gn-w32-leaky-max"),
        ("ddbench/convnet3-nopool-ln", "convnet3-ln-nopool"),
        ("convnetgap-bn", "convnetgap3-bn"),
    ],
)
def test_names_are_normalised(given, full):
    assert spec_of(given).name == f"ddbench/{full}"


def test_every_order_of_variants_is_the_same_network():
    specs = [spec_of("-".join(("convnet2", *order))) for order in itertools.permutations(["bn", "w32", "swish", "max"])]
    assert all(spec == specs[0] for spec in specs)


@pytest.mark.parametrize(("side", "depth"), [(4, 2), (8, 3), (16, 3), (28, 3), (32, 3), (64, 4), (128, 5), (256, 6)])
def test_the_depth_follows_the_image_size(side, depth):
    assert spec_of("convnet", (3, side, side)).name == f"ddbench/convnet{depth}"


def test_only_one_channel_images_of_28_pixels_are_padded():
    padded = {
        shape: spec_of("convnet3", shape).fitting["first_padding"] for shape in [(1, 28, 28), (3, 28, 28), (1, 8, 8), (1, 32, 32)]
    }
    assert padded == {(1, 28, 28): 3, (3, 28, 28): 1, (1, 8, 8): 1, (1, 32, 32): 1}


def test_pooling_below_one_position_is_refused_and_told_which_depths_fit():
    assert spec_of("convnet3", (1, 8, 8)).fitting["last_map"] == [1, 1]
    with pytest.raises(UnfitNetwork, match="depths up to 3 fit"):
        spec_of("convnet4", (1, 8, 8))
    assert spec_of("convnet4-nopool-w32", (1, 8, 8)).fitting["last_map"] == [8, 8]


def test_contradicting_and_impossible_variants_are_refused():
    with pytest.raises(UnfitNetwork, match="two variants of norm"):
        spec_of("convnet3-bn-in")
    with pytest.raises(UnfitNetwork, match="multiple of 4, given 6"):
        spec_of("convnet3-gn-w6")
    with pytest.raises(UnknownName, match="convnet3"):
        spec_of("convnet3-nonsense")


def test_a_fitting_survives_json():
    spec = spec_of("convnet3-bn", (1, 28, 28))
    assert json.loads(json.dumps(spec.fitting)) == spec.fitting
