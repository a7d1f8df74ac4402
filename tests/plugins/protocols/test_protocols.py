"""The shipped recipes: frozen, and saying what `evaluation.md` section 2 says."""

from __future__ import annotations

import math

import pytest

from ddbench.api.protocol import training_epochs, training_steps
from ddbench.training.recipe import student_recipe
from ddbench.training.schedules import drops_at, step_factors
from ddbench_plugins.protocols import ddbench_protocols

SPECS = {spec.name: spec for spec in ddbench_protocols()}

FROZEN = {
    "dc-hard/1": "e8603b9bbef0f89daacf49a5b17092971ffbb81a4a399c6297fd6c6ab580b06f",
    "dc-hard-noaug/1": "2ef3ca0eb1339f7d5f2168906dfe288a3be2dbf1b5e4cf24821f1a98b48d7fc0",
    "dwa-cifar/1": "369a295d9bf65b516ce5506d75bd97fdc3fa71a5001043b75671e5538f38076d",
    "dwa-cifar-author/1": "7a035c6944ec618e19da6bfa2b77f8f0c3a4d542bd1eaf626f87d46950570f56",
    "dwa-cifar-stored/1": "e5eb84d19cdd84558a8dd35e09c2d1326b854d228f97c814ab626ac6a63ddcde",
    "dwa-imagenet/1": "2d685e25410431c673d9e63cce9afc8aef5872e2703c9696546b17e6c3daa7d7",
    "eccv24/1": "7f4ec08e612d589bb02009c273a4b9b4547699ad02e96a9901c464a1dd47ae4e",
    "full-steps/1": "81bade369698c51be4d2c21ddbc615f356738abf1c2efdd58d6607ed0064b556",
    "glad/1": "100515bbfa8a107b387e6f2119dfd928c97be79ba900f85bf5736cfc39ce2f03",
    "mtt/1": "91c0e1a5025b9ae8d9ffedf6dd16c5aa9e2f8bfcf56c466143b584faf8416413",
    "quick-hard/1": "0f768ea6e45c5a0d8bc9ade5066b3f2571d2e0e9672244d1e1f447fd9c911587",
    "quick-soft/1": "f3eb93edd4f6a1b48c0a11b56d30209b39b9ca06e5f51c1cb09cb0eb886e782d",
    "soft-once/1": "ee0ccfd04ce6600179241ea0443410a8a7d9f8f6417aea06bea00161ae75cdc2",
    "tiny/1": "79eb18537efa61a74584d1f94362db10d3fc509756838776c432215b2ff3d58a",
}


def _recipe(name, student="ddbench/convnet3", **settings):
    return student_recipe(SPECS[name], student, **settings)


def test_no_shipped_protocol_has_changed():
    """A protocol is frozen: a change makes a new version, and records of different versions never share a column."""
    assert {name: spec.sha256 for name, spec in SPECS.items()} == FROZEN


@pytest.mark.parametrize(
    ("name", "images", "steps"),
    [
        ("dwa-cifar/1", 100, 400),  # CIFAR-10, ten per class: one step an epoch
        ("dwa-cifar/1", 500, 1600),
        ("dwa-cifar-author/1", 1000, 3200),  # CIFAR-100, ten per class
        ("dwa-cifar-stored/1", 5000, 16_000),
        ("dwa-imagenet/1", 10_000, 79 * 300),
        ("dc-hard/1", 10, 1000),
        ("dc-hard/1", 500, 2000),
        ("dc-hard-noaug/1", 100, 300),
        ("soft-once/1", 100, 300),
        ("tiny/1", 10_000, 157 * 200),
        ("glad/1", 10, 1000),
        ("eccv24/1", 1000, 4000),
        ("mtt/1", 100, 1000),
        ("full-steps/1", 50_000, 10_000),
        ("full-steps/1", 899, 10_000),
        ("quick-hard/1", 100, 200),
        ("quick-soft/1", 10, 200),
    ],
)
def test_step_counts_are_the_closed_forms(name, images, steps):
    recipe = _recipe(name)
    assert training_steps(recipe, images) == steps
    assert len(step_factors(recipe, images)) == steps


