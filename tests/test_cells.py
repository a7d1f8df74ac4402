from __future__ import annotations

from dataclasses import replace

import pytest

import ddbench
from ddbench import DatasetFacts
from ddbench.cells import (
    Cell,
    Method,
    Request,
    check_preset,
    derived_preset,
    expand,
    methods,
    needed_options,
    presets_of,
    teacher_way,
    zero_iterations,
)
from ddbench.errors import BadOption, UnknownName
from ddbench.options import Layer, resolve
from ddbench.plugins import Plugins


@pytest.fixture(scope="module")
def plugins():
    return Plugins(())


def facts(name="cifar10", classes=10, side=32):
    names, shape = tuple(map(str, range(classes))), (3, side, side)
    return DatasetFacts(name, names, shape, (0.5,) * 3, (0.2,) * 3, (50,) * classes, 10, "0" * 64)


def test_the_control_comes_first_where_it_was_not_asked_for_and_stays_where_it_was(plugins):
    assert [method.name for method in methods(Request(("dwa",)), plugins, facts())] == ["random", "dwa"]
    assert [method.name for method in methods(Request(("dwa", "random")), plugins, facts())] == ["dwa", "random"]


def test_a_plain_option_goes_to_every_asked_method_that_has_it_and_a_named_one_to_its_own(plugins):
    request = Request(("dwa", "sre2l"), options={"iterations": "7", "dwa.lr": "0.5"})
    found = {method.name: method.options for method in methods(request, plugins, facts())}
    assert found["dwa"].values.iterations == found["sre2l"].values.iterations == 7
    assert found["dwa"].values.lr == 0.5
    assert found["sre2l"].values.lr != 0.5
    assert found["dwa"].sources["lr"] == "command line"


def test_options_are_layered_default_preset_named_preset_command_line(plugins):
    base = methods(Request(("dwa",)), plugins, facts())[1].options
    cheap = methods(Request(("dwa",), preset="cpu"), plugins, facts())[1].options
    own = methods(Request(("dwa",), preset="cpu", options={"iterations": 3}), plugins, facts())[1].options
    assert base.sources["rho"].startswith("preset cifar10: released code")
    assert cheap.values.iterations < base.values.iterations
    assert cheap.sources["iterations"].startswith("preset cpu: ")
    assert (own.values.iterations, own.sources["iterations"]) == (3, "command line")


@pytest.mark.parametrize(
    ("side", "classes", "name"),
    [(28, 10, "cifar10"), (32, 10, "cifar10"), (32, 43, "cifar100"), (64, 10, "tiny-imagenet"), (128, 10, "imagenet")],
)
def test_an_unknown_dataset_takes_the_preset_of_its_resolution_and_says_so(plugins, side, classes, name):
    unknown = facts("unheard-of", classes, side)
    assert derived_preset(unknown) == name
    sources = methods(Request(("dwa",)), plugins, unknown)[1].options.sources
    assert any(source.startswith(f"preset {name} (derived)") for source in sources.values())


def test_an_option_nobody_takes_is_refused_with_the_nearest(plugins):
    with pytest.raises(BadOption, match="Did you mean 'rho'"):
        methods(Request(("dwa",), options={"rhoo": 1}), plugins, facts())
    with pytest.raises(BadOption, match="not in this run"):
        methods(Request(("dwa",), options={"sre2l.lr": 1}), plugins, facts())


@pytest.mark.parametrize(
    ("given", "preset", "way", "network"),
    [
        (None, None, "scratch", "resnet18"),
        ("convnet3-bn", None, "scratch", "convnet3-bn"),
        ("pretrained", None, "pretrained", "resnet18"),
        ("checkpoint:vgg11", None, "checkpoint", "vgg11"),
        (None, "cpu", "scratch", "convnet3-bn"),
        ("resnet50", "cpu", "scratch", "resnet50"),
        ("timm/resnet10t", None, "scratch", "timm/resnet10t"),
    ],
)
def test_a_teacher_is_a_way_a_network_or_both(plugins, given, preset, way, network):
    entry, found = teacher_way(Request(("dwa",), teacher=given, preset=preset), plugins, "resnet18")
    assert (entry.name, found) == (way, network)


