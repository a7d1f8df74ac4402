"""A teacher's answers: batch-norm modes, normalisation, and that nothing about it changes."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from ddbench.api.context import Precision
from ddbench.api.network import TrainedNetwork
from ddbench.errors import BadRequest
from ddbench.training.precision import placed
from ddbench.training.students import held
from ddbench.training.teaching import Answers, answering_copy, one_answer_each


def _state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def _same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _batch(count=8):
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1


def test_batch_mode_answers_as_a_copy_left_in_train_mode_does(toy, teacher, run):
    twin = placed(copy.deepcopy(teacher.module), run.precision, run.device).train()
    expected = twin(_batch())
    answered = Answers(toy(teacher=teacher), "batch", run)(_batch())
    assert torch.equal(answered, expected)
    assert not torch.allclose(answered, teacher.module(_batch()), atol=1e-2)


def test_running_mode_answers_as_in_eval_mode_and_image_by_image(toy, teacher, run):
    ask = Answers(toy(teacher=teacher), "running", run)
    together, alone = ask(_batch()), torch.cat([ask(image[None]) for image in _batch()])
    torch.testing.assert_close(together, teacher.module(_batch()))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_a_size_that_is_rarely_asked_is_not_compiled_for(monkeypatch, toy, teacher, run):
    compiled = []

    def recording(function, **_settings):
        return lambda images: compiled.append(len(images)) or function(images)

    monkeypatch.setattr(torch, "compile", recording)
    ask = Answers(toy(teacher=teacher), "running", replace(run, precision=Precision(compile=True)), sizes=frozenset({8}))
    for count in (8, 3, 8):
        assert len(ask(_batch(count))) == count
    assert compiled == [8, 8]


@pytest.mark.parametrize("bn", ["running", "batch"])
def test_asking_changes_no_byte_of_the_teacher(toy, teacher, run, bn):
    before, modes = _state(teacher.module), [m.training for m in teacher.module.modules()]
    ask = Answers(toy(teacher=teacher), bn, run)
    first, second = ask(_batch()), ask(_batch())
    assert _same(before, _state(teacher.module))
    assert modes == [m.training for m in teacher.module.modules()]
    assert all(p.grad is None for p in teacher.module.parameters())
    assert torch.equal(first, second)
    assert not first.requires_grad


@pytest.mark.parametrize("bn", ["running", "batch"])
def test_not_even_the_answering_copy_drifts(teacher, bn):
    module = answering_copy(teacher.module, bn)
    before = _state(module)
    with torch.no_grad():
        module(_batch())
    assert _same(before, _state(module))


def test_batch_mode_leaves_dropout_off(small):
    module = small(1, dropout=0.5).eval()
    copied = answering_copy(module, "batch")
    with torch.no_grad():
        assert torch.equal(copied(_batch()), copied(_batch()))


def test_batch_mode_knows_the_batch_norms_of_timm():
    from timm.layers import BatchNormAct2d

    layer = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNormAct2d(4)).eval()
    expected = copy.deepcopy(layer).train()(_batch())
    copied = answering_copy(layer, "batch")
    before = _state(copied)
    with torch.no_grad():
        torch.testing.assert_close(copied(_batch()), expected)
    assert _same(before, _state(copied))


def test_a_teacher_of_another_normalisation_sees_its_own(toy, teacher, run):
    mean, std = torch.tensor([0.5, 0.1, 0.2]), torch.tensor([0.3, 0.2, 0.4])
    data = toy(teacher=TrainedNetwork(teacher.module, teacher.classes, mean, std))
    answered = Answers(data, "running", run)(held(data, run.device).fetch(torch.arange(24)))
    pixels = (data.images / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    torch.testing.assert_close(answered, teacher.module(pixels), atol=1e-4, rtol=1e-4)


def test_one_answer_each_is_the_softmax_of_every_plain_image(toy, teacher, run):
    data = toy(teacher=teacher)
    source = held(data, run.device)
    vectors = one_answer_each(Answers(data, "running", run), source, temperature=2.0)
    expected = torch.softmax(teacher.module(source.fetch(torch.arange(24))) / 2.0, dim=1)
    torch.testing.assert_close(vectors, expected)
    torch.testing.assert_close(vectors.sum(dim=1), torch.ones(24))


def test_no_teacher_and_whitened_images_are_refused(toy, teacher, run):
    with pytest.raises(BadRequest, match="needs a teacher"):
        Answers(toy(), "running", run)
    with pytest.raises(BadRequest, match="whitened"):
        Answers(replace(toy(teacher=teacher), space="zca"), "running", run)
