"""The methods dc, dsa and dm: conformance, starts, what they keep, presets, and what a user is told."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from typing import Any, ClassVar

import pytest
import torch

from ddbench.data import HeldSplit
from ddbench.errors import BadOption, NotEnoughImages, SpecialValue
from ddbench.kit import Pixels, draw_real
from ddbench.options import read_presets, resolve
from ddbench.plugins import Plugins
from ddbench.testing import Bench, SynthesizerConformance
from ddbench_plugins.matching import DC, DM, DSA
from ddbench_plugins.matching.distribution import Distribution
from ddbench_plugins.matching.gradient import Gradient

PARTS: dict[Any, Any] = {"objective": [Gradient(), Distribution()]}
CHEAP = {"iterations": 21, "objective.network": "toy/smooth", "objective.batch_real": 4}
PRESETS = files("ddbench_plugins.matching").joinpath("presets")
METHODS, OBJECTIVES = {"dc": DC, "dsa": DSA, "dm": DM}, {"gradient": Gradient(), "distribution": Distribution()}


class TestDc(SynthesizerConformance):
    synthesizer = DC
    options: ClassVar = CHEAP
    parts: ClassVar = PARTS


class TestDsaWhoseNetworkServesManySteps(SynthesizerConformance):
    synthesizer = DSA
    options: ClassVar = {**CHEAP, "objective.network": "toy/cnn", "objective.outer": 8, "objective.inner": 1}
    parts: ClassVar = PARTS


class TestDm(SynthesizerConformance):
    synthesizer = DM
    options: ClassVar = {**CHEAP, "init": "real"}
    parts: ClassVar = PARTS


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "store", parts=PARTS)


def test_real_starts_are_those_that_random_draws_and_their_positions_are_kept(bench):
    options = {**CHEAP, "iterations": 1, "lr": 1e-12}
    distilled = bench.distil(DM, ipc=2, options=options)
    train = HeldSplit(bench.data)
    index = draw_real(train, bench.stage(DM, ipc=2, options=options).jobs[0])
    expected = Pixels.of_facts(train.facts, torch.device("cpu")).normalise(train.images(index))
    assert distilled.space == "normalised"
    assert distilled.extras["real_index"].equal(index)
    assert torch.allclose(distilled.images, expected, atol=1e-5)


def test_images_may_leave_the_range_of_pixels(bench):
    distilled = bench.distil(DM, ipc=2, options={**CHEAP, "lr": 300.0})
    facts = bench.data.facts
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (facts.mean, facts.std))
    unit = distilled.images * std + mean
    assert float(unit.min()) < 0 or float(unit.max()) > 1


@pytest.mark.parametrize("method", METHODS)
def test_matching_brings_the_loss_down(bench, method):
    options = {**CHEAP, "iterations": 60, "init": "noise", "lr": 1.0}
    losses = bench.distil(METHODS[method], ipc=2, options=options).extras["walk.loss"]
    assert float(losses[-10:].mean()) < float(losses[:10].mean())


def test_dsa_is_dc_augmented_from_real_images(bench):
    dc = {**CHEAP, "init": "real", "objective.augment": "dsa"}
    assert bench.distil(DC, ipc=2, options=dc).images.equal(bench.distil(DSA, ipc=2, options=CHEAP).images)


def test_a_loss_that_explodes_stops_the_job_with_a_sentence(bench):
    with pytest.raises(SpecialValue, match=r"objective 'distribution' became NaN or infinite at step .*smaller learning rate"):
        bench.distil(DM, ipc=1, options={**CHEAP, "lr": 1e38})


def test_more_images_than_a_class_has_are_refused_only_where_they_are_drawn(bench):
    facts = bench.data.facts
    with pytest.raises(NotEnoughImages, match="12 train images"):
        DM.jobs(DM.options(), facts, 13, 0)
    (job,) = DC.jobs(DC.options(), facts, 13, 0)
    assert job.labels == (0, 1, 2, 3) * 13


def test_an_option_of_the_objective_is_found_under_its_kind_and_checked(bench):
    stage = bench.stage(DSA, ipc=1, options={"objective.batch_real": 7})
    values = stage.method.parts["objective"].options.values
    assert (values.batch_real, values.augment) == (7, "dsa")
    with pytest.raises(BadOption, match="unknown group of dsa: mirror"):
        bench.stage(DSA, ipc=1, options={"objective.strategy": "flip_mirror"})


def test_everything_is_found_by_its_name_without_torch():
    plugins = Plugins(allowed=())
    assert {name: plugins.get("synthesizer", name).value.name for name in METHODS} == dict(zip(METHODS, METHODS, strict=True))
    assert {plugins.get("objective", name).value.name for name in OBJECTIVES} == set(OBJECTIVES)
    code = "import sys, ddbench_plugins.matching; print(sorted({'torch', 'torchvision', 'timm'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", [*METHODS, *OBJECTIVES])
def test_every_preset_is_valid_and_says_where_its_numbers_come_from(name):
    thing: Any = {**METHODS, **OBJECTIVES}[name]
    presets = read_presets(PRESETS.joinpath(name))
    assert "digits" in presets
    for preset in presets.values():
        resolve(thing.options, [preset.layer], owner=name)
        assert preset.title
        assert all(len(note) > 3 for note in preset.layer.notes.values())


def test_presets_hold_the_numbers_of_the_released_code():
    def values(name: str, preset: str) -> dict[str, object]:
        return dict(read_presets(PRESETS.joinpath(name))[preset].layer.values)

    assert values("dm", "cifar10") == {"iterations": 20_000, "lr": 1.0, "momentum": 0.5, "init": "real"}
    assert values("dm", "cifar100") == values("dm", "cifar10")
    assert values("dc", "cifar10") == {"iterations": 1000, "lr": 0.1, "momentum": 0.5, "init": "noise"}
    assert values("dsa", "cifar10") == {**values("dc", "cifar10"), "init": "real"}
    for ipc, outer in ((1, 1), (10, 10), (50, 50)):
        assert values("dc", f"paper-ipc{ipc}")["iterations"] == values("dsa", f"paper-ipc{ipc}")["iterations"] == 1000 * outer
        assert values("gradient", f"paper-ipc{ipc}") == {"schedule": "dc"}
    assert "flip" not in str(values("gradient", "digits")["strategy"]) + str(values("distribution", "digits")["strategy"])


def test_the_readme_names_every_option():
    text = files("ddbench_plugins.matching").joinpath("README.md").read_text("utf-8")
    options = {name for thing in (*METHODS.values(), *OBJECTIVES.values()) for name in thing.options.model_fields}
    assert sorted(name for name in options if f"`{name}`" not in text) == []
