"""Students: the loop against a plain one, label regimes against each other, seeds."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ddbench.api.protocol import Augment, Loss, Mix, Optimiser, Override, ProtocolSpec, Schedule
from ddbench.errors import BadRequest, SpecialValue
from ddbench.training.labels import StoredLabels, label_epochs
from ddbench.training.recipe import student_recipe
from ddbench.training.students import VIEWS, Student, StudentSeeds, held, train_student
from ddbench.training.views import draw_epoch, view


def _spec(regime="hard", **changes):
    loss = {"hard": Loss(name="ce"), "soft_once": Loss(name="soft_ce")}.get(regime, Loss(name="kl", temperature=4.0, times_t2=True))
    values = {
        "name": "test/1",
        "title": "",
        "source": "",
        "label_regime": regime,
        "optimiser": Optimiser(name="sgd", lr=0.05, momentum=0.9, weight_decay=5e-4),
        "schedule": Schedule(name="cosine"),
        "batch": 10,
        "epochs": 4,
        "augment": (Augment(name="shift"), Augment(name="flip")),
        "mix": Mix(name="mixup", alpha=0.8) if regime in {"soft_online", "soft_epoch"} else None,
        "loss": loss,
        "teacher_bn": None if regime == "hard" else "running",
    }
    return ProtocolSpec(**{**values, **changes})


def _train(network, data, spec, run, *, seed=0, view_seed=None, name="test/small"):
    return train_student(Student(network, name), data, spec, seeds=StudentSeeds(seed, view_seed), run=run)


def _weights(network):
    return torch.cat([value.flatten().float() for value in network.state_dict().values()])


def test_the_loop_is_a_plain_loop_over_the_same_views(small, toy, teacher, run):
    spec, data = _spec("soft_online"), toy(teacher=teacher)
    trained = _train(small(1), data, spec, run)
    twin, source, recipe = small(1).train(), held(data, run.device), student_recipe(spec, "")
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=4)
    curve = []
    for epoch in range(4):
        total = 0.0
        for drawn in draw_epoch(recipe, source, seed=(VIEWS, 0), epoch=epoch):
            images = view(source, recipe, drawn)
            target = F.softmax(teacher.module(images) / 4, dim=1)
            loss = 16 * (target * (target.log() - F.log_softmax(twin(images) / 4, dim=1))).sum() / len(images)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(images)
        curve.append(total / 24)
        schedule.step()
    torch.testing.assert_close(_weights(trained.network), _weights(twin), atol=1e-5, rtol=1e-4)
    assert [loss for _, loss in trained.curve] == pytest.approx(curve, rel=1e-4)
    assert (trained.steps, trained.images_seen) == (4 * 3, 4 * 24)


def test_a_student_learns_what_can_be_learned(small, toy, pixels, run):
    data = toy(40)
    spec = _spec(
        epochs=None, steps=60, optimiser=Optimiser(name="adamw", lr=1e-2, weight_decay=0.0), schedule=Schedule(name="constant")
    )
    trained = _train(small(2), data, spec, run)
    images, labels = pixels(200, seed=9)
    source = held(replace(data, images=images, labels=labels), run.device)
    with torch.no_grad():
        right = (trained.network(source.fetch(torch.arange(200))).argmax(dim=1) == labels).float().mean()
    assert right > 0.9
    assert trained.curve[-1][1] < trained.curve[0][1] / 4


@pytest.mark.parametrize("regime", ["hard", "soft_once", "soft_online"])
def test_equal_seeds_give_equal_bytes_and_others_do_not(small, toy, teacher, run, regime):
    data = toy(teacher=teacher)
    first, again, other = (_weights(_train(small(1, dropout=0.3), data, _spec(regime), run, seed=s).network) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_global_generator_neither_decides_nor_changes(small, toy, run):
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        results.append(_weights(_train(small(1, dropout=0.5), toy(), _spec(augment=(Augment(name="dsa"),)), run).network))
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(*results)


@pytest.mark.parametrize("bn", ["running", "batch"])
def test_the_teacher_is_bit_identical_afterwards(small, toy, teacher, run, bn):
    before = copy.deepcopy(teacher.module.state_dict())
    _train(small(1), toy(teacher=teacher), _spec("soft_online", teacher_bn=bn), run)
    assert all(torch.equal(value, before[name]) for name, value in teacher.module.state_dict().items())
    assert not any(module.training for module in teacher.module.modules())


def test_the_teachers_batch_norm_mode_moves_the_student(small, toy, teacher, run):
    data = toy(teacher=teacher)
    running, batch = (
        _weights(_train(small(1), data, _spec("soft_online", teacher_bn=bn), run).network) for bn in ("running", "batch")
    )
    assert not torch.allclose(running, batch, atol=1e-3)


def test_stored_labels_train_the_student_that_a_present_teacher_trains(small, toy, teacher, run):
    data = toy(teacher=teacher)
    online = _train(small(1), data, _spec("soft_online"), run, seed=7)
    logits = torch.stack(list(label_epochs(data, _spec("soft_epoch"), view_seed=7, run=run)))
    stored = replace(data, teacher=None, stored=StoredLabels(logits, view_seed=7))
    offline = _train(small(1), stored, _spec("soft_epoch"), run, seed=7, view_seed=7)
    torch.testing.assert_close(_weights(offline.network), _weights(online.network), atol=2e-3, rtol=2e-3)  # float16 labels
    assert not torch.equal(_weights(offline.network), _weights(online.network))


def test_the_view_seed_decides_views_for_every_eval_seed(small, toy, teacher, run):
    data, spec = toy(teacher=teacher), _spec("soft_epoch")
    logits = torch.stack(list(label_epochs(data, spec, view_seed=3, run=run)))
    stored = replace(data, stored=StoredLabels(logits, view_seed=3))
    one, other = (_train(small(1), stored, spec, run, seed=seed) for seed in (0, 1))
    assert torch.equal(_weights(one.network), _weights(other.network))  # equal initialisation, so nothing else may differ


def test_one_hot_soft_labels_train_the_student_that_hard_labels_train(small, toy, run):
    data = toy()
    soft = replace(data, soft_labels=torch.eye(4)[data.labels])
    hard = _train(small(1), data, _spec(), run)
    once = _train(small(1), soft, _spec("soft_once"), run)
    torch.testing.assert_close(_weights(once.network), _weights(hard.network), atol=1e-5, rtol=1e-4)


def test_soft_once_takes_the_teachers_answer_where_the_set_has_no_labels(small, toy, teacher, run):
    data = toy(teacher=teacher)
    vectors = torch.softmax(teacher.module(held(data, run.device).fetch(torch.arange(24))), dim=1)
    asked = _train(small(1), data, _spec("soft_once"), run)
    given = _train(small(1), replace(data, soft_labels=vectors, teacher=None), _spec("soft_once"), run)
    torch.testing.assert_close(_weights(asked.network), _weights(given.network), atol=1e-5, rtol=1e-4)


def test_a_single_image_left_over_trains_a_student_with_batch_norm(toy, run):
    from torch import nn

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 6), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 4))  # a 1x1 map
    trained = train_student(Student(network, "test/one"), toy(21), _spec(augment=()), seeds=StudentSeeds(0), run=run)
    assert (trained.steps, trained.images_seen) == (4 * 2, 4 * 21)


def test_steps_end_training_in_the_middle_of_an_epoch(small, toy, run):
    spec = _spec(epochs=None, steps=7, schedule=Schedule(name="cosine", per="step"))
    trained = _train(small(1), toy(), spec, run)
    assert (trained.steps, trained.images_seen) == (7, 24 + 24 + 10)
    assert [epoch for epoch, _ in trained.curve] == [0, 1, 2]


def test_a_fresh_optimiser_at_the_drop_forgets_the_momentum(small, toy, run):
    schedules = [Schedule(name="step", at=0.25, fresh_optimiser=fresh) for fresh in (True, False)]
    kept, fresh = (_weights(_train(small(1), toy(), _spec(schedule=s), run).network) for s in reversed(schedules))
    spec, data, twin = _spec(), toy(), small(1).train()
    source, recipe = held(data, run.device), student_recipe(spec, "")
    for epoch in range(4):
        if epoch in {0, 2}:
            optimiser = torch.optim.SGD(twin.parameters(), lr=0.05 * (0.1 if epoch else 1.0), momentum=0.9, weight_decay=5e-4)
        for drawn in draw_epoch(recipe, source, seed=(VIEWS, 0), epoch=epoch):
            optimiser.zero_grad()
            F.cross_entropy(twin(view(source, recipe, drawn)), data.labels[drawn.index]).backward()
            optimiser.step()
    torch.testing.assert_close(fresh, _weights(twin), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(fresh, kept, atol=1e-4)


def test_the_tested_network_is_the_average_where_the_protocol_says_so(small, toy, run):
    plain = [_train(small(1), toy(), _spec(epochs=e, schedule=Schedule(name="constant")), run).network for e in (1, 2, 3)]
    averaged = _train(small(1), toy(), _spec(epochs=3, schedule=Schedule(name="constant"), ema=0.9), run).network
    for name, value in averaged.state_dict().items():
        states = torch.stack([network.state_dict()[name] for network in plain])
        expected = states.double().mean(dim=0) if value.is_floating_point() else states[-1]  # young averages are plain means
        torch.testing.assert_close(value, expected.to(value.dtype), atol=1e-5, rtol=1e-4)


def test_overrides_and_learned_rates_reach_the_optimiser(toy):
    spec = _spec(overrides={"*/vgg11*": Override(lr=1e-4)})
    assert student_recipe(spec, "ddbench/vgg11").lr == 1e-4
    assert student_recipe(spec, "ddbench/convnet3").lr == 0.05
    learned = _spec(optimiser=Optimiser(name="sgd", lr="set", lr_without_set=0.01, weight_decay=0.0))
    assert student_recipe(learned, "", learned_lr=0.034).lr == 0.034
    assert student_recipe(learned, "").lr == 0.01


def test_a_learned_rate_trains_differently(small, toy, run):
    spec = _spec(optimiser=Optimiser(name="sgd", lr="set", lr_without_set=0.01, weight_decay=0.0))
    without, same, other = (_weights(_train(small(1), toy(learned_lr=lr), spec, run).network) for lr in (None, 0.01, 0.05))
    assert torch.equal(without, same)
    assert not torch.equal(without, other)


def test_divergence_is_an_error_that_names_the_epoch(small, toy, run):
    spec = _spec(optimiser=Optimiser(name="sgd", lr=1e30, weight_decay=0.0))
    with pytest.raises(SpecialValue, match=r"not finite at epoch \d"):
        _train(small(1, norm=False), toy(), spec, run)


def test_a_trained_student_is_frozen_and_in_eval_mode(small, toy, run):
    network = _train(small(1), toy(), _spec(), run).network
    assert not any(module.training for module in network.modules())
    assert not any(p.requires_grad for p in network.parameters())
    assert all(value.is_contiguous() for value in network.state_dict().values())


def test_progress_hears_of_every_step_without_a_read(small, toy, run):
    heard = []
    settings = replace(run, progress=lambda step, total, **scalars: heard.append((step, total, scalars["loss"])))
    _train(small(1), toy(), _spec(), settings)
    assert [(step, total) for step, total, _ in heard] == [(step, 12) for step in range(1, 13)]
    assert all(isinstance(loss, torch.Tensor) and not loss.requires_grad for *_, loss in heard)


def test_a_student_the_protocol_does_not_admit_is_refused(small, toy, run):
    with pytest.raises(BadRequest, match="defined for ddbench/convnet3"):
        _train(small(), toy(), _spec(students=("ddbench/convnet3",)), run)


def test_stored_labels_that_do_not_fit_are_refused(small, toy, run):
    with pytest.raises(BadRequest, match="needs stored labels"):
        _train(small(), toy(), _spec("soft_epoch"), run)
    short = toy(stored=StoredLabels(torch.zeros(3, 24, 4, dtype=torch.float16), view_seed=0))
    with pytest.raises(BadRequest, match="4, 24"):
        _train(small(), short, _spec("soft_epoch"), run)
    other = toy(stored=StoredLabels(torch.zeros(4, 24, 4, dtype=torch.float16), view_seed=0))
    with pytest.raises(BadRequest, match="view seed 0"):
        _train(small(), other, _spec("soft_epoch"), run, view_seed=1)


def test_rivals_of_one_eval_seed_are_initialised_alike():
    assert StudentSeeds(3).initialisation == StudentSeeds(3, view_seed=9).initialisation
    assert StudentSeeds(3).initialisation != StudentSeeds(4).initialisation
