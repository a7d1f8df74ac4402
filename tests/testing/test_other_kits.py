"""The kits of teachers, evaluators, datasets, networks and protocols: each contract that is broken fails its own test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ddbench import DatasetSource, Evaluator, Metric, NetworkFamily, NoOptions, ProtocolSpec, Teacher
from ddbench.data import Arrays, Description, write_prepared
from ddbench.errors import BadRequest, TestSplitTouched
from ddbench.plugins import Plugins
from ddbench.testing import (
    Bench,
    DatasetConformance,
    EvaluatorConformance,
    NetworkConformance,
    ProtocolConformance,
    TeacherConformance,
)
from ddbench.testing.toys import ToyFamily, ToyTeacher


def contract(kit, attribute, thing, test, *arguments):
    """Run one inherited test for a thing."""
    getattr(type("TestIt", (kit,), {attribute: thing})(), test)(*arguments)


def broken(base, **members):
    return type("Broken", (base,), members)()


# --- teachers


class Learning(Teacher):
    """A linear network fitted to the toy images in closed form: it knows every class."""

    name, version, options = "learning", 1, NoOptions

    def train(self, ctx, o, network):
        found = ToyTeacher().train(ctx, o, network)
        facts = ctx.train.facts
        images = torch.cat([ctx.train.images(ctx.train.indices(label)) for label in range(facts.num_classes)])
        mean, std = found.mean.view(-1, 1, 1), found.std.view(-1, 1, 1)
        x = ((images.float() / 255 - mean) / std).flatten(1)
        y = torch.eye(facts.num_classes).repeat_interleave(torch.tensor(facts.counts), 0)
        linear = nn.Linear(x.shape[1], facts.num_classes)
        linear.weight.data, linear.bias.data = torch.linalg.lstsq(x, y).solution.T.contiguous(), torch.zeros(facts.num_classes)
        return replace(found, module=nn.Sequential(nn.Flatten(), linear).eval().requires_grad_(requires_grad=False))


class Rolled(nn.Module):
    """Answers for the class before."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x).roll(1, 1)


def changed(**fields):
    """Return a teacher whose answer is another than the sound one's."""

    def train(self, ctx, o, network):
        found = Learning().train(ctx, o, network)
        return replace(found, **{name: change(found) for name, change in fields.items()})

    return broken(Learning, train=train)


CLASSES = "test_its_classes_are_the_datasets_in_the_datasets_order"


@pytest.mark.parametrize(
    ("test", "teacher", "told"),
    [
        (CLASSES, changed(module=lambda found: Rolled(found.module)), "another order of classes"),
        (CLASSES, changed(classes=lambda found: found.classes[::-1]), "it answers for"),
        ("test_it_comes_frozen_and_in_eval_mode", changed(module=lambda found: found.module.train()), "training mode"),
        ("test_its_normalisation_has_a_value_for_every_channel", changed(std=lambda found: found.std * 0), "not above 0"),
        ("test_its_normalisation_has_a_value_for_every_channel", changed(mean=lambda found: found.mean[:1]), "mean is"),
        (
            "test_it_answers_every_image_with_a_finite_logit_for_every_class",
            changed(module=lambda found: nn.Sequential(found.module, nn.Linear(4, 3)).eval()),
            r"not \(48, 4\)",
        ),
    ],
)
def test_a_broken_teacher_fails_the_test_of_its_contract(tmp_path, test, teacher, told):
    contract(TeacherConformance, "teacher", Learning(), test, Bench(tmp_path / "sound"))
    with pytest.raises(AssertionError, match=told):
        contract(TeacherConformance, "teacher", teacher, test, Bench(tmp_path))


def test_a_teacher_that_forgets_its_generator_on_resume_is_found_and_one_that_goes_on_passes(tmp_path):
    def train(self, ctx, o, network):
        kept = ctx.resumed()
        total, first = (torch.zeros(1), 0) if kept is None else (kept["total"], int(kept["step"]))
        if kept is not None and self.keeps:
            ctx.generator.set_state(kept["generator"])
        for step in range(first, 3):
            total = total + torch.rand(1, generator=ctx.generator)
            ctx.checkpoint({"total": total, "step": torch.tensor(step + 1), "generator": ctx.generator.get_state()})
        found = ToyTeacher().train(ctx, o, network)
        found.module[0].bias.data.fill_(float(total))
        return found

    test = "test_one_killed_after_a_checkpoint_ends_with_the_same_weights"
    contract(TeacherConformance, "teacher", broken(ToyTeacher, train=train, keeps=True), test, Bench(tmp_path / "sound"), 2)
    with pytest.raises(AssertionError, match="killed and resumed, it differs"):
        contract(TeacherConformance, "teacher", broken(ToyTeacher, train=train, keeps=False), test, Bench(tmp_path), 2)


