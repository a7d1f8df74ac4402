"""diversity on constructed features and images, and against loops."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ddbench import Need, TrainedNetwork
from ddbench.data import HeldSplit
from ddbench.testing.toys import toy_dataset
from ddbench.training.zca import whitening_of
from ddbench_plugins.diversity import Diversity, Embeddings
from ddbench_plugins.diversity.diversity import DiversityOptions
from ddbench_plugins.diversity.looking import as_pixels, drawn_real
from ddbench_plugins.diversity.spread import coverage, mean_distance, nearest_real
from evaluating import evaluation

DATA = toy_dataset(per_class=12)
FACTS = DATA.facts


def flat_teacher() -> TrainedNetwork:
    """Return a teacher whose last features are the normalised pixels themselves."""
    mean, std = torch.tensor(FACTS.mean), torch.tensor(FACTS.std)
    return TrainedNetwork(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), FACTS.classes, mean, std)


def a_set(images, labels, space="uint8"):
    return SimpleNamespace(images=images, labels=labels, space=space)


def context(distilled):
    return evaluation(data=DATA, distilled=distilled, needs={"teacher": flat_teacher()})


def measured(distilled, **options):
    metrics, kept = Diversity().evaluate(context(distilled), DiversityOptions(**options))
    return {metric.name: metric.value for metric in metrics}, kept


def drawn(per_class=3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return real train images, class by class, and their positions."""
    train = HeldSplit(DATA)
    index = torch.cat([train.indices(label)[:per_class] for label in range(4)])
    return train.images(index), index


LABELS = torch.arange(4).repeat_interleave(3)


def test_the_whole_train_split_is_as_far_apart_as_itself_covers_all_and_is_made_of_copies():
    train = HeldSplit(DATA)
    found, kept = measured(a_set(train.images(torch.arange(48)), train.labels()))
    assert found == {
        "within_class_distance": pytest.approx(1),
        "coverage": 1,
        "nearest_real": 0,
        "copies": 1,
    }
    assert kept["nearest_index"].tolist() == list(range(48))


def test_equal_images_are_at_distance_zero():
    images, _ = drawn()
    alike = images[::3].repeat_interleave(3, dim=0)
    found, kept = measured(a_set(alike, LABELS))
    assert found["within_class_distance"] == 0
    assert kept["distance"].tolist() == [0, 0, 0, 0]


def test_with_one_image_of_a_class_there_is_no_distance_and_no_metric_that_is_no_number():
    images, _ = drawn()
    found, kept = measured(a_set(images[::3], torch.arange(4)))
    assert set(found) == {"coverage", "nearest_real", "copies"}
    assert bool(kept["distance"].isnan().all())


def test_a_copied_real_image_is_found_out_and_named_and_another_is_not():
    images, index = drawn()
    changed = images.clone()
    changed[0] = 255 - changed[0]
    found, kept = measured(a_set(changed, LABELS))
    assert kept["nearest"][1:].tolist() == [0] * 11
    assert kept["nearest"][0] > 0.05
    assert kept["nearest_index"][1:].tolist() == index[1:].tolist()
    assert found["copies"] == pytest.approx(11 / 12)


def test_twice_as_far_from_their_mean_is_twice_the_distance():
    images, _ = drawn()
    unit = images.float() / 255
    centre = unit.view(4, 3, 3, 8, 8).mean(dim=1).repeat_interleave(3, dim=0)
    once, _ = measured(a_set(unit, LABELS, "unit"))
    twice, _ = measured(a_set(centre + 2 * (unit - centre), LABELS, "unit"))
    assert twice["within_class_distance"] == pytest.approx(2 * once["within_class_distance"])


def test_distances_are_means_over_pairs_of_normalised_features():
    images, _ = drawn()
    _, kept = measured(a_set(images, LABELS))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (FACTS.mean, FACTS.std))

    def slow(pixels):
        rows = ((pixels.double() / 255 - mean) / std).flatten(1).tolist()
        pairs = [(a, b) for i, a in enumerate(rows) for b in rows[:i]]
        return sum(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5 for a, b in pairs) / len(pairs)

    train = HeldSplit(DATA)
    for label in range(4):
        expected = slow(images[label == LABELS]) / slow(train.images(train.indices(label)))
        assert float(kept["distance"][label]) == pytest.approx(expected, rel=1e-5)


