"""The synthesizer `mtt`: conformance, starts, the step size kept with the set, whitened sets."""

from __future__ import annotations

import io
from typing import ClassVar

import numpy as np
import pytest
import torch

import ddbench
from ddbench.data import HeldSplit
from ddbench.distilled import DistilledSet
from ddbench.kit import Pixels, draw_real
from ddbench.networks import build, resolve
from ddbench.store import Store
from ddbench.testing import Bench, SynthesizerConformance
from ddbench.training.loop import RunSettings
from ddbench.training.students import Student, StudentData, StudentSeeds, train_student
from ddbench.training.views import normalised
from ddbench.training.zca import fit_whitening, whitening_of
from ddbench_plugins.matching import MTT, Trajectory
from ddbench_plugins.networks import Ddbench

MATCHING = {"network": "toy/smooth", "syn_steps": 2, "expert_epochs": 1, "max_start": 2, "experts": 2, "expert_lr": 0.1}
CHEAP = {"iterations": 21, "lr": 1.0, **{f"objective.{name}": value for name, value in MATCHING.items()}}


class TestMtt(SynthesizerConformance):
    synthesizer = MTT
    options: ClassVar = CHEAP
    parts: ClassVar = {"objective": [Trajectory()]}


class TestFromNoise(SynthesizerConformance):
    synthesizer = MTT
    options: ClassVar = {**CHEAP, "init": "noise", "objective.zca": True}
    parts: ClassVar = {"objective": [Trajectory()]}


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "store", parts={"objective": [Trajectory()]})


def _start(bench, job):
    train = HeldSplit(bench.data)
    return train, train.images(draw_real(train, job))


@pytest.mark.parametrize("zca", [False, True])
def test_images_start_as_those_that_random_draws_in_the_space_of_the_experts(bench, zca):
    options = {**CHEAP, "iterations": 1, "lr": 1e-12, "objective.zca": zca}
    distilled = bench.distil(MTT, ipc=2, options=options)
    train, real = _start(bench, bench.stage(MTT, ipc=2, options=options).jobs[0])
    expected = whitening_of(train).apply(real) if zca else Pixels.of_facts(train.facts, torch.device("cpu")).normalise(real)
    assert distilled.space == ("zca" if zca else "normalised")
    assert torch.allclose(distilled.images, expected, atol=1e-5)


def test_the_learned_step_size_is_kept_where_the_protocol_looks_for_it(bench):
    distilled = bench.distil(MTT, ipc=1, options={**CHEAP, "objective.lr_lr": 1e-7})
    assert tuple(distilled.extras["lr"].shape) == (1,)
    assert float(distilled.extras["lr"]) != pytest.approx(0.01, rel=1e-5)
    assert distilled.extras["walk.loss"].shape == (21,)


def test_matching_brings_the_student_nearer_to_the_expert(bench):
    matching = {"objective.lr_start": 0.1, "objective.lr_lr": 0.0, "objective.augment": "none"}
    losses = bench.distil(MTT, ipc=2, options={**CHEAP, **matching, "iterations": 40, "lr": 0.5}).extras["walk.loss"]
    assert float(losses[-10:].mean()) < 0.95 * float(losses[:10].mean())


@pytest.mark.parametrize("zca", [False, True])
def test_a_student_trains_under_mtt_1_with_the_learned_step_size_and_is_tested_on_images_like_those_it_learned_from(tmp_path, zca):
    name, matching = (
        "convnet1-w32",
        {**MATCHING, "network": "convnet1-w32", "experts": 1, "zca": zca, "lr_start": 0.05, "lr_lr": 1e-6},
    )
    options = {"iterations": 2, "lr": 0.1, **{f"objective.{key}": value for key, value in matching.items()}}
    outcome = ddbench.run(
        "mtt", store=tmp_path, protocol="mtt/1", students=[name], eval_seeds=1, ipc=1, smoke=0.02, threads=1, options=options
    )
    record = next(record for record in outcome.records if record.cell.synthesizer == "mtt")
    sidecar = np.load(io.BytesIO((tmp_path / "records" / f"{record.key}.npz").read_bytes()))
    digits = ddbench.plan("random").data
    distilled = DistilledSet.open(Store(tmp_path).find("distilled", record.distilled_key))
    assert distilled.space == ("zca" if zca else "normalised")
    assert float(distilled.extras["lr"]) != pytest.approx(0.05, rel=1e-6)

    mean, std = torch.tensor(digits.facts.mean), torch.tensor(digits.facts.std)
    families = {"ddbench": Ddbench()}
    spec = resolve(name, families, shape=digits.facts.shape, num_classes=10)
    network = build(spec, families, seed=StudentSeeds(0).initialisation)
    data = StudentData(distilled.images, distilled.labels, mean, std, distilled.space, learned_lr=float(distilled.extras["lr"]))
    protocol = ddbench.ProtocolSpec(**{**record.protocol, "smoke": True})
    train_student(Student(network, spec.name), data, protocol, seeds=StudentSeeds(0), run=RunSettings(torch.device("cpu")))
    pixels = torch.from_numpy(np.array(digits.test.images))
    whitening = fit_whitening(HeldSplit(digits))
    shown = whitening.apply(pixels) if zca else normalised(pixels, mean, std)
    with torch.no_grad():
        assert (network.eval()(shown).argmax(dim=1).numpy() == sidecar["predictions"]).mean() > 0.995
