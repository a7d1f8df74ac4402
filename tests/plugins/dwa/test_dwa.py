from __future__ import annotations

import copy
import subprocess
import sys
from importlib.resources import files

import pytest
import torch
from plain.recover import PlainJob, plain_adjust, plain_recover

from ddbench import Job, Precision, TrainedNetwork
from ddbench.context import StageContext
from ddbench.errors import NotEnoughImages
from ddbench.kit import Pixels, RecoverRecipe, Start, Starts, TappedTeacher, recover, views_of
from ddbench.options import read_presets, resolve
from ddbench.testing import Bench
from ddbench_plugins.dwa import Dwa, DwaOptions
from ddbench_plugins.dwa.adjust import Adjustment, Shown, ascend, global_norm
from ddbench_plugins.sre2l import Sre2l, Sre2lOptions

NAMES = ["cifar10", "cifar100", "cpu", "digits", "imagenet", "tiny-imagenet"]
CHEAP = {"iterations": 4, "lr": 0.05, "roll_low": -1, "roll_high": 1, "batch": 3}


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path / "store")


def options_of(*presets: str) -> DwaOptions:
    known = read_presets(files("ddbench_plugins.dwa").joinpath("presets"))
    return resolve(DwaOptions, [known[name].layer for name in presets], owner="synthesizer 'dwa'").values


def test_the_plugin_imports_no_torch():
    code = "import sys, ddbench_plugins.dwa; print(sorted({'torch', 'torchvision', 'timm'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("still", [{"rho": 0.0}, {"direction": "none"}])
@pytest.mark.parametrize("view", ["roll", "rrc_flip_roll"])
def test_without_adjustment_and_with_equal_options_dwa_gives_the_bytes_of_sre2l(bench, still, view):
    common = {**CHEAP, "view": view}
    sre2l = bench.distil(Sre2l(), ipc=3, options=common)
    dwa = bench.distil(Dwa(), ipc=3, options={**common, "r_var": 1.0, "init": "noise", **still})
    assert dwa.sha256 == sre2l.sha256


def test_options_that_both_have_mean_the_same_in_both():
    ours, theirs = DwaOptions.model_fields, Sre2lOptions.model_fields
    assert set(theirs) < set(ours)
    assert all(ours[name].annotation == theirs[name].annotation for name in theirs)
    assert all(ours[name].description == theirs[name].description for name in theirs)
    assert all(ours[name].metadata == theirs[name].metadata for name in theirs)
    assert {name for name in theirs if ours[name].default != theirs[name].default} == {"r_var", "init"}


@pytest.mark.parametrize("change", [{"rho": 0.5}, {"direction": "random"}, {"normalize": "none"}, {"scope": "per_ipc"}])
def test_what_decides_the_weights_decides_the_images(bench, change):
    base = {**CHEAP, "rho": 0.2, "steps": 2}
    plain = bench.distil(Dwa(), ipc=2, options=base)
    assert not torch.equal(bench.distil(Dwa(), ipc=2, options={**base, **change}).images, plain.images)


def test_carried_gradients_change_the_first_step(bench):
    base = {**CHEAP, "rho": 0.2, "steps": 2}
    plain, carried = (bench.distil(Dwa(), ipc=1, options={**base, "carry_xgrad": carry}) for carry in (False, True))
    assert not torch.equal(plain.images, carried.images)


def test_jobs_with_weights_of_their_own_are_not_stacked(bench):
    assert Dwa().stack(DwaOptions(), bench.data.facts) == 1
    assert Dwa().stack(DwaOptions(rho=0.0), bench.data.facts) == Sre2l().stack(Sre2lOptions(), bench.data.facts)


def test_carrying_gradients_that_are_not_taken_is_refused():
    with pytest.raises(ValueError, match="carry_xgrad needs direction = ascent"):
        DwaOptions(carry_xgrad=True, scope="per_ipc")
    with pytest.raises(ValueError, match="carry_xgrad needs direction = ascent"):
        DwaOptions(carry_xgrad=True, direction="random")


def test_more_images_than_a_class_has_are_refused_before_the_start(bench):
    with pytest.raises(NotEnoughImages, match="12 train images, and 13 were asked for"):
        Dwa().jobs(DwaOptions(), bench.data.facts, 13, 0)


class Scene:
    """One job's class batches and a tapped teacher, all that an adjustment sees, in float64."""

    def __init__(self, bench: Bench, **options) -> None:
        session = bench.session()
        (network, _) = next(iter(session.teachers.values()))
        wide = TrainedNetwork(network.module.double(), network.classes, network.mean.double(), network.std.double())
        self.context = StageContext(session.train, torch.device("cpu"), torch.Generator(), Precision(), {}, {"teacher": wide})
        self.options = DwaOptions(**{**CHEAP, "batch": 2, "rho": 0.2, "steps": 3, **options})
        job = Job(1, (0, 1, 2, 3), seed=5)
        self.starts = Starts(self.context, RecoverRecipe.of(self.options), [job], Pixels.of(wide, self.context.device))
        self.tapped = TappedTeacher(wide.module, (3, 8, 8))
        self.adjustment = Adjustment(self.context, self.options)

    def moved(self, number: int) -> dict[str, torch.Tensor]:
        """Return how far the weights are from the teacher's after the adjustment for a class batch."""
        self.adjustment(self.tapped, self.starts, number)
        return {name: values.detach() - self.tapped.originals[name] for name, values in self.tapped.moved.items()}


