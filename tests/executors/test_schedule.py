"""The scheduler alone, with an executor that ends units when the test says so."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from ddbench.executors.schedule import Ended, Problem, Rules, failed_with, run_units
from ddbench.executors.units import Unit


def unit(key, *needs, threads=1):
    return Unit(key, "records", key, needs, (), (), 1.0, threads, "cpu")


@dataclass
class Scripted:
    """Runs as many as it has room for; each ends in the order it was started, as the script says."""

    script: dict[str, list[Ended]] = field(default_factory=dict)
    slots: int = 1
    running: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    most: int = 0
    stopped: bool = False

    def room(self, unit):
        return len(self.running) < self.slots

    def start(self, unit):
        self.running.append(unit.key)
        self.started.append(unit.key)
        self.most = max(self.most, len(self.running))

    def ended(self, timeout_s):
        if not self.running:
            return []
        key = self.running.pop(0)
        told = self.script.get(key)
        return [told.pop(0) if told else Ended(key, 1.0)]

    def stop(self):
        self.stopped = True


class Quiet:
    def __init__(self):
        self.told = []

    def started(self, unit, state):
        self.told.append(("started", unit.key))

    def ended(self, unit, ended, state):
        self.told.append(("ended", unit.key))

    def looked(self, state):
        assert len(state.running) + len(state.done) + len(state.failed) + len(state.spoiled) + state.waiting == len(state.units)


def run(units, executor, **rules):
    return run_units(units, executor, rules=Rules(**rules), watcher=Quiet())


def fails(key, **more):
    return {key: [Ended(key, 1.0, Problem("RuntimeError", "it broke", **more))]}


def test_units_start_in_order_and_never_before_what_they_need():
    units = [unit("a"), unit("b", "a"), unit("c"), unit("d", "b", "c"), unit("e", "stored already")]
    executor = Scripted()
    state = run(units, executor)
    assert executor.started == ["a", "b", "c", "d", "e"]
    assert list(state.done) == ["a", "b", "c", "d", "e"]


def test_what_is_ready_runs_side_by_side_up_to_the_executors_room():
    executor = Scripted(slots=3)
    run([unit("a"), *(unit(f"b{n}", "a") for n in range(5))], executor)
    assert executor.most == 3


def test_a_failure_takes_only_what_depends_on_it_with_it():
    units = [unit("teacher"), unit("set", "teacher"), unit("student", "set"), unit("other"), unit("its student", "other")]
    state = run(units, Scripted(fails("teacher")))
    assert list(state.done) == ["other", "its student"]
    assert failed_with(state, ["student", "its student", "teacher"]) == {
        "student": ("teacher", Problem("RuntimeError", "it broke")),
        "teacher": ("teacher", Problem("RuntimeError", "it broke")),
    }
    assert (state.waiting, state.stopped) == (0, None)


def test_of_two_failures_the_first_is_told_of_what_depends_on_both():
    units = [unit("a"), unit("b"), unit("c", "a", "b")]
    state = run(units, Scripted(fails("a") | fails("b")))
    assert state.spoiled == {"c": "a"}


def test_without_keep_going_the_first_failure_ends_what_runs():
    executor = Scripted(fails("a"), slots=2)
    state = run([unit("a"), unit("b"), unit("c")], executor, keep_going=False)
    assert (executor.started, executor.stopped, state.stopped) == (["a", "b"], True, "a cell failed")


def test_what_stands_in_the_way_of_everything_ends_the_run():
    executor = Scripted(fails("a", stops_all=True))
    assert run([unit("a"), unit("b")], executor).stopped == "it broke"
    assert executor.started == ["a"]


def test_a_unit_whose_worker_died_is_tried_once_more():
    died = Problem("WorkerDied", "its process was killed")
    once = Scripted({"a": [Ended("a", 1.0, died, lost=True)]})
    assert list(run([unit("a")], once).done) == ["a"]
    twice = Scripted({"a": [Ended("a", 1.0, died, lost=True)] * 2})
    assert run([unit("a")], twice).failed == {"a": died}


def test_when_the_time_is_over_nothing_is_started_and_what_runs_is_ended():
    now = iter(range(100))
    executor = Scripted(slots=2)
    state = run_units(
        [unit(str(n)) for n in range(9)], executor, rules=Rules(max_s=4.0), watcher=Quiet(), clock=lambda: float(next(now))
    )
    assert state.stopped == "the time is over"
    assert executor.stopped
    assert 0 < len(executor.started) < 9


def test_an_interrupt_ends_what_runs():
    class Interrupted(Scripted):
        def ended(self, timeout_s):
            raise KeyboardInterrupt

    executor = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run([unit("a")], executor)
    assert executor.stopped


def test_a_unit_without_room_does_not_keep_smaller_ones_waiting():
    class Small(Scripted):
        def room(self, unit):
            return unit.threads == 1 or not self.running

    executor = Small(slots=2)
    run([unit("first"), unit("large", threads=2), unit("small")], executor)
    assert executor.started == ["first", "small", "large"]


def test_ten_thousand_units_are_scheduled_without_looking_at_each_of_them_again_and_again():
    class Counting(Scripted):
        asked = 0

        def room(self, unit):
            Counting.asked += 1
            return super().room(unit)

    run([unit(str(n)) for n in range(10_000)], Counting())
    assert Counting.asked <= 3 * 10_000