def test_a_teachers_options_come_under_its_prefix(plugins):
    entry, _ = teacher_way(Request(("dwa",)), plugins, "resnet18")
    options = needed_options(entry, Request(("dwa",), options={"teacher.epochs": "2", "rho": "0.1"}), facts())
    assert options.values.epochs == 2
    assert options.values.lr == 0.1


def test_a_preset_nobody_has_is_refused_with_those_there_are(plugins):
    entries = [plugins.get("synthesizer", "dwa"), plugins.get("teacher", "scratch")]
    check_preset(Request(("dwa",), preset="cpu"), entries)
    with pytest.raises(UnknownName, match="cpu"):
        check_preset(Request(("dwa",), preset="cpuu"), entries)


def test_presets_belong_to_the_thing_their_folder_is_named_after(plugins):
    assert "cpu" in presets_of(plugins.get("teacher", "scratch"))
    assert presets_of(plugins.get("teacher", "checkpoint")) == {}
    assert presets_of(plugins.get("synthesizer", "random")) == {}


def test_every_preset_of_every_plugin_holds_valid_options_with_their_sources(plugins):
    count = 0
    for kind in ("synthesizer", "teacher"):
        for name in plugins.names(kind):
            entry = plugins.get(kind, name)
            for preset in presets_of(entry).values():
                resolved = resolve(entry.value.options, [preset.layer], owner=name)
                assert all(preset.layer.notes.values()), preset
                assert set(preset.layer.values) <= set(resolved.sources)
                count += 1
    assert count >= 15


def test_the_control_has_three_draws_at_least_and_as_many_as_the_others_have_sets(plugins):
    random, dwa = methods(Request(("dwa",)), plugins, facts())
    cell = Cell(random, facts(), 1, None, None, None, 0, 0, "control")
    assert [(one.distill_seed, one.eval_seed) for one in expand(cell, (1, 2))] == [(d, e) for d in range(3) for e in range(2)]
    assert len(list(expand(cell, (5, 1)))) == 5
    assert len(list(expand(replace(cell, method=dwa), (1, 2)))) == 2


def test_only_methods_that_start_from_a_prior_get_a_zero_iterations_control_of_their_own(plugins):
    random, dwa = methods(Request(("dwa",)), plugins, facts())
    assert zero_iterations(random) is None
    assert zero_iterations(dwa) is None

    class FromPrior(type(dwa.synthesizer)):
        name = "from-prior"

        def start(self, o):
            return "prior"

    options = resolve(FromPrior.options, [Layer("x", {})], owner="x")
    control = zero_iterations(Method(replace(dwa.entry, value=FromPrior()), options))
    assert control.options.values.iterations == 0
    assert control.options.sources["iterations"] == "control"


def test_a_run_of_hours_names_the_cheaper_recipe_of_what_is_in_it(tmp_path):
    asked = {"dataset": "digits", "protocol": "quick-hard/1", "ipc": 50, "options": {"iterations": 1_000_000}}
    (note,) = [note for note in ddbench.plan("dm", store=tmp_path, **asked).notes if "cheaper" in note]
    assert note.startswith("this takes hours; cheaper: --preset cpu (dm: ")
    assert "scratch" not in note


def test_a_control_is_told_apart_from_its_method_in_a_plan(tmp_path):
    planned = ddbench.plan("hglad", store=tmp_path, protocol="quick-hard/1", ipc=1)
    titles = [stage.title for stage in planned.stages]
    assert len(set(titles)) == len(titles)
    assert "hglad before its first step, ipc 1, distill seed 0" in titles


@pytest.mark.parametrize(("name", "sets"), [("herding", 1), ("kcenter", 1), ("full", 1), ("noise", 3), ("dm", 3)])
def test_a_method_that_draws_nothing_has_one_set_and_a_plan_says_so(name, sets, tmp_path):
    asked = {"students": ["convnet1-w32"], "protocol": "quick-hard/1", "ipc": 1, "distill_seeds": 3, "eval_seeds": 2}
    planned = ddbench.plan(name, store=tmp_path, **asked)
    seeds = [(one.cell.distill_seed, one.cell.eval_seed) for one in planned.cells if one.cell.synthesizer == name]
    assert seeds == [(distill, evaluation) for distill in range(sets) for evaluation in range(2)]
    assert any(note.startswith(f"{name} draws nothing") for note in planned.notes) is (sets == 1)
    assert {one.cell.distill_seed for one in planned.cells if one.cell.synthesizer == "random"} == {0, 1, 2}