# --- evaluators


class Share(Evaluator):
    """The share of test images answered with class 0."""

    name, version, options, scope = "share", 1, NoOptions, "student"

    def evaluate(self, ctx, o):
        return [Metric("share", float((ctx.predictions() == 0).float().mean()), "fraction")]


def giving(*metrics):
    return broken(Share, evaluate=lambda self, ctx, o: list(metrics))


def percent(self, ctx, o):
    return [Metric("share", 100.0, "fraction")]


def drawing(self, ctx, o):
    return [Metric("share", float(torch.rand(())), "fraction")]


def by_student(self, ctx, o):
    mark = "a" if float(next(ctx.student.module.parameters()).sum()) > float(ctx.generator.initial_seed() % 1) else "b"
    return [Metric(f"share_{mark}{float(next(ctx.student.module.parameters()).sum()):.3f}", 0.5, "fraction")]


def training(self, ctx, o):
    next(ctx.student.module.parameters()).data.add_(1.0)
    return Share().evaluate(ctx, o)


@pytest.mark.parametrize(
    ("test", "evaluator", "told"),
    [
        ("test_metrics_are_finite_numbers_with_different_names", giving(), "no metric"),
        ("test_metrics_are_finite_numbers_with_different_names", giving(Metric("m", float("nan"), "")), "m is nan"),
        ("test_metrics_are_finite_numbers_with_different_names", giving(*[Metric("m", 0.0, "")] * 2), "two metrics have one name"),
        ("test_a_fraction_is_no_percentage", broken(Share, evaluate=percent), "share = 100"),
        ("test_the_same_student_and_set_give_the_same_metrics", broken(Share, evaluate=drawing), "differ"),
        ("test_names_units_and_directions_do_not_depend_on_the_student", broken(Share, evaluate=by_student), "for another"),
        ("test_student_teacher_and_everything_global_are_left_as_they_were", broken(Share, evaluate=training), "moved a network"),
    ],
)
def test_a_broken_evaluator_fails_the_test_of_its_contract(tmp_path, test, evaluator, told):
    contract(EvaluatorConformance, "evaluator", Share(), test, Bench(tmp_path / "sound"))
    with pytest.raises(AssertionError, match=told):
        contract(EvaluatorConformance, "evaluator", evaluator, test, Bench(tmp_path))


def test_an_evaluator_of_sets_is_shown_neither_student_nor_test_split(tmp_path):
    test = "test_metrics_are_finite_numbers_with_different_names"
    with pytest.raises(BadRequest):
        contract(EvaluatorConformance, "evaluator", broken(Share, scope="set"), test, Bench(tmp_path))
    looks = broken(Share, scope="set", evaluate=lambda self, ctx, o: [Metric("n", float(ctx.test_labels().sum()), "")])
    with pytest.raises(TestSplitTouched):
        contract(EvaluatorConformance, "evaluator", looks, test, Bench(tmp_path / "other"))


# --- datasets


class Blobs(DatasetSource):
    """Noise around a brightness for each class."""

    name, version, description, defaults = "blobs", 1, "noise", None
    download_bytes, origin, folder = 0, "a seed", None
    seed, shared = 0, False

    def split(self, seed):
        labels = np.arange(3).repeat(5)
        noise = np.random.default_rng(seed).integers(0, 50, (15, 1, 8, 8))
        return Arrays((noise + 60 * labels[:, None, None, None]).astype(np.uint8), labels)

    def prepare(self, out, *, originals, offline, report):
        test = 1 if not self.shared else 0
        write_prepared(out, Description(self.name, ("a", "b", "c")), {"train": self.split(self.seed), "test": self.split(test)})


def moving(self, out, **_):
    self.calls = getattr(self, "calls", 1) + 1
    splits = {"train": self.split(self.calls), "test": self.split(1)}
    write_prepared(out, Description(self.name, ("a", "b", "c")), splits)


