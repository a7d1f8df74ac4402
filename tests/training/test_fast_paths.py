"""The fast ways through the loop against the plain one: bf16, channels-last, compiled."""

from __future__ import annotations

import pytest
import torch

from ddbench.api.context import Precision
from ddbench.api.protocol import Augment, Loss, Optimiser, ProtocolSpec, Schedule
from ddbench.training.loop import RunSettings, sizes_to_compile
from ddbench.training.precision import device_abilities
from ddbench.training.recipe import student_recipe
from ddbench.training.students import Student, StudentSeeds, train_student

CPU = torch.device("cpu")


def _spec(**changes):
    values = {
        "name": "test/1",
        "title": "",
        "source": "",
        "label_regime": "soft_online",
        "optimiser": Optimiser(name="sgd", lr=0.02, momentum=0.9, weight_decay=5e-4),
        "schedule": Schedule(name="cosine"),
        "batch": 10,
        "epochs": 3,
        "augment": (Augment(name="crop", pad=1), Augment(name="dsa")),
        "loss": Loss(name="kl", temperature=4.0, times_t2=True),
        "teacher_bn": "batch",
    }
    return ProtocolSpec(**{**values, **changes})


def _weights(small, data, precision):
    trained = train_student(Student(small(1), "test/small"), data, _spec(), seeds=StudentSeeds(0), run=RunSettings(CPU, precision))
    return torch.cat([value.flatten().float() for value in trained.network.state_dict().values()]), trained


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [(Precision("fp32", channels_last=True), 1e-4), (Precision("bf16"), 0.03), (Precision("bf16", channels_last=True), 0.03)],
)
def test_layout_and_bf16_train_the_plain_network_up_to_rounding(small, toy, teacher, precision, tolerance):
    data = toy(teacher=teacher)
    plain, _ = _weights(small, data, Precision())
    fast, trained = _weights(small, data, precision)
    torch.testing.assert_close(fast, plain, atol=tolerance, rtol=tolerance)
    assert all(p.dtype == torch.float32 and p.is_contiguous() for p in trained.network.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(not device_abilities(CPU).compiler, reason="this machine has no C++ compiler")
def test_compiled_training_is_the_plain_one_up_to_rounding(small, toy, teacher):
    data = toy(teacher=teacher)
    plain, _ = _weights(small, data, Precision())
    fast, trained = _weights(small, data, Precision("fp32", compile=True, channels_last=True))
    assert trained.notes == ()
    torch.testing.assert_close(fast, plain, atol=1e-3, rtol=1e-3)


def test_a_rare_last_batch_is_not_compiled_for():
    recipe = student_recipe(_spec(), "")
    assert sizes_to_compile(recipe, 24) == {10}
    often = student_recipe(_spec(epochs=500), "")
    assert sizes_to_compile(often, 24) == {10, 4}
    assert sizes_to_compile(recipe, 7) == {7}
