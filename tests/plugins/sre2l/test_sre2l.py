from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files

import pytest
import torch

from ddbench.errors import BadOption, BadRequest, NotEnoughImages
from ddbench.kit import RecoverRecipe
from ddbench.options import read_presets, resolve
from ddbench.testing import Bench
from ddbench_plugins.sre2l import Sre2l, Sre2lOptions

NAMES = ["cifar10", "cifar100", "cpu", "digits", "imagenet", "tiny-imagenet"]


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path / "store")


def options_of(*presets: str) -> Sre2lOptions:
    known = read_presets(files("ddbench_plugins.sre2l").joinpath("presets"))
    return resolve(Sre2lOptions, [known[name].layer for name in presets], owner="synthesizer 'sre2l'").values


def test_the_plugin_imports_no_torch():
    code = "import sys, ddbench_plugins.sre2l; print(sorted({'torch', 'torchvision', 'timm'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.strip() == "[]"


def test_every_preset_is_valid_and_gives_a_recipe():
    known = read_presets(files("ddbench_plugins.sre2l").joinpath("presets"))
    assert sorted(known) == NAMES
    for name in NAMES:
        RecoverRecipe.of(options_of(name))


def test_presets_hold_the_numbers_of_the_released_scripts():
    def numbers(name: str) -> tuple[object, ...]:
        o = options_of(name)
        return o.iterations, o.batch, o.lr, o.r_bn, o.r_var, o.first_bn, o.view, (o.roll_low, o.roll_high), o.init

    assert numbers("cifar100") == (1000, 100, 0.25, 0.01, 1.0, 10.0, "roll", (0, 4), "noise")
    assert numbers("cifar10") == numbers("cifar100")
    assert numbers("tiny-imagenet") == (4000, 100, 0.1, 1.0, 1.0, 10.0, "rrc_flip_roll", (-4, 4), "noise")
    assert numbers("imagenet") == (4000, 100, 0.25, 0.01, 1.0, 10.0, "rrc_flip_roll", (0, 32), "noise")


def test_the_cheap_preset_only_cuts_steps():
    cheap, full = options_of("cifar10", "cpu").model_dump(), options_of("cifar10").model_dump()
    assert {name for name in full if full[name] != cheap[name]} == {"iterations"}
    assert cheap["iterations"] < full["iterations"]


def test_real_starts_keep_their_positions_in_the_set(bench):
    made = bench.distil(Sre2l(), ipc=3, options={"iterations": 1, "init": "real"})
    index = made.extras["real_index"].tolist()
    train = bench.session().train
    assert len(set(index)) == len(made.labels)
    assert all(index[i] in train.indices(label).tolist() for i, label in enumerate(made.labels.tolist()))


def test_more_images_than_a_class_has_are_refused_before_the_start_only_where_they_are_drawn(bench):
    facts = bench.data.facts
    with pytest.raises(NotEnoughImages, match="12 train images, and 13 were asked for"):
        Sre2l().jobs(Sre2lOptions(init="real"), facts, 13, 0)
    assert len(Sre2l().jobs(Sre2lOptions(), facts, 13, 0)) == 13


def test_a_contradiction_between_options_is_found_when_the_run_is_planned(bench):
    with pytest.raises(BadOption, match="roll_low"):
        Sre2l().stack(Sre2lOptions(roll_low=5), bench.data.facts)


def test_a_teacher_without_batch_norm_is_refused(bench):
    session = bench.session()
    (network, _) = next(iter(session.teachers.values()))
    for index, part in enumerate(network.module):
        if isinstance(part, torch.nn.BatchNorm2d):
            network.module[index] = torch.nn.Identity()
    with pytest.raises(BadRequest, match="convnet3-bn or resnet18"):
        bench.distil(Sre2l(), ipc=1, options={"iterations": 1}, session=session)


def test_every_number_of_a_preset_says_where_it_comes_from():
    for preset in read_presets(files("ddbench_plugins.sre2l").joinpath("presets")).values():
        assert preset.title
        assert all(len(note) > 3 for note in preset.layer.notes.values()), json.dumps(dict(preset.layer.notes))


def test_the_readme_names_every_option():
    text = files("ddbench_plugins.sre2l").joinpath("README.md").read_text("utf-8")
    assert [name for name in Sre2lOptions.model_fields if f"`{name}`" not in text] == []