@pytest.mark.parametrize("carry", [False, True])
def test_adjusting_and_recovering_are_those_of_the_plain_implementation(bench, carry):
    """Weights that the plain one moved in place, and whose gradients it gathers ever after, over fifty steps in float64."""
    scene = Scene(bench, iterations=50, batch=4, lr=0.1, carry_xgrad=carry, roll_low=2, roll_high=2)
    recipe, starts = RecoverRecipe.of(scene.options), scene.starts
    views = views_of(recipe.view_rule, 50, (8, 8), starts.generators("recover views", 0))
    start = Start(starts.images(0), starts.labels(0), views, scene.adjustment(scene.tapped, starts, 0))
    made = recover(scene.tapped, start, recipe, pixels=starts.pixels)
    plain = copy.deepcopy(scene.context.needs["teacher"].module).requires_grad_()
    gradient = plain_adjust(plain, PlainJob(start.images, start.labels, views[:, 0]), rho=0.2, steps=3)
    job = PlainJob(start.images, start.labels, views[:, 0], gradient if carry else None)
    expected = plain_recover(plain, job, recipe=recipe, pixels=starts.pixels, frozen=False)
    assert torch.allclose(made, expected, rtol=0, atol=1e-8)


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_with_reset_a_class_batchs_weights_do_not_depend_on_those_before(bench):
    scene = Scene(bench)
    scene.moved(0)
    after_another = scene.moved(1)
    assert equal(after_another, Scene(bench).moved(1))
    assert float(global_norm(after_another)) <= 0.2 * (1 + 1e-9)


def test_as_released_for_imagenet_weights_move_on_from_the_last_class_batch(bench):
    still = {"roll_low": 0, "roll_high": 0}
    scene, reset = Scene(bench, scope="reference_cumulative", **still), Scene(bench, **still)
    first = scene.moved(0)
    assert equal(first, reset.moved(0))
    second = scene.moved(1)
    assert not equal(second, reset.moved(1))
    shown = Shown(scene.starts.images(1), torch.tensor([2, 3]), torch.tensor([[0, 0]]))
    theta = {name: values + first[name] for name, values in scene.tapped.originals.items()}
    module = scene.context.needs["teacher"].module
    expected, _ = ascend(module, theta, [shown], options=scene.options, precision=Precision())
    assert all(torch.allclose(values, scene.tapped.moved[name], atol=1e-12) for name, values in expected.items())
    assert equal(scene.moved(0), first)  # the next job starts from the teacher again


def test_per_ipc_moves_once_for_all_classes_of_a_job(bench):
    scene = Scene(bench, scope="per_ipc")
    first = scene.moved(0)
    assert equal(scene.moved(1), first)
    whole = Scene(bench, batch=4)
    assert all(torch.allclose(values, first[name], atol=1e-12) for name, values in whole.moved(0).items())


def test_adjustments_show_the_real_images_that_random_draws(bench):
    scene = Scene(bench)
    drawn = scene.starts.images(0)
    view = torch.tensor([[0, 0]])
    fixed = Scene(bench, roll_low=0, roll_high=0)
    theta = {name: values.clone() for name, values in fixed.tapped.originals.items()}
    module = fixed.context.needs["teacher"].module
    expected, _ = ascend(module, theta, [Shown(drawn, torch.tensor([0, 1]), view)], options=fixed.options, precision=Precision())
    assert all(torch.allclose(values + theta[name], expected[name], atol=1e-12) for name, values in fixed.moved(0).items())


def test_every_preset_is_valid_and_gives_a_recipe():
    known = read_presets(files("ddbench_plugins.dwa").joinpath("presets"))
    assert sorted(known) == NAMES
    for name, preset in known.items():
        RecoverRecipe.of(options_of(name))
        assert preset.title
        assert all(len(note) > 3 for note in preset.layer.notes.values())


def test_presets_hold_the_numbers_of_the_released_commands():
    def numbers(name: str) -> tuple[object, ...]:
        o = options_of(name)
        return o.iterations, o.batch, o.lr, o.r_bn, o.r_var, o.rho, o.steps, o.view, (o.roll_low, o.roll_high), o.init

    assert numbers("cifar10") == numbers("cifar100") == (1000, 100, 0.25, 0.01, 11.0, 0.015, 12, "roll", (0, 4), "real")
    assert numbers("tiny-imagenet") == (2000, 200, 0.1, 0.01, 11.0, 0.015, 12, "rrc_flip_roll", (0, 4), "real")
    assert numbers("imagenet") == (2000, 100, 0.25, 0.01, 2.0, 0.015, 15, "rrc_flip_roll", (0, 32), "real")


def test_the_cheap_preset_only_cuts_steps():
    cheap, full = options_of("cifar10", "cpu").model_dump(), options_of("cifar10").model_dump()
    assert {name for name in full if full[name] != cheap[name]} == {"iterations"}


def test_the_readme_names_every_option():
    text = files("ddbench_plugins.dwa").joinpath("README.md").read_text("utf-8")
    assert [name for name in DwaOptions.model_fields if f"`{name}`" not in text] == []
