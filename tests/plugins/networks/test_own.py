"""ddbench's own networks other than ConvNets, and what all of them have in common."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from ddbench.errors import UnfitNetwork
from ddbench.networks import build, count_parameters, resolve
from ddbench_plugins.networks import OWN, ddbench_networks
from ddbench_plugins.networks import own as own_table
from ddbench_plugins.networks.dwa import Residual, ShuffleUnit
from ddbench_plugins.networks.vit import DIM, HEADS, Block

FAMILIES = {family.name: family for family in ddbench_networks()}
SMALL = ["convnet", "convnetgap", *(name for name in OWN if not name.startswith(("convnet", "resnet34", "resnet50", "resnet101")))]
SHAPES = {8: (1, 8, 8), 28: (1, 28, 28), 32: (3, 32, 32), 64: (3, 64, 64)}


def network_of(name, shape=(3, 32, 32), num_classes=10, seed=0):
    spec = resolve(name, FAMILIES, shape=shape, num_classes=num_classes)
    assert json.loads(json.dumps(spec.fitting)) == spec.fitting
    return build(spec, FAMILIES, seed=seed)


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_every_listed_name_is_built_by_exactly_one_file():
    assert {name for name in OWN if not name.startswith("convnet")} == set(own_table.NAMED)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # By hand, or the numbers that the well-known CIFAR builds print for ten classes.
        ("mlp", (3072 + 1) * 128 + (128 + 1) * 128 + (128 + 1) * 10),
        ("lenet", 62_006),
        ("alexnet", 128 * 76 + 192 * 3201 + 256 * 1729 + 192 * 2305 + 192 * 1729 + 10 * 3073),
        ("vgg11", 9_231_114),
        ("vgg11-bn", 9_231_114),
        ("resnet18-in", 11_173_962),
        ("resnet18-bn", 11_173_962),
        ("resnet18", 11_173_962),
        ("resnet34", 21_282_122),
        ("resnet50", 23_520_842),
        ("mobilenetv2-cifar", 2_296_922),
        (
            "efficientnetb0-cifar",
            3_599_686 - (32 * 32 + 2 * 32),
        ),  # less an expansion that the well-known build holds but never uses
        ("shufflenetg2-cifar", 887_582),
        ("vgg16-cifar", 14_728_266),
    ],
)
def test_parameters_at_32_pixels_are_the_known_ones(name, parameters):
    assert count_parameters(network_of(name)) == parameters


@pytest.mark.parametrize("side", [8, 28, 32, 64])
@pytest.mark.parametrize("name", SMALL)
def test_every_network_tells_images_apart_and_learns_from_them(name, side):
    network = network_of(name, SHAPES[side], num_classes=5)
    logits = network(noise(2, *SHAPES[side]))
    assert logits.shape == (2, 5)
    assert (logits[0] - logits[1]).abs().max() > 1e-4
    F.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_equal_seeds_give_equal_weights_and_the_last_linear_layer_is_the_classifier(name):
    shape = SHAPES[8]
    network, twin = network_of(name, shape, 7, seed=3).eval(), network_of(name, shape, 7, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), twin.state_dict().values(), strict=True))
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    seen = []
    last.register_forward_hook(lambda _layer, inputs, _output: seen.append(inputs[0]))
    logits = network(noise(2, *shape))
    assert torch.equal(logits, last(seen[0]))


@pytest.mark.parametrize("side", [4, 6, 8, 12, 16, 24, 28, 30, 32])
@pytest.mark.parametrize("name", ["vgg11", "resnet18-in"])
def test_no_instance_norm_sees_a_single_position(name, side):
    network = network_of(name, (3, side, side))
    maps = []
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_hook(lambda _layer, inputs, _output: maps.append(inputs[0].shape[2] * inputs[0].shape[3]))
    network(noise(2, 3, side, side))
    assert min(maps) > 1


@pytest.mark.parametrize(
    ("name", "side"), [("alexnet", 7), ("lenet", 3), ("vgg11", 3), ("vgg16-cifar", 1), ("vit", 37), ("vit", 100)]
)
def test_too_small_or_indivisible_images_are_refused(name, side):
    with pytest.raises(UnfitNetwork, match=rf"ddbench/{name} cannot be fitted to images of 3×{side}×{side}: "):
        network_of(name, (3, side, side))


def test_vgg11_pools_its_last_map_to_seven_from_128_pixels_on():
    assert count_parameters(network_of("vgg11", (3, 128, 128))) - count_parameters(network_of("vgg11")) == 512 * 48 * 10


@pytest.mark.parametrize(("name", "shape"), [("resnet18", (3, 64, 64)), ("resnet50", (1, 16, 16))])
def test_small_resnets_are_torchvisions_with_another_stem(name, shape):
    ours = network_of(name, shape, 6).eval()
    plain = torchvision.models.get_model(name, num_classes=6).eval()
    images = noise(2, *shape)
    stem = F.conv2d(images, ours.conv1.weight, stride=1, padding=1)
    assert ours.conv1.weight.shape == (64, shape[0], 3, 3)
    plain.load_state_dict({key: value for key, value in ours.state_dict().items() if key != "conv1.weight"}, strict=False)
    x = plain.relu(plain.bn1(stem))
    x = plain.layer4(plain.layer3(plain.layer2(plain.layer1(x))))
    torch.testing.assert_close(ours(images), plain.fc(x.mean((2, 3))))


def test_large_resnets_are_torchvisions_to_the_last_bit():
    ours = network_of("resnet18", (3, 96, 96), 6, seed=9)
    torch.manual_seed(9)
    plain = torchvision.models.resnet18(num_classes=6)
    assert all(torch.equal(a, plain.state_dict()[key]) for key, a in ours.state_dict().items())
    assert network_of("resnet18", (1, 96, 96)).conv1.weight.shape == (64, 1, 7, 7)


def test_attention_agrees_with_the_softmax_formula():
    torch.manual_seed(0)
    block = Block().eval()
    tokens = noise(2, 5, DIM)
    query, key, value = block.to_qkv(block.norm(tokens)).chunk(3, dim=-1)
    heads = []
    for head in range(HEADS):
        part = slice(head * DIM // HEADS, (head + 1) * DIM // HEADS)
        weights = torch.softmax(query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(DIM / HEADS), dim=-1)
        heads.append(weights @ value[..., part])
    x = tokens + block.out(torch.cat(heads, dim=-1))
    torch.testing.assert_close(block(tokens), x + block.mlp(x), rtol=1e-4, atol=1e-5)


def test_a_shuffle_unit_mixes_its_groups_as_the_paper_says():
    torch.manual_seed(0)
    unit = ShuffleUnit(200, 200, stride=1).eval()
    x = noise(2, 200, 4, 4)
    reduce, _, _, by_channel, _, expand = unit.inner
    middle = torch.relu(reduce(x))
    mixed = torch.stack([middle[:, group * 25 + channel] for channel in range(25) for group in range(2)], dim=1)
    torch.testing.assert_close(unit(x), torch.relu(expand(torch.relu(by_channel(mixed))) + x))


def test_stochastic_depth_keeps_the_mean_and_is_off_in_eval():
    layer = Residual(nn.Identity(), drop=0.25)
    torch.manual_seed(0)
    ones = torch.ones(4000, 1, 1, 1)
    change = layer(ones) - 1
    torch.testing.assert_close(change.unique(), torch.tensor([0, 4 / 3]))
    assert abs(change.mean() - 1) < 0.04  # three standard errors of the mean of 4000 draws are 0.027
    assert torch.equal(layer.eval()(ones), 2 * ones)
