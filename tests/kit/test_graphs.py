from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from ddbench.kit import Start, TappedTeacher, recover, views_of
from ddbench.kit.descent import Descent
from ddbench.seeding import generator_for
from ddbench.training.graphs import WARM_UPS, Replayed, recorder_of
from recording import Operations, Recorder, Refusing

GROUPS, BATCH, SHAPE = 2, 4, (3, 8, 8)
RECOVER = sys.modules["ddbench.kit.recover"]
"""`ddbench.kit.recover` itself is the function."""


def start_of(recipe) -> Start:
    generator = torch.Generator().manual_seed(9)
    images = torch.randn(GROUPS * BATCH, *SHAPE, generator=generator, dtype=torch.float64)
    generators = [generator_for("test", group) for group in range(GROUPS)]
    return Start(images, torch.arange(BATCH).repeat(GROUPS), views_of(recipe.view_rule, recipe.iterations, SHAPE[1:], generators))


def places(descent: Descent) -> list[torch.Tensor]:
    return [descent.images, descent.number, descent.rate, *descent.adam.state[descent.images].values()]


@pytest.mark.parametrize("view", ["roll", "rrc_flip_roll"])
def test_one_recorded_step_stands_for_all_later_ones(teacher, recipe, pixels, view):
    """Host code runs for the first steps alone: views, rates and the step's number are then read from tensors."""
    recipe = replace(recipe, iterations=WARM_UPS + 6, view=view)
    plain, replayed = (Descent(TappedTeacher(teacher, SHAPE), start_of(recipe), recipe, pixels) for _ in range(2))
    recorder = Recorder(lambda: places(replayed))
    step = Replayed(replayed.step, recorder, pytest.fail)
    for _ in range(recipe.iterations):
        expected, told = plain.step(), step()
        assert all(torch.equal(one, other) for one, other in zip(told, expected, strict=True))
    assert recorder.taken == WARM_UPS
    assert all(torch.equal(one, other) for one, other in zip(places(replayed), places(plain), strict=True))


def test_a_step_reads_no_value_back(teacher, recipe, pixels):
    descent = Descent(TappedTeacher(teacher, SHAPE), start_of(recipe), recipe, pixels)
    descent.step()
    with Operations() as operations:
        descent.step()
    names = {str(function) for function, *_ in operations.done}
    assert "aten._fused_adam_.tensor_lr" in names
    assert not any("_local_scalar_dense" in name or "item" in name for name in names)


def test_where_a_step_cannot_be_recorded_a_line_says_so_and_nothing_else_changes(teacher, recipe, pixels, monkeypatch):
    recipe = replace(recipe, iterations=WARM_UPS + 2)
    tapped = TappedTeacher(teacher, SHAPE)
    expected = recover(tapped, start_of(recipe), recipe, pixels=pixels)
    monkeypatch.setattr(RECOVER, "recorder_of", lambda _: Refusing(list))
    assert torch.equal(recover(tapped, start_of(recipe), recipe, pixels=pixels), expected)
    (note,) = tapped.notes
    assert note.startswith("a step could not be recorded as a graph (operation not permitted when stream is capturing):")


def test_a_carried_gradient_is_added_once_though_steps_are_recorded(teacher, recipe, pixels, monkeypatch):
    recipe = replace(recipe, iterations=WARM_UPS + 4)
    start = start_of(recipe)
    start = replace(start, first_gradient=torch.ones_like(start.images))
    tapped, descents = TappedTeacher(teacher, SHAPE), []
    expected = recover(tapped, start, recipe, pixels=pixels)

    class Seen(Descent):
        def __init__(self, *given) -> None:
            super().__init__(*given)
            descents.append(self)

    monkeypatch.setattr(RECOVER, "Descent", Seen)
    monkeypatch.setattr(RECOVER, "recorder_of", lambda _: Recorder(lambda: places(descents[-1])))
    assert torch.equal(recover(tapped, start, recipe, pixels=pixels), expected)


def test_a_cpu_records_nothing():
    assert recorder_of(torch.device("cpu")) is None
