"""Finding a network by name."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from ddbench import NetworkFamily, NetworkSpec
from ddbench.errors import UnfitNetwork, UnknownName
from ddbench.networks import resolve

SHAPE = (3, 32, 32)


@dataclass
class Family(NetworkFamily):
    """A family that knows what it is told, and variants of it."""

    name: str
    known: tuple[str, ...]
    too_small: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)
    version: int = 1

    def names(self):
        return self.known

    def fit(self, name, *, shape, num_classes):
        self.asked.append(name)
        if name in self.too_small:
            raise UnfitNetwork(f"{name} needs larger images")
        if name.partition("-")[0] not in self.known:
            raise UnknownName("network", name, self.known)
        return NetworkSpec(f"{self.name}/{name}", self.version, shape, num_classes)

    def build(self, spec):
        raise NotImplementedError


def families(*members: Family) -> dict[str, Family]:
    return {member.name: member for member in members}


def test_a_bare_name_means_ddbench_then_timm_then_torchvision_then_the_others_by_name():
    every = [Family(name, ("net",)) for name in ("zoo", "alien", "torchvision", "timm", "ddbench")]
    order = []
    while every:
        found = resolve("net", families(*every), shape=SHAPE, num_classes=10).name.partition("/")[0]
        order.append(found)
        every = [family for family in every if family.name != found]
    assert order == ["ddbench", "timm", "torchvision", "alien", "zoo"]


def test_a_prefix_asks_that_family_only():
    ours, timm = Family("ddbench", ("resnet18",)), Family("timm", ("resnet18",))
    spec = resolve("timm/resnet18", families(ours, timm), shape=SHAPE, num_classes=7)
    assert (spec.name, spec.shape, spec.num_classes) == ("timm/resnet18", SHAPE, 7)
    assert ours.asked == []


def test_a_family_may_know_more_names_than_it_lists():
    spec = resolve("convnet3-bn", families(Family("ddbench", ("convnet3",)), Family("timm", ("x",))), shape=SHAPE, num_classes=2)
    assert spec.name == "ddbench/convnet3-bn"


@pytest.mark.parametrize("name", ["resnet81", "ddbench/resnet81", "timmm/resnet18"])
def test_an_unknown_name_is_told_with_the_nearest_known_one(name):
    known = families(Family("ddbench", ("resnet18",)), Family("timm", ("vit",)))
    with pytest.raises(UnknownName, match=r"unknown network .*Did you mean '(ddbench/|timm/)?resnet18'"):
        resolve(name, known, shape=SHAPE, num_classes=10)


@pytest.mark.parametrize(("name", "meant"), [("convnet1bn", "convnet1-bn"), ("ddbench/convnet1w32", "ddbench/convnet1-w32")])
def test_a_variant_without_its_dash_is_told_with_it(name, meant):
    known = families(Family("ddbench", ("convnet1", "convnet3")), Family("timm", ("vit",)))
    with pytest.raises(UnknownName, match=f"Did you mean '{meant}'"):
        resolve(name, known, shape=SHAPE, num_classes=10)


def test_a_variant_without_its_dash_that_does_not_fit_the_images_is_not_meant():
    known = families(Family("ddbench", ("convnet1", "convnet3"), too_small=("convnet1-bn",)))
    with pytest.raises(UnknownName, match="Did you mean 'convnet1'"):
        resolve("convnet1bn", known, shape=SHAPE, num_classes=10)


def test_an_unfit_network_is_not_looked_for_in_the_next_family():
    ours, timm = Family("ddbench", ("net",), too_small=("net",)), Family("timm", ("net",))
    with pytest.raises(UnfitNetwork, match="larger images"):
        resolve("net", families(ours, timm), shape=SHAPE, num_classes=10)
    assert timm.asked == []
