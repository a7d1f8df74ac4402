"""corruption against formulas, and its determinism."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ddbench.seeding import generator_for
from ddbench.testing.toys import toy_dataset
from ddbench_plugins.robustness import Corruption
from ddbench_plugins.robustness.corrupting import STRENGTHS, corrupt
from ddbench_plugins.robustness.corruption import KINDS, CorruptionOptions
from evaluating import evaluation

GREY = torch.full((64, 3, 32, 32), 128, dtype=torch.uint8)


def corrupted(images, kind, severity, seed=0):
    return corrupt(images, kind, severity, generator=torch.Generator().manual_seed(seed))


def measured(network, data, **options):
    metrics, kept = Corruption().evaluate(evaluation(network, data=data), CorruptionOptions(**options))
    return {metric.name: metric.value for metric in metrics}, kept["top1"]


@pytest.fixture
def student():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4))


def test_every_kind_has_five_strengths_and_is_offered():
    assert set(STRENGTHS) == set(KINDS)
    assert {len(strengths) for strengths in STRENGTHS.values()} == {5}


@pytest.mark.parametrize("severity", range(1, 6))
def test_noises_have_the_moments_of_their_formulas(severity):
    def spread(kind):
        return (corrupted(GREY, kind, severity).double() / 255 - 128 / 255).std()

    strength = {kind: values[severity - 1] for kind, values in STRENGTHS.items()}
    assert spread("gaussian_noise") == pytest.approx(strength["gaussian_noise"], rel=0.02)
    assert spread("shot_noise") == pytest.approx((128 / 255 / strength["shot_noise"]) ** 0.5, rel=0.02)
    salted = corrupted(GREY, "impulse_noise", severity)
    assert (salted == 0).double().mean() == pytest.approx(strength["impulse_noise"] / 2, rel=0.1)
    assert (salted == 255).double().mean() == pytest.approx(strength["impulse_noise"] / 2, rel=0.1)
    assert set(salted.unique().tolist()) == {0, 128, 255}


def test_brightness_is_added_and_contrast_shrinks_towards_each_channels_mean():
    images = torch.tensor([[[[0, 100], [200, 255]]]], dtype=torch.uint8)
    assert corrupted(images, "brightness", 3).flatten().tolist() == [38, 138, 238, 255]
    mean = (0 + 100 + 200 + 255) / 4
    expected = [round(mean + 0.4 * (value - mean)) for value in (0, 100, 200, 255)]
    assert corrupted(images, "contrast", 3).flatten().tolist() == expected


def test_pixelate_repeats_the_mean_of_blocks():
    images = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    coarse = corrupted(images, "pixelate", 5)  # 8 pixels become 5
    assert len(coarse.unique()) == 25
    assert coarse.double().mean() == pytest.approx(31.5, abs=1)


@pytest.mark.parametrize("kind", ["gaussian_blur", "contrast", "pixelate"])
def test_a_flat_image_stays_as_it_is_where_nothing_is_added(kind):
    for severity in range(1, 6):
        torch.testing.assert_close(corrupted(GREY[:1], kind, severity), GREY[:1])


def test_blur_is_a_gaussian_of_the_stated_width():
    point = torch.zeros(1, 1, 33, 33, dtype=torch.uint8)
    point[..., 16, 16] = 255
    blurred = corrupted(point, "gaussian_blur", 5)[0, 0].double()
    across = torch.arange(-16, 17).double()
    kernel = torch.exp(-(across**2) / (2 * (33 / 32) ** 2))
    expected = 255 * torch.outer(kernel, kernel) / kernel.sum() ** 2
    assert float((blurred - expected).abs().max()) <= 0.51


@pytest.mark.parametrize("side", [1, 4, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_every_corruption_takes_images_of_any_size(kind, side):
    images = torch.randint(256, (3, 1, side, side), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    found = corrupted(images, kind, 5)
    assert (found.shape, found.dtype) == (images.shape, torch.uint8)


def test_the_mean_is_over_kinds_and_each_kind_is_the_mean_over_severities(student):
    values, table = measured(student, toy_dataset(per_class=20), kinds=("contrast", "shot_noise"), severities=(1, 5))
    assert table.shape == (2, 2)
    assert values["corruption_top1.contrast"] == pytest.approx(table[0].mean().item())
    assert values["corruption_top1"] == pytest.approx(table.mean().item())


def test_top1_under_a_corruption_is_a_count_over_single_images(student):
    data = toy_dataset(per_class=20)
    _, table = measured(student, data, kinds=("gaussian_noise",), severities=(4,))
    context = evaluation(student, data=data)
    seed = int(torch.randint(2**62, (), generator=context.generator))
    noisy = corrupt(
        context.test_images(torch.arange(80)), "gaussian_noise", 4, generator=generator_for("corruption", seed, "gaussian_noise", 4)
    )
    answers = [int(context.answers(image[None]).argmax()) for image in noisy]
    right = [answer == label for answer, label in zip(answers, context.test_labels().tolist(), strict=True)]
    assert float(table) == pytest.approx(sum(right) / 80)


def test_asking_for_less_changes_nothing_in_the_rest(student):
    data = toy_dataset(per_class=20)
    every, _ = measured(student, data)
    some, _ = measured(student, data, kinds=("shot_noise", "gaussian_noise"))
    assert some.items() - every.items() == {("corruption_top1", some["corruption_top1"])}
    assert measured(student, data)[0] == every


def test_a_subset_is_the_same_for_every_student_and_of_the_size_asked_for(student):
    seen = []

    class Watching(nn.Module):
        def forward(self, images):
            seen.append(images.clone())
            return torch.zeros(len(images), 4)

    data = toy_dataset(per_class=20)
    for _ in range(2):
        measured(Watching(), data, kinds=("contrast",), severities=(1,), images=7)
    assert torch.equal(seen[0], seen[1])
    assert len(seen[0]) == 7