def slow_coverage(fake, real, neighbours) -> float:
    covered = 0
    for number, one in enumerate(real):
        others = sorted(float((one - other).norm()) for place, other in enumerate(real) if place != number)
        reach = others[neighbours - 1]
        covered += any(float((one - made).norm()) <= reach for made in fake)
    return covered / len(real)


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_coverage_counts_the_real_images_whose_ball_holds_a_synthetic_one(neighbours):
    generator = torch.Generator().manual_seed(neighbours)
    real, fake = torch.randn(40, 4, generator=generator).double(), torch.randn(6, 4, generator=generator).double()
    assert coverage(fake, real, neighbours) == pytest.approx(slow_coverage(fake, real, neighbours))


def test_coverage_of_two_clusters_by_one_is_a_half_and_by_none_is_zero():
    left, right = torch.randn(10, 2), torch.randn(10, 2) + 100
    real = torch.cat([left, right])
    assert coverage(left, real, 5) == 0.5
    assert coverage(real[:0], real, 5) == 0.0
    assert coverage(torch.full((3, 2), 1e6), real, 5) == 0.0


def test_the_nearest_real_image_is_the_one_a_loop_finds():
    train = HeldSplit(DATA)
    pixels = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    positions = train.indices(2)
    found, index = nearest_real(pixels, train, positions)
    for number, image in enumerate(pixels):
        each = [float(((image - train.images(place[None])[0] / 255) ** 2).mean().sqrt()) for place in positions]
        assert float(found[number]) == pytest.approx(min(each), rel=1e-6)
        assert int(index[number]) == int(positions[each.index(min(each))])


def test_mean_distance_of_a_triangle_is_the_mean_of_its_sides():
    assert mean_distance(torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])) == pytest.approx(4.0)


def test_sets_of_every_space_are_seen_as_the_same_pixels():
    images, _ = drawn()
    unit = images.float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (FACTS.mean, FACTS.std))
    for space, stored in (("uint8", images), ("unit", unit), ("normalised", (unit - mean) / std)):
        torch.testing.assert_close(as_pixels(context(a_set(stored, LABELS, space))), unit)
    one = context(None)
    whitened = whitening_of(one.train).apply(images)
    one.distilled = a_set(whitened, LABELS, "zca")
    torch.testing.assert_close(as_pixels(one), unit, atol=1e-4, rtol=0)


def test_the_real_sample_is_the_same_whatever_set_is_measured_and_holds_no_image_twice():
    one = context(None)
    first = drawn_real(one, 1, 5)
    assert torch.equal(first, drawn_real(context(None), 1, 5))
    assert len(first.unique()) == 5
    assert set(first.tolist()) <= set(one.train.indices(1).tolist())


@pytest.mark.parametrize("evaluator", [Diversity(), Embeddings()], ids=lambda one: one.name)
def test_the_runs_teacher_looks_unless_another_is_named(evaluator):
    assert evaluator.needs(evaluator.options(), FACTS) == {"teacher": Need("teacher", "")}
    assert evaluator.needs(evaluator.options(teacher="resnet18"), FACTS) == {"teacher": Need("teacher", "resnet18")}


def test_embeddings_are_the_teachers_features_of_the_first_classes_and_of_a_real_sample():
    images, _ = drawn()
    one = context(a_set(images, LABELS))
    metrics, kept = Embeddings().evaluate(one, Embeddings.options(real=5, classes=2))
    assert metrics == []
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (FACTS.mean, FACTS.std))
    torch.testing.assert_close(kept["features"], ((images[:6].float() / 255 - mean) / std).flatten(1))
    assert kept["labels"].tolist() == [0, 0, 0, 1, 1, 1]
    assert kept["real_labels"].tolist() == [0] * 5 + [1] * 5
    real = one.train.images(kept["real_index"])
    torch.testing.assert_close(kept["real_features"], ((real.float() / 255 - mean) / std).flatten(1))
