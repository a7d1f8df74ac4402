"""The fast ways through the loop against the plain one: bf16, channels-last, compiled."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ddbench.api.context import Precision
from ddbench.api.protocol import Augment, Loss, Optimiser, ProtocolSpec, Schedule
from ddbench.networks import build, resolve
from ddbench.plugins import Plugins
from ddbench.seeding import seeded_globally
from ddbench.training import cpu_layers, native, winograd
from ddbench.training.loop import RunSettings, sizes_to_compile
from ddbench.training.precision import autocast, device_abilities, placed
from ddbench.training.recipe import student_recipe
from ddbench.training.students import Student, StudentSeeds, train_student

CPU = torch.device("cpu")


def _spec(**changes):
    values = {
        "name": "test/1",
        "title": "",
        "source": "",
        "label_regime": "soft_online",
        "optimiser": Optimiser(name="sgd", lr=0.02, momentum=0.9, weight_decay=5e-4),
        "schedule": Schedule(name="cosine"),
        "batch": 10,
        "epochs": 3,
        "augment": (Augment(name="crop", pad=1), Augment(name="dsa")),
        "loss": Loss(name="kl", temperature=4.0, times_t2=True),
        "teacher_bn": "batch",
    }
    return ProtocolSpec(**{**values, **changes})


def _weights(small, data, precision):
    trained = train_student(Student(small(1), "test/small"), data, _spec(), seeds=StudentSeeds(0), run=RunSettings(CPU, precision))
    return torch.cat([value.flatten().float() for value in trained.network.state_dict().values()]), trained


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [(Precision("fp32", channels_last=True), 1e-4), (Precision("bf16"), 0.03), (Precision("bf16", channels_last=True), 0.03)],
)
def test_layout_and_bf16_train_the_plain_network_up_to_rounding(small, toy, teacher, precision, tolerance):
    data = toy(teacher=teacher)
    plain, _ = _weights(small, data, Precision())
    fast, trained = _weights(small, data, precision)
    torch.testing.assert_close(fast, plain, atol=tolerance, rtol=tolerance)
    assert all(p.dtype == torch.float32 and p.is_contiguous() for p in trained.network.parameters())


class Widened(nn.Module):
    """Convolutions with channels enough for Winograd's kernels, in a dtype of their own."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype
        with seeded_globally(2):
            convolutions = (nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1))
            layers = [convolutions[0], nn.BatchNorm2d(32), nn.ReLU(), convolutions[1], nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()]
            self.layers = nn.Sequential(*layers, nn.Linear(288, 4)).to(dtype)

    def forward(self, images):
        return self.layers(images.to(self.dtype))


@pytest.mark.skipif(native.compiler() is None, reason="this machine has no C compiler")
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=str)
def test_training_by_winograd_is_the_plain_one(toy, last, dtype, tolerance, monkeypatch):
    spec = _spec(label_regime="hard", loss=Loss(name="ce"), teacher_bn=None)
    taken = []
    monkeypatch.setattr(cpu_layers, "convolved", lambda *of, half: taken.append(of[0].shape) or winograd.convolved(*of, half=half))

    def weights(precision):
        student, run = Student(Widened(dtype), "test/wide"), RunSettings(CPU, precision)
        trained = train_student(student, toy(), spec, seeds=StudentSeeds(0), run=run)
        assert all(type(layer) is not cpu_layers.Winograd for layer in trained.network.modules())
        return torch.cat([value.flatten().double() for value in trained.network.state_dict().values()])

    plain = weights(Precision())
    assert taken == []
    torch.testing.assert_close(weights(Precision(channels_last=last, native=True)), plain, atol=tolerance, rtol=0)
    assert taken == [(10, 32, 6, 6), (10, 32, 6, 6)] * 3  # the last four of 24 images are left to torch


@pytest.mark.skipif(native.compiler() is None, reason="this machine has no C compiler")
def test_training_by_winograd_in_bf16_stays_near_the_plain_one(toy, monkeypatch):
    spec = _spec(label_regime="hard", loss=Loss(name="ce"), teacher_bn=None)
    taken = []
    monkeypatch.setattr(cpu_layers, "convolved", lambda *of, half: taken.append(half) or winograd.convolved(*of, half=half))

    def weights(precision):
        trained = train_student(
            Student(Widened(torch.float32), "test/wide"), toy(), spec, seeds=StudentSeeds(0), run=RunSettings(CPU, precision)
        )
        assert all(p.dtype == torch.float32 for p in trained.network.parameters())
        return torch.cat([value.flatten().double() for value in trained.network.state_dict().values()])

    plain, found = (weights(Precision(dtype, channels_last=True, native=True)) for dtype in ("fp32", "bf16"))
    assert taken == [False] * 6 + [True] * 6
    assert 1e-6 < float((found - plain).norm() / plain.norm()) < 0.03


@pytest.mark.skipif(native.compiler() is None, reason="this machine has no C compiler")
@pytest.mark.parametrize("name", ["ddbench/convnet3", "resnet18"])
def test_a_networks_gradient_in_bf16_is_rounded_twice_as_much_as_by_autocast_at_most(name):
    families = Plugins(allowed=()).all("network")
    network = build(resolve(name, families, shape=(3, 32, 32), num_classes=10), families, seed=0)
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(20, 3, 32, 32, generator=generator), torch.arange(20) % 10

    def gradient(precision, dtype=torch.float32):
        placed(copied := copy.deepcopy(network).to(dtype).train(), precision, CPU)
        with autocast(precision, CPU):
            answers = copied(images.to(dtype).contiguous(memory_format=torch.channels_last))
        parts = torch.autograd.grad(cross_entropy(answers.to(dtype), labels), list(copied.parameters()))
        return torch.cat([part.flatten().double() for part in parts])

    exact = gradient(Precision(channels_last=True), torch.float64)
    ways = Precision("bf16", channels_last=True, native=True), Precision("bf16", channels_last=True)
    ours, autocasts = (float((gradient(way) - exact).norm()) for way in ways)
    assert autocasts < ours < 2 * autocasts


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(not device_abilities(CPU).compiler, reason="this machine has no C++ compiler")
def test_compiled_training_is_the_plain_one_up_to_rounding(small, toy, teacher):
    data = toy(teacher=teacher)
    plain, _ = _weights(small, data, Precision())
    fast, trained = _weights(small, data, Precision("fp32", compile=True, channels_last=True))
    assert trained.notes == ()
    torch.testing.assert_close(fast, plain, atol=1e-3, rtol=1e-3)


def test_a_rare_last_batch_is_not_compiled_for():
    recipe = student_recipe(_spec(), "")
    assert sizes_to_compile(recipe, 24) == {10}
    often = student_recipe(_spec(epochs=500), "")
    assert sizes_to_compile(often, 24) == {10, 4}
    assert sizes_to_compile(recipe, 7) == {7}
