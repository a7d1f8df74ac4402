"""Taking out a network's first reductions."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ddbench.errors import UnfitNetwork
from ddbench.networks import fit


class Branches(nn.Module):
    """A reducing convolution with a pooled shortcut beside it, as a residual stage begins."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, 2, 1)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(channels, width, 1))

    def forward(self, x):
        return self.conv(x) + self.shortcut(x)


def residual() -> nn.Module:
    """Return a network that divides the side by 32: stem 2, pooling 2, three stages of 2."""
    stem = [nn.Conv2d(3, 4, 7, 2, 3), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, Branches(4, 8), Branches(8, 8), Branches(8, 8))


def on_meta(network: nn.Module, side: int) -> tuple[int, ...]:
    return fit.run_on_meta(network.to("meta"), (3, side, side))


@pytest.mark.parametrize(
    ("removal", "expected"),
    [
        (1, {}),
        (2, {"1": 1}),  # the pooling goes, the convolution keeps its stride
        (4, {"0": 1, "1": 1}),
        (8, {"0": 1, "1": 1, "2.conv": 1, "2.shortcut.0": 1}),
        (16, {"0": 1, "1": 1, "2.conv": 1, "2.shortcut.0": 1, "3.conv": 1, "3.shortcut.0": 1}),
    ],
)
def test_the_plan_takes_out_the_first_reductions_of_every_branch(removal, expected):
    assert fit.plan(fit.reductions(residual().to("meta"), (3, 224, 224)), removal) == expected


@pytest.mark.parametrize("removal", [1, 2, 4, 8, 16, 32])
def test_a_network_reduces_less_by_exactly_what_was_removed(removal):
    network = residual()
    strides = json.loads(json.dumps(fit.plan(fit.reductions(residual().to("meta"), (3, 224, 224)), removal)))
    fit.apply(network, strides)
    side = 64 // (32 // removal)
    assert on_meta(network, 64) == (2, 8, side, side)


def test_kernels_keep_their_weights_when_only_their_stride_changes():
    network = residual()
    before = network[0].weight.clone()
    fit.apply(network, {"0": 1})
    assert torch.equal(before, network[0].weight)
    images = torch.randn(2, 3, 9, 9)
    assert torch.equal(network[0](images), nn.functional.conv2d(images, before, network[0].bias, 1, 3))


@pytest.mark.parametrize(("removal", "side"), [(2, 2), (4, 1)])
def test_patches_stay_without_gap_or_overlap(removal, side):
    network = nn.Sequential(nn.Conv2d(3, 6, 4, 4, bias=False), nn.Conv2d(6, 6, 2, 2, groups=3))
    fit.apply(network, fit.plan(fit.reductions(network.to("meta"), (3, 32, 32)), removal))
    assert network[0].kernel_size == network[0].stride == (side, side)
    assert network[0].bias is None
    assert network[1].stride == (2, 2)
    assert network[1].groups == 3


def test_watching_a_network_leaves_no_hook_behind():
    network = residual().to("meta")
    fit.reductions(network, (3, 64, 64))
    assert not any(module._forward_hooks for module in network.modules())


def test_probing_leaves_the_global_generator_untouched():
    before = torch.get_rng_state()
    with fit.on_meta():
        network = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
        network(torch.randn(2, 4))
    assert torch.equal(before, torch.get_rng_state())


def test_a_network_with_another_answer_than_logits_is_unfit():
    with pytest.raises(UnfitNetwork, match=r"answers \(2, 8, 2, 2\) for two images, not \(2, 10\)"):
        fit.check_answer(residual().to("meta"), (3, 64, 64), num_classes=10)


def test_a_network_that_fails_is_unfit_with_its_own_reason():
    with pytest.raises(UnfitNetwork, match=r"at 3×2×2 it fails: .*[Kk]ernel size"):
        fit.check_answer(nn.Conv2d(3, 3, 5).to("meta"), (3, 2, 2), num_classes=10)


def test_a_network_that_computes_while_it_is_built_is_built_all_the_same():
    def build():
        widths = (torch.arange(1, 3) * 4).tolist()  # impossible on the meta device
        return nn.Linear(*widths)

    before = torch.get_rng_state()
    network = fit.built_on_meta(build)
    assert network.weight.is_meta
    assert network.weight.shape == (8, 4)
    assert torch.equal(before, torch.get_rng_state())


def test_a_layer_without_elements_is_no_fit():
    with pytest.raises(UserWarning, match="zero-element"), fit.on_meta():
        nn.Linear(0, 3)


def test_the_first_convolution_takes_another_number_of_channels_and_keeps_the_rest():
    network = nn.Sequential(nn.Identity(), nn.Sequential(nn.Conv2d(3, 8, (3, 5), 2, (1, 2), bias=False)))
    path = fit.first_conv(network)
    fit.replace(network, path, fit.with_channels(network.get_submodule(path), 1))
    conv = network[1][0]
    assert (path, conv.in_channels, conv.bias, conv.stride, conv.padding) == ("1.0", 1, None, (2, 2), (1, 2))
    assert conv.weight.shape == (8, 1, 3, 5)


@pytest.mark.parametrize(("side", "removal"), [(8, 4), (28, 4), (32, 4), (36, 4), (48, 2), (64, 2), (96, 2), (128, 1), (224, 1)])
def test_the_removal_leaves_about_four_positions_a_side_of_a_network_that_divides_by_32(side, removal):
    assert fit.removal_for((3, side, side)) == removal
    if 28 <= side <= 128:
        assert 3 <= round(side * removal / 32) <= 6


@pytest.mark.parametrize(
    ("side", "own", "patch"), [(8, 16, 2), (28, 16, 4), (32, 16, 4), (32, 14, 4), (64, 16, 8), (224, 16, 16), (224, 14, 14)]
)
def test_patches_for_the_usual_sizes(side, own, patch):
    assert fit.token_patch((3, side, side), own) == patch


@given(side=st.integers(4, 256), own=st.integers(2, 32))
def test_a_patch_divides_the_image_and_is_never_larger_than_the_networks_own(side, own):
    patch = fit.token_patch((3, side, side), own)
    divisors = [p for p in range(2, own + 1) if side % p == 0]
    assert patch in divisors or (not divisors and patch == own)


@given(grid=st.integers(1, 64), own=st.integers(1, 24))
def test_a_window_is_the_largest_that_divides_the_grid(grid, own):
    window = fit.fitting_window(grid, own)
    assert grid % window == 0
    assert window <= own
    assert not any(grid % larger == 0 for larger in range(window + 1, own + 1))
