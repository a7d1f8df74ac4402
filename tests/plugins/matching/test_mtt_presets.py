"""Presets of `trajectory` and `mtt`: they can be read, hold together, and pairs asked for by one name exist on both sides."""

from __future__ import annotations

from importlib.resources import files

import pytest

from ddbench.options import read_presets, resolve
from ddbench_plugins.matching import MTT, Trajectory

FOLDER = files("ddbench_plugins.matching").joinpath("presets")
OBJECTIVE, PIXELS = (read_presets(FOLDER.joinpath(name)) for name in ("trajectory", "mtt"))


def test_a_preset_sets_the_objective_and_the_method_alike():
    assert OBJECTIVE.keys() == PIXELS.keys() >= {"digits", "cifar10", "cifar10-ipc10", "cifar100", "tiny-imagenet", "imagenet"}


@pytest.mark.parametrize("name", OBJECTIVE)
def test_presets_are_options_with_a_source_for_each(name):
    for plugin, preset in ((Trajectory(), OBJECTIVE[name]), (MTT, PIXELS[name])):
        resolved = resolve(plugin.options, [preset.layer], owner="a test")
        assert all(resolved.sources[key] != "default" for key in preset.layer.values)


def test_a_preset_asked_for_by_name_leaves_nothing_of_the_datasets_own_behind():
    for name in OBJECTIVE:
        base = name.partition("-ipc")[0]
        assert OBJECTIVE[base].layer.values.keys() <= OBJECTIVE[name].layer.values.keys()
        assert PIXELS[base].layer.values.keys() <= PIXELS[name].layer.values.keys()


def test_cifar100_with_one_image_a_class_is_the_released_readmes_command_and_the_defaults():
    resolved = resolve(Trajectory.options, [OBJECTIVE["cifar100"].layer], owner="a test").values
    assert resolved == Trajectory.options(zca=True)
