"""Steps recorded as a graph against the same steps taken one by one; a CPU stands in for a device with graphs."""

from __future__ import annotations

import sys

import pytest
import torch

from ddbench.api.protocol import Augment, Loss, Mix, Optimiser, ProtocolSpec, Schedule
from ddbench.training.graphs import WARM_UPS
from ddbench.training.optimisers import make_optimiser
from ddbench.training.students import Student, StudentSeeds, train_student
from recording import Recorder, Refusing

LOOP = sys.modules["ddbench.training.loop"]

SGD = Optimiser(name="sgd", lr=0.02, momentum=0.9, weight_decay=5e-4)
ADAMW = Optimiser(name="adamw", lr=0.01, weight_decay=0.01)
HARD = {"label_regime": "hard", "loss": Loss(name="ce")}
SOFT = {"label_regime": "soft_online", "loss": Loss(name="kl", temperature=4.0, times_t2=True)}
DROP = Schedule(name="step", at=0.5, fresh_optimiser=True)


def _spec(**changes):
    values = {
        "name": "test/1",
        "title": "",
        "source": "",
        "optimiser": SGD,
        "schedule": Schedule(name="cosine"),
        "batch": 10,
        "epochs": 8,
        "augment": (Augment(name="crop", pad=1), Augment(name="dsa")),
    }
    if changes["label_regime"] != "hard":
        values["teacher_bn"] = "batch"
    return ProtocolSpec(**{**values, **changes})


@pytest.fixture
def answered(toy, teacher):
    return toy(teacher=teacher)


@pytest.fixture
def recorded(monkeypatch):
    """Return a function that lets trainings record, and what recorded, one for each size of batch."""
    optimisers, recorders = [], []

    def places():
        (optimiser,) = optimisers
        groups = [group["lr"] for group in optimiser.param_groups]
        kept = [value for values in optimiser.state.values() for value in values.values()]
        return [*groups, *kept, *(p for group in optimiser.param_groups for p in group["params"]), *places.network.buffers()]

    def made(network, recipe, *, recorded):
        assert recorded
        places.network = network
        optimisers[:] = [make_optimiser(network, recipe, recorded=True)]
        return optimisers[0]

    def start(kind):
        def recorder_of(device):
            recorders.append(kind(places))
            return recorders[-1]

        monkeypatch.setattr(LOOP, "recorder_of", recorder_of)
        monkeypatch.setattr(LOOP, "make_optimiser", made)
        monkeypatch.setattr(LOOP, "RECORD_FROM", 0)
        recorders.clear()
        return recorders

    return start


def _trained(small, data, spec, run):
    trained = train_student(Student(small(1), "test/small"), data, spec, seeds=StudentSeeds(0), run=run)
    return [value.clone() for value in trained.network.state_dict().values()], trained


@pytest.mark.parametrize(
    "changes",
    [
        HARD,
        SOFT,
        {**SOFT, "optimiser": ADAMW},
        {**HARD, "schedule": DROP},
        {**HARD, "schedule": DROP, "optimiser": ADAMW},
        {**SOFT, "mix": Mix(name="cutmix", alpha=1.0)},
        {**SOFT, "mix": Mix(name="mixup", alpha=0.8), "ema": 0.9},
    ],
    ids=["hard", "soft", "adamw", "fresh sgd", "fresh adamw", "cutmix", "mixup, averaged"],
)
def test_recorded_steps_are_the_steps(small, answered, run, recorded, changes):
    data, spec = answered, _spec(**changes)
    recorded(Refusing)
    expected, plain = _trained(small, data, spec, run)
    recorders = recorded(Recorder)
    found, trained = _trained(small, data, spec, run)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert trained.curve == plain.curve
    assert not trained.notes
    assert [recorder.taken for recorder in recorders[1:]] == [WARM_UPS, WARM_UPS]  # two sizes of batch: 10 and 4


def test_where_steps_cannot_be_recorded_the_result_says_so(small, toy, run, recorded):
    recorded(Refusing)
    _, trained = _trained(small, toy(), _spec(**HARD), run)
    (note,) = trained.notes
    assert note.startswith("a step could not be recorded as a graph (operation not permitted")


def test_few_steps_are_not_recorded(small, toy, run, recorded, monkeypatch):
    recorders = recorded(Recorder)
    monkeypatch.setattr(LOOP, "RECORD_FROM", 16)
    _trained(small, toy(), _spec(**HARD), run)  # two batches of 10 and one of 4, eight times
    assert [recorder.taken for recorder in recorders[1:]] == [WARM_UPS]