def turning(self, out, **_):
    self.calls = getattr(self, "calls", 0) + 1
    names = ("a", "b", "c") if self.calls % 2 else ("c", "b", "a")
    write_prepared(out, Description(self.name, names), {"train": self.split(0), "test": self.split(1)})


AGAIN = "test_prepared_again_it_is_the_same_dataset_with_the_same_class_order"


@pytest.mark.parametrize(
    ("test", "source", "told"),
    [
        (AGAIN, broken(Blobs, prepare=moving), "other images or labels"),
        (AGAIN, broken(Blobs, prepare=turning), "another order"),
        ("test_no_test_image_is_a_train_image", broken(Blobs, shared=True), "15 images are in both splits"),
        ("test_it_says_where_it_comes_from_and_what_a_download_takes", broken(Blobs, origin=""), "where it comes from"),
    ],
)
def test_a_broken_dataset_fails_the_test_of_its_contract(tmp_path, test, source, told):
    arguments = () if test.startswith("test_it_says") else (tmp_path / "sound",)
    contract(DatasetConformance, "source", Blobs(), test, *arguments)
    with pytest.raises(AssertionError, match=told):
        contract(DatasetConformance, "source", source, test, *((tmp_path / "broken",) if arguments else ()))


# --- networks


def built_with(change):
    return broken(ToyFamily, build=lambda self, spec: change(ToyFamily().build(spec)))


def frozen(network):
    network[0].weight.requires_grad_(requires_grad=False)
    return network


def noisy(network):
    return nn.Sequential(network, type("Noise", (nn.Module,), {"forward": lambda self, x: x + torch.randn_like(x)})())


def batched(network):
    return nn.Sequential(network, type("Centred", (nn.Module,), {"forward": lambda self, x: x - x.mean(0)})())


def of_one_seed(self, spec):
    from ddbench.seeding import seeded_globally

    with seeded_globally(0):
        return ToyFamily().build(spec)


@pytest.mark.parametrize(
    ("test", "family", "told"),
    [
        (
            "test_it_answers_every_image_with_a_finite_logit_for_every_class",
            built_with(lambda network: nn.Sequential(network, nn.Softmax(1))),
            "probabilities",
        ),
        ("test_every_weight_is_trained", built_with(frozen), "no gradient reaches"),
        ("test_in_eval_mode_each_image_is_answered_by_itself_and_always_alike", built_with(noisy), "answers otherwise"),
        ("test_in_eval_mode_each_image_is_answered_by_itself_and_always_alike", built_with(batched), "other images of the batch"),
        ("test_equal_seeds_give_equal_weights_and_others_other_ones", broken(ToyFamily, build=of_one_seed), "gave one network"),
        ("test_its_names_are_plain_and_each_is_listed_once", broken(ToyFamily, names=lambda self: ["cnn", "cnn"]), "twice"),
    ],
)
def test_a_broken_family_fails_the_test_of_its_contract(test, family, told):
    contract(NetworkConformance, "family", ToyFamily(), test)
    with pytest.raises(AssertionError, match=told):
        contract(NetworkConformance, "family", family, test)


def test_a_family_that_answers_to_every_name_is_found():
    def fit(self, name, *, shape, num_classes):
        return ToyFamily().fit("cnn", shape=shape, num_classes=num_classes)

    with pytest.raises(pytest.fail.Exception):
        contract(NetworkConformance, "family", broken(NetworkFamily, name="toy", fit=fit), "test_a_name_that_it_has_not_is_refused")


# --- protocols


@pytest.mark.parametrize("name", ["quick-hard/1", "quick-soft/1", "soft-once/1", "dwa-cifar-stored/1"])
def test_a_released_protocol_of_every_label_regime_trains_a_student(tmp_path, name):
    spec: ProtocolSpec = Plugins(()).get("protocol", name).value
    contract(ProtocolConformance, "protocol", spec, "test_a_student_learns_by_it_with_finite_losses", Bench(tmp_path))


def test_a_shortened_or_wordless_protocol_is_found():
    spec = Plugins(()).get("protocol", "quick-hard/1").value
    with pytest.raises(AssertionError, match="smoke"):
        contract(ProtocolConformance, "protocol", spec.shortened(0.1), "test_it_is_not_shortened")
    wordless = spec.model_copy(update={"source": " "})
    with pytest.raises(AssertionError, match="no source"):
        contract(ProtocolConformance, "protocol", wordless, "test_it_says_what_it_is_for_and_where_it_comes_from")
