"""The objective `trajectory`: what it draws, the guard of its step size, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch.nn import functional

from ddbench import Job, Precision
from ddbench.errors import BadRequest, SpecialValue
from ddbench.networks import resolve
from ddbench.seeding import generator_for
from ddbench.testing import Bench, ObjectiveConformance
from ddbench_plugins.matching.imitation import LOOK_STEPS, PATIENCE, Imitation, StepSize
from ddbench_plugins.matching.trajectory import LR_HIGH, LR_LOW, Trajectory, TrajectoryOptions

CHEAP = {"network": "toy/smooth", "syn_steps": 2, "expert_epochs": 1, "max_start": 2, "experts": 2, "expert_lr": 0.1}


class TestTesla(ObjectiveConformance):
    objective = Trajectory()
    options: ClassVar = CHEAP
    exact = False


class TestExact(ObjectiveConformance):
    objective = Trajectory()
    options: ClassVar = {**CHEAP, "gradient": "exact", "batch_syn": 3}


class TestWhitened(ObjectiveConformance):
    objective = Trajectory()
    options: ClassVar = {**CHEAP, "syn_steps": 1, "zca": True, "max_start": 3}


class TestBatchNorm(ObjectiveConformance):
    objective = Trajectory()
    options: ClassVar = {**CHEAP, "network": "toy/cnn", "syn_steps": 1}
    tolerance = 0.2  # it has kinks


@pytest.fixture
def start(tmp_path):
    """Return a function that starts the objective on a toy job, two images of each class."""

    def started(*, precision=None, needs=None, seed=0, **changes):
        bench = Bench(tmp_path / "store", parts={"objective": [Trajectory()]}, precision=precision or Precision())
        o = TrajectoryOptions(**{**CHEAP, **changes})
        context = bench.context(Trajectory().needs(o, bench.data.facts), options=needs)
        return Trajectory().start(context, o, Job(0, tuple(range(4)) * 2, seed)), context

    return started


def _images():
    return torch.randn(8, 3, 8, 8, generator=generator_for("trajectory images")), torch.arange(8) % 4


def test_the_loss_is_the_distance_to_the_expert_after_plain_steps(start):
    matching, context = start(augment="none", lr_lr=0.0)
    images, labels = _images()
    loss, _ = matching.loss_and_grad(images, labels, 0)
    ends = matching._ends(0, generator_for("trajectory", 0, 0, 0))
    facts = context.train.facts
    spec = resolve("toy/smooth", context.families, shape=facts.shape, num_classes=4)
    network = context.families["toy"].build(spec)
    torch.nn.utils.vector_to_parameters(ends.start.clone(), network.parameters())
    descent = torch.optim.SGD(network.parameters(), lr=0.01)
    for _ in range(2):
        descent.zero_grad()
        functional.cross_entropy(network(images), labels).backward()
        descent.step()
    moved = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    expected = (moved - ends.target).square().sum() / (ends.start - ends.target).square().sum()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_an_experts_start_and_target_are_its_own_weights_some_epochs_apart(start):
    matching, _ = start(max_start=3, expert_epochs=2)
    kept = {
        (expert, epoch): matching.student.flat(matching.experts.weights(expert, epoch)) for expert in (0, 1) for epoch in range(5)
    }
    seen = set()
    for step in range(40):
        ends = matching._ends(step, generator_for("trajectory", 0, 0, step))
        ((expert, epoch),) = [where for where, theta in kept.items() if theta.equal(ends.start)]
        assert ends.target.equal(kept[expert, epoch + 2])
        seen.add((expert, epoch))
    assert seen == {(expert, epoch) for expert in (0, 1) for epoch in range(3)}


def test_experts_take_turns_so_that_none_is_met_twice_before_all_were(start):
    matching, _ = start(experts=3, max_start=1)
    firsts = [matching.student.flat(matching.experts.weights(expert, 0)) for expert in range(3)]
    for turn in range(4):
        met = [matching._ends(3 * turn + i, generator_for("trajectory", 0, 0, i)).start for i in range(3)]
        assert all(sum(theta.equal(one) for one in met) == 1 for theta in firsts)


def test_mini_batches_show_every_image_once_before_any_again(start):
    matching, _ = start(syn_steps=6, batch_syn=3)
    batches = matching._batches(8, generator_for("batches"))
    assert [len(batch) for batch in batches] == [3, 3, 2, 3, 3, 2]
    assert sorted(torch.cat(batches[:3]).tolist()) == sorted(torch.cat(batches[3:]).tolist()) == list(range(8))
    assert not torch.cat(batches[:3]).equal(torch.cat(batches[3:]))


@pytest.mark.parametrize("batch_syn", [0, 8, 100])
def test_all_images_are_shown_at_once_where_the_batch_holds_them(start, batch_syn):
    assert start(batch_syn=batch_syn)[0]._batches(8, generator_for("batches")) == [None, None]


def test_the_step_size_follows_sgd_with_momentum_against_its_derivative():
    rate, value = StepSize.at(0.01, torch.device("cpu")), torch.tensor(0.01, requires_grad=True)
    reference = torch.optim.SGD([value], lr=1e-3, momentum=0.5)
    for derivative in (0.3, -2.0, 1.0, 0.5):
        rate.learn(torch.tensor(derivative), 1e-3)
        value.grad = torch.tensor(derivative)
        reference.step()
        assert float(rate.value) == pytest.approx(float(value.detach()), rel=1e-6)


def test_the_step_size_learns_from_the_derivative_of_the_loss(start):
    (matching, _), (fixed, _) = (start(lr_lr=rate, augment="none") for rate in (1e-7, 0.0))
    images, labels = _images()
    losses = []
    for nudge in (0.0, 1e-4, -1e-4):
        fixed.rate.value = torch.tensor(0.01 + nudge)
        losses.append(float(fixed.loss_and_grad(images, labels, 0)[0]))
    matching.loss_and_grad(images, labels, 0)
    slope = (losses[1] - losses[2]) / 2e-4
    assert float(matching.state()["velocity"]) == pytest.approx(slope, rel=0.05)
    assert float(matching.extras()["lr"]) == pytest.approx(0.01 - 1e-7 * float(matching.state()["velocity"]), rel=1e-5)


def test_a_learning_rate_of_zero_keeps_the_step_size(start):
    matching, _ = start(lr_lr=0.0, lr_start=LR_HIGH)
    for step in range(2):
        matching.loss_and_grad(*_images(), step)
    assert float(matching.extras()["lr"]) == LR_HIGH
    assert int(matching.state()["outside"]) == 0


@pytest.mark.parametrize(("derivative", "bound"), [(-1e9, LR_HIGH), (1e9, LR_LOW)])
def test_the_step_size_is_held_within_its_bounds_and_comes_back(derivative, bound):
    rate = StepSize.at(0.01, torch.device("cpu"))
    rate.learn(torch.tensor(derivative), 1e-5)
    assert float(rate.value) == pytest.approx(bound)
    rate.refuse_runaway(1, 1e-5)
    rate.velocity = torch.tensor(0.0)
    rate.learn(torch.tensor(-derivative * 1e-6), 1e-5)
    assert int(rate.outside) == 0
    assert LR_LOW < float(rate.value) < LR_HIGH


@pytest.mark.parametrize("derivative", [-1e9, 1e9])
def test_a_step_size_that_stays_out_of_bounds_stops_the_job_with_advice(derivative):
    rate = StepSize.at(0.01, torch.device("cpu"))
    for _ in range(PATIENCE - 1):
        rate.learn(torch.tensor(derivative), 1e-5)
    rate.refuse_runaway(7, 1e-5)
    rate.learn(torch.tensor(derivative), 1e-5)
    with pytest.raises(SpecialValue, match=r"'trajectory', after 7 steps.*lr_lr=1e-06 \(now 1e-05\)"):
        rate.refuse_runaway(7, 1e-5)


def test_a_step_size_that_became_nan_stops_the_job_at_once():
    rate = StepSize.at(0.01, torch.device("cpu"))
    rate.learn(torch.tensor(float("nan")), 1e-5)
    with pytest.raises(SpecialValue, match="the learned step size is nan"):
        rate.refuse_runaway(1, 1e-5)


def test_a_runaway_step_size_is_noticed_while_steps_are_made_and_at_the_end(start):
    matching, _ = start(lr_lr=1e6)
    matching.rate.velocity = torch.tensor(1e12)
    for step in range(LOOK_STEPS - 1):
        matching.loss_and_grad(*_images(), step)
    with pytest.raises(SpecialValue, match=f"after {LOOK_STEPS} steps"):
        matching.loss_and_grad(*_images(), LOOK_STEPS - 1)
    with pytest.raises(SpecialValue):
        matching.extras()


def test_a_resume_goes_on_with_the_step_size_it_had(start):
    (whole, _), (resumed, _) = start(lr_lr=1e-2), start(lr_lr=1e-2)
    for step in range(4):
        whole.loss_and_grad(*_images(), step)
        if step == 1:
            resumed.load({name: tensor.clone() for name, tensor in whole.state().items()})
    for step in (2, 3):
        resumed.loss_and_grad(*_images(), step)
    assert torch.equal(whole.extras()["lr"], resumed.extras()["lr"])


def test_reduced_precision_computes_the_network_and_leaves_loss_and_gradient_float32(start):
    options = {"augment": "none", "syn_steps": 1}
    full, reduced = (start(precision=Precision(dtype=dtype), **options)[0] for dtype in ("fp32", "bf16"))
    reduced.experts = full.experts
    results = [matching.loss_and_grad(*_images(), 0) for matching in (full, reduced)]
    assert {value.dtype for result in results for value in result} == {torch.float32}
    assert not results[0][1].equal(results[1][1])
    assert functional.cosine_similarity(results[0][1].flatten(), results[1][1].flatten(), dim=0) > 0.98


def test_compiling_is_declined_with_a_note(start):
    context = replace(start()[1], precision=Precision(compile=True))
    Imitation.of(context, TrajectoryOptions(**CHEAP), Job(0, (0, 1, 2, 3), 0))
    assert any("uncompiled" in line for line in context.notes)


def test_whitened_images_are_asked_for_where_experts_saw_such(start):
    assert start(zca=True)[0].space == "zca"
    assert start()[0].space == "normalised"


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        ({"experts.epochs": 1}, "experts have 1 epochs.*experts.epochs=2"),
        ({"experts.zca": True}, "saw whitened images; give -o objective.zca=true"),
    ],
)
def test_experts_that_cannot_be_imitated_as_asked_are_refused_before_the_first_step(start, needs, message):
    with pytest.raises(BadRequest, match=message):
        start(needs=needs)


def test_experts_of_another_network_are_refused(start):
    _, context = start()
    with pytest.raises(BadRequest, match="toy/smooth, whose weights do not fit"):
        Imitation.of(context, TrajectoryOptions(**{**CHEAP, "network": "toy/cnn"}), Job(0, (0, 1, 2, 3), 0))


def test_experts_are_trained_no_longer_than_is_looked_at():
    o = TrajectoryOptions(max_start=20, expert_epochs=3, experts=7, strategy="color_crop", zca=True)
    need = Trajectory().needs(o, None)["experts"]
    assert (need.kind, need.name) == ("experts", "convnet3")
    assert need.options == {**o.of_experts().model_dump(), "epochs": 22, "count": 7, "strategy": "color_crop", "zca": True}


def test_the_work_grows_with_steps_and_with_images_up_to_the_batch():
    def passes(images, **options):
        return Trajectory().work(TrajectoryOptions(**options), None, images).passes

    assert passes(10, syn_steps=20) == 2 * passes(10, syn_steps=10) == 2 * passes(5, syn_steps=20)
    assert passes(100, batch_syn=10) == passes(10)
