from __future__ import annotations

import sys
from itertools import count

import pytest
import torch
from torch import nn

from ddbench.api.context import Precision
from ddbench.api.network import TrainedNetwork
from ddbench.api.protocol import Augment, Loss, Mix, Optimiser, ProtocolSpec, Schedule, TestView
from ddbench.training.loop import RunSettings, epoch_by_epoch
from ddbench.training.memory import Pieces
from ddbench.training.precision import device_abilities, forget_compiled
from ddbench.training.predict import TestImages, logits
from ddbench.training.recipe import student_recipe
from ddbench.training.students import Student, StudentData, StudentSeeds, student_lesson, train_student

LOOP = sys.modules["ddbench.training.loop"]
SGD = Optimiser(name="sgd", lr=0.01, momentum=0.9, weight_decay=5e-4)
ADAMW = Optimiser(name="adamw", lr=1e-3, weight_decay=0.01)
HARD = {"label_regime": "hard", "loss": Loss(name="ce")}
SOFT = {"label_regime": "soft_online", "loss": Loss(name="kl", temperature=4.0), "teacher_bn": "running"}
KINDS = {
    "hard, DSA": {**HARD, "augment": (Augment(name="dsa"),)},
    "soft, cutmix": {**SOFT, "optimiser": ADAMW, "mix": Mix(name="cutmix", alpha=1.0)},
    "soft, mixup, batch statistics": {**SOFT, "optimiser": ADAMW, "mix": Mix(name="mixup", alpha=0.8), "teacher_bn": "batch"},
    "hard, crops": {**HARD, "augment": (Augment(name="rrc", scale=(0.3, 1.0)), Augment(name="flip"))},
}


def spec_of(**changes):
    values = {
        "name": "test/1",
        "title": "",
        "source": "",
        "optimiser": SGD,
        "schedule": Schedule(name="cosine"),
        "batch": 32,
        "epochs": 10,
        "augment": (Augment(name="crop", pad=4), Augment(name="flip")),
    }
    return ProtocolSpec(**{**values, **changes})


@pytest.fixture
def data(network):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (48, 3, 32, 32), generator=generator).to(torch.uint8)
    mean, std = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0.25, 0.25, 0.25])
    teacher = TrainedNetwork(network("convnet3-bn", seed=7).eval(), tuple("abcdefghij"), mean, std)
    return StudentData(images, torch.arange(48) % 10, mean, std, teacher=teacher)


class Dropping(nn.Module):
    """A network that draws while it is trained."""

    def __init__(self, body):
        super().__init__()
        self.body, self.drop = body, nn.Dropout(0.3)

    def forward(self, images):
        return self.body(self.drop(images))


def weights_of(network, data, spec, device, *, dropping=False, precision=None):
    body = network("convnet3-bn")
    student = Student(Dropping(body) if dropping else body, "test/student")
    run = RunSettings(device, precision or Precision())
    trained = train_student(student, data, spec, seeds=StudentSeeds(0), run=run)
    return torch.cat([value.flatten().double().cpu() for value in trained.network.state_dict().values()]), trained


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_makes_nobody_wait(device, network, data, unhindered, kind):
    spec, run = spec_of(**KINDS[kind], epochs=100), RunSettings(device)
    recipe = student_recipe(spec, "test/student")
    lesson, _ = student_lesson(recipe, data, spec, seeds=StudentSeeds(0), run=run)
    train, numbers = epoch_by_epoch(network("convnet3"), recipe, lesson=lesson, run=run), count()
    for _ in range(6):
        train(next(numbers))
    with unhindered():
        train(next(numbers))
        train(next(numbers))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dropping", [False, True], ids=["", "dropout"])
def test_recorded_steps_are_the_steps(device, network, data, kind, dropping):
    if LOOP.recorder_of(device) is None:
        pytest.skip("this device records nothing")
    made = []
    for least in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LOOP, "RECORD_FROM", least)
            found, trained = weights_of(network, data, spec_of(**KINDS[kind]), device, dropping=dropping)
        assert not trained.notes
        made.append(found)
    torch.testing.assert_close(*made, atol=2e-3, rtol=1e-3)


def test_float32_means_float32(device):
    generator = torch.Generator().manual_seed(0)
    sizes = ((8, 64, 16, 16), (64, 64, 3, 3), (512, 512))
    images, kernel, rows = (torch.randn(*size, generator=generator).to(device) for size in sizes)
    for function, given in ((nn.functional.conv2d, (images, kernel)), (torch.matmul, (rows, rows))):
        exact = function(*(one.double() for one in given))
        assert float((function(*given) - exact).norm() / exact.norm()) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_an_accelerator_trains_the_network_that_a_cpu_trains(device, network, data, kind):
    there, _ = weights_of(network, data, spec_of(**KINDS[kind], epochs=3), device)
    here, _ = weights_of(network, data, spec_of(**KINDS[kind], epochs=3), torch.device("cpu"))
    torch.testing.assert_close(there, here, atol=5e-3, rtol=1e-2)


@pytest.mark.filterwarnings("default")
def test_bf16_compiled_and_recorded_learns_as_float32_does(device, network, data, monkeypatch):
    if not device_abilities(device).compiler:
        pytest.skip("no compiler for this device")
    monkeypatch.setattr(LOOP, "RECORD_FROM", 0)
    spec, losses = spec_of(**KINDS["hard, DSA"], epochs=40), []
    for precision in (Precision(), Precision("bf16", compile=True, channels_last=True)):
        forget_compiled(precision)
        _, trained = weights_of(network, data, spec, device, precision=precision)
        assert not trained.notes
        losses.append(sum(loss for _, loss in trained.curve[-10:]) / 10)
    assert losses[1] == pytest.approx(losses[0], rel=0.15)


def test_where_memory_runs_out_fewer_images_are_answered_at_once_and_answers_stay(device, network):
    if device.type != "cuda":
        pytest.skip("only CUDA's memory can be limited for a process")
    pixels = torch.randint(0, 256, (512, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    test = TestImages(lambda index: pixels[index], 512, torch.full((3,), 0.5), torch.full((3,), 0.25))
    model, told = network("resnet18").to(device).eval(), []
    run = RunSettings(device, note=told.append)
    whole = logits(model, test, TestView(), run, batch=16)
    torch.cuda.empty_cache()
    room = torch.cuda.memory_allocated() + 60 * 2**20
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(device).total_memory)
    try:
        found = logits(model, test, TestView(), run, batch=512)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert told
    assert told[0].startswith("memory ran out at 512 test images at once: went on with 256")
    torch.testing.assert_close(found, whole, atol=1e-4, rtol=1e-4)
    assert Pieces("x").limit is None  # a limit belongs to one pass
