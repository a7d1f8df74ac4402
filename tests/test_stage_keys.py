"""What enters a key: every part of a stage moves it, and the keys of the stages that stand on it."""

from __future__ import annotations

from dataclasses import replace

import pytest

import ddbench
from ddbench import stages, store
from ddbench.options import Resolved

ASKED = {"protocol": "dwa-cifar-stored/1", "ipc": 1, "students": ["convnet1-w32"], "teacher": "convnet1-bn-w32", "eval_seeds": 1}


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """The stage of a student of `sre2l`, whose labels are stored."""
    planned = ddbench.plan("sre2l", store=tmp_path_factory.mktemp("keys"), **ASKED)
    return next(one.stage for one in planned.cells if one.cell.synthesizer == "sre2l")


def edited(entry):
    """The same thing, registered from other files."""
    return replace(entry, owner=replace(entry.owner, files_sha256="f" * 64))


def newer(entry):
    """The same thing in another version."""
    return replace(entry, value=type("Newer", (type(entry.value),), {"version": 99})())


def in_bf16(stage):
    return replace(stage, precision=replace(stage.precision, dtype="bf16"))


def chosen(stage, **changes):
    return replace(stage, choice=replace(stage.choice, **changes))


def about(stage, **changes):
    return replace(stage, facts=replace(stage.facts, **changes))


def in_cell(stage, **changes):
    return replace(stage, cell=replace(stage.cell, **changes))


def by_recipe(stage, **changes):
    return in_cell(stage, recipe=stage.cell.recipe.model_copy(update=changes))


OF_A_TEACHER = {
    "files": lambda one: chosen(one, entry=edited(one.choice.entry)),
    "version": lambda one: chosen(one, entry=newer(one.choice.entry)),
    "family": lambda one: chosen(one, family=edited(one.choice.family)),
    "network": lambda one: chosen(one, network=replace(one.choice.network, fitting={"x": 1})),
    "seed": lambda one: chosen(one, seed=1),
    "images": lambda one: about(one, sha256="0" * 64),
    "order of classes": lambda one: about(one, classes=one.facts.classes[::-1]),
    "mean": lambda one: about(one, mean=(0.5,)),
    "std": lambda one: about(one, std=(0.5,)),
    "dtype": in_bf16,
}


@pytest.mark.parametrize("change", OF_A_TEACHER.values(), ids=OF_A_TEACHER)
def test_a_part_of_a_teacher_moves_its_key_and_those_of_set_labels_and_student(student, change):
    other = change(student.teacher)
    assert other.key != student.teacher.key
    assert replace(student, teacher=other).key != student.key
    assert replace(student.labels, teacher=other).key != student.labels.key
    name, (need, _) = next(iter(student.distilled.needs.items()))
    assert replace(student.distilled, needs={name: (need, other)}).key != student.distilled.key


OF_A_SET = {
    "files": lambda one: replace(one, method=replace(one.method, entry=edited(one.method.entry))),
    "images": lambda one: about(one, sha256="0" * 64),
    "ipc": lambda one: replace(one, ipc=2),
    "seed": lambda one: replace(one, seed=1),
    "dtype": in_bf16,
}


@pytest.mark.parametrize("change", OF_A_SET.values(), ids=OF_A_SET)
def test_a_part_of_a_distilled_set_moves_its_key_and_those_of_labels_and_student(student, change):
    other = change(student.distilled)
    assert other.key != student.distilled.key
    assert replace(student, distilled=other).key != student.key
    assert replace(student.labels, distilled=other).key != student.labels.key


OF_A_STUDENT = {
    "family": lambda one: replace(one, family=edited(one.family)),
    "network": lambda one: in_cell(one, network=replace(one.cell.network, fitting={"x": 1})),
    "recipe": lambda one: by_recipe(one, epochs=7),
    "smoke": lambda one: by_recipe(one, smoke=True),
    "eval seed": lambda one: in_cell(one, eval_seed=1),
    "view seed": lambda one: replace(one, view_seed=1),
    "dtype": in_bf16,
}


@pytest.mark.parametrize("change", OF_A_STUDENT.values(), ids=OF_A_STUDENT)
def test_a_part_of_a_student_moves_its_key(student, change):
    assert change(student).key != student.key


def test_recipe_and_view_seed_move_the_key_of_labels(student):
    labels = student.labels
    assert replace(labels, view_seed=1).key != labels.key
    assert replace(labels, recipe=labels.recipe.model_copy(update={"epochs": 7})).key != labels.key


OF_A_PRIOR = {
    "files": lambda one: chosen(one, entry=edited(one.choice.entry)),
    "options": lambda one: chosen(one, options=Resolved(one.choice.options.values.model_copy(update={"steps": 7}), {})),
    "seed": lambda one: chosen(one, seed=1),
    "images": lambda one: about(one, sha256="0" * 64),
    "dtype": in_bf16,
}


@pytest.mark.parametrize("change", OF_A_PRIOR.values(), ids=OF_A_PRIOR)
def test_a_part_of_a_prior_moves_its_key(tmp_path, change):
    prior = needed("glad", tmp_path, "priors")
    assert change(prior).key != prior.key


OF_EXPERTS = {
    "family": lambda one: chosen(one, family=edited(one.choice.family)),
    "network": lambda one: chosen(one, network=replace(one.choice.network, fitting={"x": 1})),
    "options": lambda one: chosen(one, options=Resolved(one.choice.options.values.model_copy(update={"epochs": 7}), {})),
    "seed": lambda one: chosen(one, seed=1),
    "images": lambda one: about(one, sha256="0" * 64),
    "dtype": in_bf16,
}


@pytest.mark.parametrize("change", OF_EXPERTS.values(), ids=OF_EXPERTS)
def test_a_part_of_experts_moves_their_key(tmp_path, change):
    experts = needed("mtt", tmp_path, "experts")
    assert change(experts).key != experts.key


def test_the_version_of_experts_moves_their_key(tmp_path, monkeypatch):
    before = needed("mtt", tmp_path, "experts").key
    monkeypatch.setattr(stages, "EXPERTS_VERSION", stages.EXPERTS_VERSION + 1)
    assert needed("mtt", tmp_path, "experts").key != before


def needed(method, folder, kind):
    """Return the stage that a method needs of a kind."""
    planned = ddbench.plan(method, store=folder, protocol="quick-hard/1", ipc=1, students=["convnet1-w32"], eval_seeds=1)
    distilled = next(one.stage.distilled for one in planned.cells if one.cell.synthesizer == method)
    return next(stage for _, stage in distilled.needs.values() if stage.folder == kind)


OF_AN_EVALUATION = {
    "set": lambda one: replace(one, distilled=replace(one.distilled, seed=1)),
    "teacher": lambda one: replace(one, teacher=None),
    "bytes of soft labels": lambda one: replace(one, soft_label_bytes=one.soft_label_bytes + 1),
}


@pytest.mark.parametrize("change", OF_AN_EVALUATION.values(), ids=OF_AN_EVALUATION)
def test_a_part_of_an_evaluation_moves_its_key(student, change):
    (evaluation, *_) = student.evaluations
    assert change(evaluation).key != evaluation.key


def test_the_version_of_numerics_moves_every_key(monkeypatch):
    before = store.key_of(a=1)
    monkeypatch.setattr(store, "NUMERICS_VERSION", store.NUMERICS_VERSION + 1)
    assert store.key_of(a=1) != before
