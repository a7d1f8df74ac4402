"""scratch: recipes against torch's own schedulers, and a training that can be killed."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR, StepLR

from ddbench.errors import BadOption
from ddbench.options import read_presets, resolve
from ddbench.seeding import seeded_globally
from ddbench.training.schedules import step_factors
from ddbench_plugins.networks import ddbench_networks
from ddbench_plugins.teachers import Scratch
from ddbench_plugins.teachers.scratch import ScratchOptions, recipe

PRESETS = read_presets(files("ddbench_plugins.teachers") / "presets" / "scratch")
SHORT = {"epochs": 12, "batch": 16, "lr": 0.05, "augment": ("shift",), "schedule": "onecycle", "warmup_epochs": 2}


class Killed(Exception):
    """Stands for a kill."""


@pytest.fixture
def squeeze(context, spec):
    """Train the toy's teacher from the same initialisation and the same generator each time."""

    kind = type(context.network("", None))

    def train(**options):
        with seeded_globally(7):
            initial = kind()
        context.network = lambda _, __: initial
        context.generator = torch.Generator().manual_seed(3)
        return Scratch().train(context, ScratchOptions(**{**SHORT, **options}), spec)

    return train


def equal_weights(a, b) -> bool:
    return all(tensor.equal(b.module.state_dict()[name]) for name, tensor in a.module.state_dict().items())


def options_of(*presets: str) -> ScratchOptions:
    values = resolve(ScratchOptions, [PRESETS[name].layer for name in presets], owner="teacher 'scratch'").values
    assert isinstance(values, ScratchOptions)
    return values


def by_epoch(options: ScratchOptions) -> list[float]:
    """Return the learning rate of each epoch, with one step an epoch."""
    return [options.lr * factor for factor in step_factors(recipe(options), images=options.batch)]


def torchs_rates(lr: float, epochs: int, make) -> list[float]:
    """Return the rates that torch's scheduler, stepped after each epoch, gives."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler, rates = make(optimiser), []
    for _ in range(epochs):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
@pytest.mark.parametrize(
    ("preset", "make"),
    [
        ("cifar100", lambda o: CosineAnnealingLR(o, T_max=200)),
        ("imagenet", lambda o: StepLR(o, step_size=30, gamma=0.1)),
        (
            "tiny-imagenet",
            lambda o: SequentialLR(o, [LinearLR(o, 0.01, 1.0, total_iters=5), CosineAnnealingLR(o, T_max=45)], milestones=[5]),
        ),
    ],
)
def test_presets_give_the_rates_of_the_papers_schedulers(preset, make):
    options = options_of(preset)
    assert by_epoch(options) == pytest.approx(torchs_rates(options.lr, options.epochs, make), rel=1e-6, abs=1e-12)


def test_cifar_presets_are_the_defaults_and_the_squeeze_of_sre2l():
    assert options_of("cifar10") == options_of("cifar100") == ScratchOptions()
    made = recipe(ScratchOptions())
    optimiser = made.optimiser
    assert (optimiser.name, optimiser.lr, optimiser.momentum, optimiser.weight_decay, optimiser.decay) == (
        "sgd",
        0.1,
        0.9,
        5e-4,
        "all",
    )
    assert (made.batch, made.epochs, [step.name for step in made.augment], made.augment[0].pad) == (128, 200, ["crop", "flip"], 4)
    assert made.mix is None
    assert made.ema is None


def test_e100_changes_nothing_but_the_number_of_epochs():
    assert options_of("tiny-imagenet", "e100") == options_of("tiny-imagenet").model_copy(update={"epochs": 100})


def test_the_cheap_recipe_keeps_the_datasets_augmentation():
    assert options_of("tiny-imagenet", "cpu").augment == ("rrc", "flip")
    assert options_of("cifar10", "cpu").augment == ("crop", "flip")
    assert (options_of("cpu").epochs, PRESETS["cpu"].network) == (20, "convnet3-bn")


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_names_a_network_and_resolves_with_a_source_for_each_value(name):
    preset = PRESETS[name]
    bare = str(preset.network).rpartition("/")[2]
    assert any(bare in family.names() or bare.removesuffix("-bn") in family.names() for family in ddbench_networks())
    assert set(preset.layer.notes) == set(preset.layer.values)
    assert preset.title
    recipe(options_of(name))


def test_the_card_is_json_and_holds_the_top1_of_the_plain_train_images(squeeze, train):
    teacher = squeeze(augment=())
    card = json.loads(json.dumps(teacher.card))
    mean, std = (values.view(3, 1, 1) for values in (teacher.mean, teacher.std))
    answers = teacher.module((train.pixels.float() / 255 - mean) / std).argmax(dim=1)
    assert card["train_top1"] == (answers == train.labels).double().mean().item() > 0.9
    assert [epoch for epoch, _ in card["loss_curve"]] == list(range(12))
    assert card["loss_curve"][-1][1] < 0.5 * card["loss_curve"][0][1]
    assert (card["steps"], card["images_seen"]) == (12 * 8, 12 * 120)


def test_the_teacher_comes_in_eval_mode_and_frozen(squeeze):
    teacher = squeeze()
    assert not teacher.module.training
    assert not any(parameter.requires_grad for parameter in teacher.module.parameters())


def test_equal_generators_give_equal_bytes_and_nothing_global_is_drawn(squeeze):
    before = torch.get_rng_state()
    first, second = squeeze(), squeeze()
    assert equal_weights(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kill_after", [1, 7])
def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(squeeze, context, kill_after):
    whole, kept = squeeze(), []

    def keep(state):
        kept.append({name: tensor.clone() for name, tensor in state.items()})
        if len(kept) == kill_after:
            raise Killed

    context.checkpoint = keep
    with pytest.raises(Killed):
        squeeze()
    context.checkpoint, context.resumed = lambda _: None, lambda: kept[-1]
    resumed = squeeze()
    assert equal_weights(resumed, whole)
    assert resumed.card == whole.card


def test_given_mean_and_std_are_those_the_network_is_trained_with(squeeze, context, train):
    given = squeeze(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    train.facts = replace(train.facts, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    of_the_dataset = squeeze()
    assert equal_weights(given, of_the_dataset)
    assert torch.equal(given.mean, torch.tensor([0.1, 0.2, 0.3]))
    assert torch.equal(given.std, torch.tensor([0.5, 0.6, 0.7]))


def test_normalisation_for_another_number_of_channels_is_refused(squeeze):
    with pytest.raises(BadOption, match="'std': 2 values given, and the dataset has 3 channels"):
        squeeze(std=(0.5, 0.5))


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"lr": -1.0}, {"momentum": 1.0}, {"schedule": "wavy"}, {"augment": ["mosaic"]}])
def test_options_out_of_bounds_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        ScratchOptions(**bad)
