"""The bench resolves parts and needs as planning does, and hands the harness what it would otherwise make."""

from __future__ import annotations

import pytest
import torch

from ddbench import Need
from ddbench.api.context import Precision
from ddbench.errors import BadOption, BadRequest, UnknownName
from ddbench.stages import ExpertsStage, PriorStage, TeacherStage
from ddbench.testing import Bench

EXPERTS = {"experts": Need("experts", "toy/smooth", {"count": 2, "epochs": 2, "batch": 8, "augment": "none"})}


@pytest.fixture
def bench(tmp_path, tutorial):
    return Bench(tmp_path, parts={"objective": [tutorial.Means()], "selector": [tutorial.Near()]}, priors=[tutorial.Eigen()])


def test_options_of_parts_and_needs_come_from_the_synthesizer_and_the_caller_wins(bench, tutorial):
    plain = bench.stage(tutorial.Carve(), ipc=1)
    asked = bench.stage(tutorial.Carve(), ipc=1, options={"objective.batch_real": 3, "prior.components": 5, "iterations": 7})
    for stage, batch, components in ((plain, 16, 16), (asked, 3, 5)):
        assert stage.method.parts["objective"].options.values.batch_real == batch
        _, prior = stage.needs["prior"]
        assert isinstance(prior, PriorStage)
        assert prior.choice.options.values.components == components
    assert asked.method.options.values.iterations == 7
    assert asked.key != plain.key


@pytest.mark.parametrize("name", ["objective.batch", "selector.sharp", "prior.component", "walk.steps", "iteration"])
def test_options_that_nothing_takes_are_refused(bench, tutorial, name):
    with pytest.raises(BadOption):
        bench.stage(tutorial.Carve(), ipc=1, options={name: 1})


def test_parts_and_priors_that_the_bench_was_not_given_are_unknown(tmp_path, tutorial):
    with pytest.raises(UnknownName, match="objective"):
        Bench(tmp_path).stage(tutorial.Carve(), ipc=1)
    with pytest.raises(UnknownName, match="prior"):
        Bench(tmp_path).context({"prior": Need("prior", "eigen")})


def test_a_prior_is_fitted_once_per_bench_and_options(bench):
    first = bench.context({"prior": Need("prior", "eigen")}).needs["prior"]
    assert bench.context({"prior": Need("prior", "eigen")}).needs["prior"] is first
    other = bench.context({"prior": Need("prior", "eigen")}, options={"prior.components": 2}).needs["prior"]
    assert len(other.components) == 2


def test_every_teacher_is_the_toy_one(bench):
    stages = bench.context({"classifier": Need("teacher", "convnet3", {"epochs": 3})}).needs
    assert stages["classifier"] is not None
    assert isinstance(bench.teacher(), TeacherStage)
    assert bench.teacher().choice.network.name == "toy/cnn"


def test_experts_are_trajectories_of_the_network_asked_for(bench):
    experts = bench.context(EXPERTS, options={"experts.epochs": 3}).needs["experts"]
    assert (experts.network, experts.count, experts.epochs) == ("toy/smooth", 2, 3)
    start, end = experts.weights(0, 0), experts.weights(0, 3)
    module = bench.context({}).network("toy/smooth", torch.Generator().manual_seed(0))
    assert set(start) == set(module.state_dict())
    assert all(not end[name].equal(weight) for name, weight in start.items())
    assert not any(weight.equal(experts.weights(1, 0)[name]) for name, weight in start.items())
    start["0.weight"].zero_()
    assert experts.weights(0, 0)["0.weight"].any()
    with pytest.raises(BadRequest):
        experts.weights(0, 4)


def test_experts_of_two_benches_are_alike(bench, tmp_path):
    first, second = (one.context(EXPERTS).needs["experts"].weights(1, 2) for one in (bench, Bench(tmp_path / "other")))
    assert all(weight.equal(second[name]) for name, weight in first.items())


def test_the_need_decides_the_stage(bench):
    stage = bench._stages(EXPERTS, _request())["experts"][1]
    assert isinstance(stage, ExpertsStage)
    assert stage.precision == Precision()


def _request():
    from ddbench.cells import Request

    return Request(())
