from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ddbench import Precision
from ddbench import context as contexts
from ddbench.context import GroupProgress, StageContext, Throttled
from ddbench.data import HeldSplit
from ddbench.errors import UnknownName
from ddbench.seeding import generator_for
from ddbench.store import Store
from ddbench.testing import toy_dataset
from ddbench.testing.toys import ToyFamily


class Clock:
    """A clock that the test moves."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(contexts.time, "monotonic", lambda: self.now)


class Seen:
    def __init__(self):
        self.updates = []

    def update(self, step, total, **scalars):
        self.updates.append((step, total, scalars))


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def context(tmp_path, clock):
    store = Store(tmp_path)
    train, work = HeldSplit(toy_dataset()), store.work("key")
    return StageContext(
        train, torch.device("cpu"), generator_for("test"), Precision(), {"toy": ToyFamily()}, work=work, write=store.write_file
    )


def test_a_checkpoint_is_kept_at_most_once_in_ten_seconds_and_comes_back(context, clock):
    context.checkpoint({"w": torch.tensor([1.0])})
    assert context.resumed() is None
    clock.now += 11
    context.checkpoint({"w": torch.tensor([2.0])})
    clock.now += 5
    context.checkpoint({"w": torch.tensor([3.0])})
    assert context.resumed()["w"].item() == 2.0
    assert context.spent_before_s == 11.0


def test_a_checkpoint_that_is_not_whole_is_as_good_as_none(context, clock):
    clock.now += 11
    context.checkpoint({"w": torch.ones(100)})
    path = context.folder / contexts.CHECKPOINT
    path.write_bytes(path.read_bytes()[:-1])
    assert context.resumed() is None


def test_a_checkpoint_does_not_change_with_what_it_was_made_from(context, clock):
    clock.now += 11
    weights = torch.ones(3)
    context.checkpoint({"w": weights})
    weights.zero_()
    assert context.resumed()["w"].tolist() == [1.0, 1.0, 1.0]


def test_a_note_is_kept_once_and_comes_back_with_the_checkpoint(context, clock):
    clock.now += 11
    context.note("half as many images at once")
    context.note("half as many images at once")
    context.checkpoint({"w": torch.ones(1)})
    context.note("after the checkpoint")
    assert context.notes == ["half as many images at once", "after the checkpoint"]
    again = replace(context, notes=[])
    assert set(again.resumed()) == {"w"}
    assert again.notes == ["half as many images at once"]


def test_progress_reads_scalars_a_few_times_a_second_and_at_the_end(clock):
    seen = Seen()
    throttled = Throttled(seen)
    for step in range(1, 11):
        clock.now += 0.1
        throttled.progress(step, 10, loss=torch.tensor(float(step)))
    assert [step for step, _, _ in seen.updates] == [1, 4, 7, 10]
    assert seen.updates[-1] == (10, 10, {"loss": 10.0})


def test_a_groups_progress_is_part_of_the_whole():
    seen = Seen()
    GroupProgress(seen, 2, 4).update(5, 10, loss=1.0)
    assert seen.updates == [(25, 40, {"loss": 1.0})]


def test_a_fresh_network_depends_on_the_generator_alone(context):
    before = torch.get_rng_state()
    first, second, third = (context.network("toy/cnn", generator_for("x", seed)).state_dict() for seed in (0, 0, 1))
    assert torch.get_rng_state().equal(before)
    assert all(first[name].equal(second[name]) for name in first)
    assert not first["0.weight"].equal(third["0.weight"])


def test_an_unknown_network_is_refused(context):
    with pytest.raises(UnknownName):
        context.network("toy/nothing-like-it", generator_for("x"))


def test_a_scalar_that_carries_a_graph_is_read_like_any_other():
    class Shown:
        def update(self, step, total, **scalars):
            self.scalars = scalars

    shown = Shown()
    Throttled(shown).progress(1, 1, loss=torch.ones((), requires_grad=True) * 2, rate=0.5)
    assert shown.scalars == {"loss": 2.0, "rate": 0.5}
