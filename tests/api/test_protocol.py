"""Protocols as data: what is refused, and what a hash holds."""

from __future__ import annotations

import pydantic
import pytest

from ddbench.api.protocol import (
    Augment,
    Loss,
    Mix,
    Optimiser,
    Override,
    ProtocolSpec,
    Schedule,
    read_protocols,
    training_epochs,
    training_steps,
)
from ddbench.errors import PluginFailed


def _spec(**changes):
    values = {
        "name": "test/1",
        "title": "a title",
        "source": "a paper",
        "label_regime": "hard",
        "optimiser": Optimiser(name="sgd", lr=0.1, weight_decay=0.0),
        "schedule": Schedule(name="constant"),
        "batch": 10,
        "epochs": 4,
        "loss": Loss(name="ce"),
    }
    return ProtocolSpec(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": 10}, "exactly one"),
        ({"epochs": None}, "exactly one"),
        ({"label_regime": "soft_online", "loss": Loss(name="kl")}, "teacher_bn"),
        ({"teacher_bn": "running"}, "teacher_bn"),
        ({"loss": Loss(name="kl")}, "does not fit the label regime"),
        ({"mix": Mix(name="mixup", alpha=1.0)}, "mixing needs a teacher"),
        ({"epochs": None, "steps": 10, "schedule": Schedule(name="cosine")}, "schedule per step"),
        ({"optimiser": Optimiser(name="sgd", lr="set", weight_decay=0.0)}, "lr_without_set"),
        ({"name": "no version"}, "name"),
        ({"epoch": 3}, "epoch"),
    ],
)
def test_a_protocol_that_contradicts_itself_is_refused(changes, says):
    with pytest.raises(pydantic.ValidationError, match=says):
        _spec(**changes)


@pytest.mark.parametrize(
    "settings",
    [{"name": "step"}, {"name": "cosine", "at": 0.5}, {"name": "cosine", "fresh_optimiser": True}, {"name": "step", "at": 1.5}],
)
def test_a_schedule_that_contradicts_itself_is_refused(settings):
    with pytest.raises(pydantic.ValidationError):
        Schedule(**settings)


def test_an_unknown_group_of_dsa_is_refused():
    with pytest.raises(pydantic.ValidationError, match="blur"):
        Augment(name="dsa", strategy="color_blur")


def test_the_hash_holds_what_decides_a_number_and_nothing_else():
    assert _spec().sha256 == _spec(title="another", source="elsewhere").sha256
    changed = [
        _spec(name="test/2"),
        _spec(epochs=5),
        _spec(ema=0.9),
        _spec(augment=(Augment(name="flip"),)),
        _spec(overrides={"*": Override(lr=1.0)}),
        _spec().shortened(0.5),
    ]
    assert len({spec.sha256 for spec in [_spec(), *changed]}) == 1 + len(changed)


def test_a_value_spelled_out_hashes_as_the_default_that_it_is():
    assert _spec(schedule=Schedule(name="constant", per="epoch", end=0.0)).sha256 == _spec().sha256


def test_the_order_of_augmentations_is_part_of_the_hash():
    crop, flip = Augment(name="crop"), Augment(name="flip")
    assert _spec(augment=(crop, flip)).sha256 != _spec(augment=(flip, crop)).sha256


def test_shortened_training_is_marked_and_never_empty():
    short = _spec(epochs=4).shortened(0.01)
    assert (short.epochs, short.smoke) == (1, True)
    short = _spec(epochs=None, steps=300).shortened(0.1)
    assert (short.steps, short.smoke) == (30, True)


def test_overrides_and_admission_go_by_pattern():
    spec = _spec(overrides={"*/vgg11*": Override(lr=1e-4)}, students=("ddbench/*",))
    assert (spec.lr_for("ddbench/vgg11-bn"), spec.lr_for("ddbench/convnet3")) == (1e-4, 0.1)
    assert spec.admits("ddbench/convnet3")
    assert not spec.admits("timm/resnet18")


@pytest.mark.parametrize(("images", "steps", "epochs"), [(100, 7, 1), (24, 7, 3), (24, 6, 2), (9, 7, 7), (21, 7, 4)])
def test_steps_begin_as_many_epochs_as_they_need(images, steps, epochs):
    spec = _spec(epochs=None, steps=steps)
    assert (training_steps(spec, images), training_epochs(spec, images)) == (steps, epochs)


def test_epochs_make_as_many_steps_as_there_are_batches():
    assert training_steps(_spec(), 24) == 4 * 3
    assert training_steps(_spec(), 21) == 4 * 2


def test_only_stored_labels_have_a_price():
    assert _spec().label_bytes(100, 10) == 0
    stored = _spec(label_regime="soft_epoch", loss=Loss(name="kl"), teacher_bn="running")
    assert stored.label_bytes(100, 10) == 2 * 4 * 100 * 10


def test_a_file_that_is_no_protocol_is_named(tmp_path):
    (tmp_path / "bad.toml").write_text('name = "x/1"\n')
    with pytest.raises(PluginFailed, match=r"bad\.toml"):
        read_protocols(tmp_path)