@pytest.mark.parametrize(
    ("name", "drop"),
    [("dc-hard/1", 501), ("dc-hard-noaug/1", 151), ("soft-once/1", 151), ("eccv24/1", 501), ("mtt/1", 501), ("full-steps/1", 5001)],
)
def test_the_rate_drops_at_half_plus_one_with_a_fresh_optimiser(name, drop):
    factors = step_factors(_recipe(name), 10)
    assert factors == [1.0] * drop + [0.1] * (len(factors) - drop)
    assert drops_at(_recipe(name), 10) == drop


def test_cosine_recipes_end_at_zero_per_epoch():
    for name in ("dwa-cifar/1", "dwa-cifar-author/1", "dwa-cifar-stored/1", "dwa-imagenet/1"):
        factors = step_factors(_recipe(name), 100)
        epochs = training_epochs(_recipe(name), 100)
        assert factors == pytest.approx([(1 + math.cos(math.pi * e / epochs)) / 2 for e in range(epochs)])


def test_tiny_warms_up_for_five_epochs_from_a_hundredth():
    factors = step_factors(_recipe("tiny/1"), 64)
    assert factors[:6] == pytest.approx([0.01, 0.208, 0.406, 0.604, 0.802, 1.0])
    assert factors[6] == pytest.approx((1 + math.cos(math.pi / 195)) / 2)


def test_glad_rises_from_zero_for_half_and_falls_to_zero_for_half():
    factors = step_factors(_recipe("glad/1"), 10)
    assert (factors[0], factors[250], factors[500]) == (0.0, pytest.approx(0.5), 1.0)
    assert factors[-1] < 1e-5
    assert _recipe("glad/1").lr == 1e-3
    assert _recipe("glad/1", "ddbench/vgg11").lr == 1e-4
    assert _recipe("glad/1").ema == 0.995


def test_quick_recipes_are_one_cycle_by_step():
    for name in ("quick-hard/1", "quick-soft/1"):
        factors = step_factors(_recipe(name), 100)
        assert factors[0] == pytest.approx(0.04)
        assert factors[59] == pytest.approx(1.0)
        assert factors[-1] == pytest.approx(0.0)


def test_the_challenge_admits_its_one_student():
    assert SPECS["eccv24/1"].admits("ddbench/convnet3")
    assert not SPECS["eccv24/1"].admits("ddbench/convnet3-bn")
    assert SPECS["dc-hard/1"].admits("timm/resnet18")


def test_trajectory_matching_takes_the_learned_rate():
    assert _recipe("mtt/1", learned_lr=0.03).lr == 0.03
    assert _recipe("mtt/1").lr == 0.01


def test_authors_recipe_differs_from_the_plain_one_in_the_teachers_batch_norm_only():
    plain, author = (SPECS[name].model_dump(exclude={"name", "title", "source"}) for name in ("dwa-cifar/1", "dwa-cifar-author/1"))
    assert {key for key in plain if plain[key] != author[key]} == {"teacher_bn"}
    assert author["teacher_bn"] == "batch"


def test_the_stored_recipe_differs_from_the_plain_one_in_the_regime_only():
    plain, stored = (SPECS[name].model_dump(exclude={"name", "title", "source"}) for name in ("dwa-cifar/1", "dwa-cifar-stored/1"))
    assert {key for key in plain if plain[key] != stored[key]} == {"label_regime"}
    assert SPECS["dwa-cifar-stored/1"].label_bytes(5000, 100) == 400_000_000


def test_the_challenge_is_dc_hard_for_one_student():
    ours, challenge = (SPECS[name].model_dump(exclude={"name", "title", "source"}) for name in ("dc-hard/1", "eccv24/1"))
    assert {key for key in ours if ours[key] != challenge[key]} == {"students"}


def test_temperatures_say_whether_they_are_squared():
    squared = {name: (s.loss.temperature, s.loss.times_t2) for name, s in SPECS.items() if s.loss.name == "kl"}
    assert squared == {
        "dwa-cifar/1": (30.0, False),
        "dwa-cifar-author/1": (30.0, False),
        "dwa-cifar-stored/1": (30.0, False),
        "dwa-imagenet/1": (20.0, False),
        "tiny/1": (20.0, True),
        "quick-soft/1": (4.0, True),
    }


def test_files_state_every_choice_that_moves_a_number():
    for spec in SPECS.values():
        assert {"decay", "weight_decay"} <= spec.optimiser.model_fields_set, spec.name
        assert "per" in spec.schedule.model_fields_set, spec.name
        assert spec.loss.name != "kl" or {"temperature", "times_t2"} <= spec.loss.model_fields_set, spec.name
        assert not spec.smoke
