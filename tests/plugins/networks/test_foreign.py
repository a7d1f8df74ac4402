"""timm's and torchvision's networks, fitted to small images."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from ddbench.errors import UnfitNetwork, UnknownName
from ddbench.networks import build, resolve
from ddbench_plugins.networks import Timm, Torchvision, ddbench_networks

FAMILIES = {family.name: family for family in ddbench_networks()}
STUDENTS = [
    *("resnet10t", "resnet18", "resnet50", "densenet121", "vgg11_bn", "mobilenetv3_small_050", "efficientnet_b0", "regnety_002"),
    *("convnext_atto", "vit_tiny_patch16_224", "deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "mixer_s16_224"),
]
CHANNELS = {8: 1, 28: 1, 32: 3, 64: 3}
LARGE = ("resnet50", "densenet121", "vgg11_bn", "swin_tiny_patch4_window7_224")
"""Tested at 28 and 64 pixels by `nox -s slow` only: seconds each."""


def spec_of(name, shape, num_classes=10):
    spec = resolve(name, FAMILIES, shape=shape, num_classes=num_classes)
    assert json.loads(json.dumps(spec.fitting)) == spec.fitting
    return spec


def learns(name, shape):
    """Check that a network tells two images apart and passes gradients to all that decides its answer."""
    network = build(spec_of(name, shape, 5), FAMILIES, seed=0)
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
    logits = network(images)
    assert logits.shape == (2, 5)
    F.cross_entropy(logits, torch.tensor([0, 1])).backward()
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    assert last.out_features == 5
    assert last.weight.grad.abs().sum() > 0
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
    return network, logits


@pytest.mark.parametrize(
    ("name", "side"),
    [
        pytest.param(name, side, marks=pytest.mark.slow if name in LARGE and side in {28, 64} else ())
        for name in STUDENTS
        for side in (8, 28, 32, 64)
    ],
)
def test_timm_students_learn_at_every_size(name, side):
    learns(f"timm/{name}", (CHANNELS[side], side, side))


@pytest.mark.parametrize(
    ("name", "shape"), [("resnet10t", (3, 8, 8)), ("mobilenetv3_small_050", (1, 32, 32)), ("vit_tiny_patch16_224", (1, 64, 64))]
)
def test_one_and_three_channels_are_taken_at_any_size(name, shape):
    learns(f"timm/{name}", shape)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resnet18", (1, 28, 28)),
        ("mobilenet_v2", (3, 64, 64)),
        ("shufflenet_v2_x0_5", (1, 8, 8)),
        ("googlenet", (3, 32, 32)),
        ("mnasnet0_5", (1, 28, 28)),
        ("regnet_y_400mf", (1, 8, 8)),
        ("squeezenet1_1", (3, 32, 32)),
    ],
)
def test_torchvision_networks_answer_at_small_sizes(name, shape):
    network = build(spec_of(f"torchvision/{name}", shape, 5), FAMILIES, seed=0)
    logits = network(torch.randn(2, *shape, generator=torch.Generator().manual_seed(1)))
    assert logits.shape == (2, 5)
    F.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("name", "shape", "fitting"),
    [
        ("timm/resnet18", (3, 32, 32), {"strides": {"conv1": 1, "maxpool": 1}}),
        ("timm/resnet18", (3, 64, 64), {"strides": {"maxpool": 1}}),
        ("timm/resnet18", (3, 128, 128), {}),
        ("timm/vgg11_bn", (3, 32, 32), {"head_kernel": 1}),
        ("timm/convnext_atto", (1, 8, 8), {"arguments": {"patch_size": 1}}),
        ("timm/convnext_atto", (3, 64, 64), {"arguments": {"patch_size": 2}}),
        ("timm/vit_tiny_patch16_224", (1, 8, 8), {"arguments": {"img_size": [8, 8], "patch_size": 2}}),
        ("timm/vit_tiny_patch16_224", (3, 224, 224), {"arguments": {"img_size": [224, 224], "patch_size": 16}}),
        ("timm/mixer_s16_224", (3, 32, 32), {"arguments": {"img_size": [128, 128]}, "strides": {"stem.proj": 4}}),
        (
            "timm/swin_tiny_patch4_window7_224",
            (3, 32, 32),
            {"arguments": {"img_size": [32, 32], "patch_size": 1, "window_size": 4}},
        ),
        ("torchvision/resnet18", (3, 32, 32), {"strides": {"conv1": 1, "maxpool": 1}}),
        ("torchvision/vit_b_16", (3, 32, 32), {"arguments": {"image_size": 128}, "strides": {"conv_proj": 4}}),
    ],
)
def test_what_was_done_to_fit_a_network_stands_in_its_specification(name, shape, fitting):
    assert spec_of(name, shape).fitting == fitting


def test_a_resnet_at_32_pixels_is_timms_own_small_image_network():
    ours = build(spec_of("timm/resnet18", (3, 32, 32)), FAMILIES, seed=4).eval()
    plain = timm.create_model("resnet18", num_classes=10).eval()
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    x = plain.act1(plain.bn1(F.conv2d(images, plain.conv1.weight, stride=1, padding=3)))
    x = plain.layer4(plain.layer3(plain.layer2(plain.layer1(x))))
    torch.testing.assert_close(ours(images), plain.fc(x.mean((2, 3))))


@pytest.mark.parametrize("name", ["timm/mobilenetv3_small_050", "timm/mixer_s16_224", "torchvision/shufflenet_v2_x0_5"])
def test_equal_seeds_give_equal_bytes_and_the_global_generator_is_untouched(name):
    before = torch.get_rng_state()
    spec = spec_of(name, (1, 8, 8))
    first, second, other = (build(spec, FAMILIES, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
    assert torch.equal(before, torch.get_rng_state())


def test_names_read_from_source_are_those_that_the_libraries_register():
    assert set(Timm().names()) == set(timm.list_models())
    assert set(Torchvision().names()) == set(torchvision.models.list_models(module=torchvision.models))


def test_listing_every_network_imports_no_torch():
    code = (
        "import sys; from ddbench_plugins.networks import ddbench_networks\n"
        "assert sum(len(family.names()) for family in ddbench_networks()) > 1000\n"
        "assert not {'torch', 'timm', 'torchvision', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pretrained_tags_are_not_names():
    with pytest.raises(UnknownName, match=r"Did you mean 'timm/resnet18'"):
        spec_of("timm/resnet18.a1_in1k", (3, 32, 32))


def test_a_network_that_cannot_be_fitted_says_why():
    with pytest.raises(UnfitNetwork, match=r"torchvision/maxvit_t cannot be fitted to images of 3×32×32: .*partition size"):
        spec_of("torchvision/maxvit_t", (3, 32, 32))


def unfit() -> dict:
    return json.loads(files("ddbench_plugins.networks").joinpath("timm_unfit.json").read_text("utf-8"))


def test_at_least_95_percent_of_timm_is_recorded_as_fitting_at_32_pixels():
    listed = unfit()
    assert len(listed["unfit"]) <= 0.05 * listed["asked"]
    assert all(reason for reason in listed["unfit"].values())


@pytest.mark.slow
def test_the_list_of_unfit_timm_networks_is_right():
    listed = unfit()
    if listed["timm"] != timm.__version__:
        pytest.skip(f"the list was made with timm {listed['timm']}; make it again with benchmarks/timm_coverage.py")
    assert set(listed["unfit"]) < set(timm.list_models())
    for name in {*timm.list_models()[::8], *listed["unfit"]}:
        try:
            Timm().fit(name, shape=(3, 32, 32), num_classes=10)
        except UnfitNetwork:
            assert name in listed["unfit"]
        else:
            assert name not in listed["unfit"]
