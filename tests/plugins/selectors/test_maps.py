"""Which maps count, and channel weights against closed forms and plain derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ddbench.errors import UnfitNetwork
from ddbench.networks import build, resolve
from ddbench_plugins.networks import ddbench_networks
from ddbench_plugins.selectors.maps import Maps

FAMILIES = {family.name: family for family in ddbench_networks()}


def network(name, shape=(3, 16, 16), num_classes=5):
    spec = resolve(name, FAMILIES, shape=shape, num_classes=num_classes)
    return build(spec, FAMILIES, seed=0).eval().requires_grad_(requires_grad=False)


def maps_of(module, shape=(3, 16, 16)):
    return Maps(module, shape, torch.device("cpu"))


def images(shape=(3, 16, 16), count=6):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


LABELS = torch.tensor([0, 1, 2, 3, 4, 2])


def test_a_convnets_maps_are_what_its_blocks_give_before_pooling():
    module = network("convnetgap3-w8")
    found = maps_of(module)
    x, expected = images(), []
    for layer in module.features:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            expected.append(x)
    for one, plain in zip(found.of(images(), found.places), expected, strict=True):
        assert one.equal(plain)


def test_a_resnets_maps_are_what_its_stages_give_after_the_shortcut():
    module = network("resnet18-in")
    found = maps_of(module)
    last = module.blocks(module.stem(images()))
    assert [tuple(one.shape[2:]) for one in found.of(images(), found.places)] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    assert found.of(images(), found.places[-1:])[0].equal(last)


@pytest.mark.parametrize("name", ["convnetgap2-w8", "resnet18-in"])
def test_at_a_gap_head_weights_are_the_classifiers(name):
    module = network(name)
    found = maps_of(module)
    ((_, weights),) = found.with_weights(images(), LABELS, found.places[-1:])
    assert weights.equal(module.classifier.weight[LABELS])


def test_summed_derivatives_at_a_gap_head_are_the_classifiers_weights_too():
    module = network("convnetgap2-w8")
    found = maps_of(module)
    (_, _), (_, summed) = found.with_weights(images(), LABELS, found.places)
    torch.testing.assert_close(summed, module.classifier.weight[LABELS], rtol=1e-4, atol=1e-6)


def test_a_flattened_map_is_no_gap_head_and_its_weights_are_the_flattened_rows_summed():
    module = network("convnet2-w8-nopool")
    found = maps_of(module)
    assert found.head is None
    ((_, weights),) = found.with_weights(images(), LABELS, found.places[-1:])
    rows = module.classifier.weight[LABELS].view(len(LABELS), 8, 16 * 16)
    torch.testing.assert_close(weights, rows.sum(2), rtol=1e-4, atol=1e-5)


def test_weights_of_an_early_map_are_derivatives_of_the_own_class_logit():
    module = network("convnetgap2-w8-swish")
    found = maps_of(module)
    first, weights = found.with_weights(images(), LABELS, found.places[:1])[0]
    later = module.features[3:]
    for place in range(len(LABELS)):
        own = first[place : place + 1].double().requires_grad_()
        logit = module.double().classifier(later(own).flatten(1))[0, LABELS[place]]
        (slope,) = torch.autograd.grad(logit, own)
        torch.testing.assert_close(weights[place].double(), slope.sum((2, 3))[0], rtol=1e-3, atol=1e-5)
        module.float()


def test_a_head_that_reads_something_else_than_the_means_is_no_gap_head():
    class Maximum(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Conv2d(3, 4, 3)
            self.classifier = nn.Linear(4, 5)

        def forward(self, x):
            return self.classifier(self.body(x).amax((2, 3)))

    assert maps_of(Maximum().eval()).head is None


def test_no_hook_and_no_graph_is_left():
    module = network("convnetgap2-w8")
    found = maps_of(module)
    for one, weights in found.with_weights(images(), LABELS, found.places):
        assert not one.requires_grad
        assert not weights.requires_grad
    assert not any(part._forward_hooks for part in module.modules())


def test_hooks_go_where_a_pass_fails():
    module = network("convnetgap2-w8")
    found = maps_of(module)
    with pytest.raises(RuntimeError):
        found.of(torch.zeros(1, 2, 16, 16), found.places)
    assert not any(part._forward_hooks for part in module.modules())


def test_a_network_without_convolutions_is_refused():
    with pytest.raises(UnfitNetwork, match="no convolution"):
        maps_of(network("mlp"))


def test_maps_that_are_changed_in_place_later_are_not_among_the_places():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )
    found = maps_of(module.eval())
    (last,) = found.of(images(), found.places)
    assert last.equal(F.relu(F.conv2d(images(), module[0].weight, module[0].bias, padding=1)))
