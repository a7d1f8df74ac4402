"""attack against the worst case of linear students, which is known in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ddbench.testing.toys import toy_dataset
from ddbench_plugins.robustness import Attack
from ddbench_plugins.robustness.attack import AttackOptions
from ddbench_plugins.robustness.attacking import attacked
from evaluating import evaluation


def linear(seed=0, classes=2, side=8) -> nn.Module:
    """Return a linear student whose answers are mixed: right about some images and wrong about others."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, classes)).double()


class Doubled(nn.Module):
    """A student in float64, so that its closed form can be compared image by image."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images.double())


def measured(context, **options) -> dict[str, float]:
    return {metric.name: metric.value for metric in Attack().evaluate(context, AttackOptions(**options))}


def worst_of_linear(network, context, epsilon) -> torch.Tensor:
    """Return whether each test image stays right at the corner of its box that is worst for a student with two classes."""
    (layer,) = [part for part in network.modules() if isinstance(part, nn.Linear)]
    mean, std = (torch.tensor(values).double().view(1, 3, 1, 1) for values in (context.facts.mean, context.facts.std))
    images, labels = context.test_images(torch.arange(len(context.test))).double() / 255, context.test_labels()
    weight = layer.weight.view(2, 3, 8, 8) / std
    toward = torch.stack([weight[1 - label] - weight[label] for label in labels.tolist()])
    corner = (images + epsilon * toward.sign()).clamp(0, 1)
    return network((corner - mean) / std).argmax(1) == labels


@pytest.mark.parametrize("epsilon", [1 / 255, 8 / 255, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_a_linear_student_is_attacked_to_its_closed_form_worst_case(epsilon, seed):
    network = linear(seed)
    context = evaluation(Doubled(network), data=toy_dataset(classes=2, per_class=60))
    expected = worst_of_linear(network, context, epsilon).double().mean().item()
    found = measured(context, epsilon=epsilon, images=0)
    assert found["attack_top1"] == pytest.approx(expected)
    clean = (context.predictions() == context.test_labels()).double().mean().item()
    assert found["attack_clean_top1"] == pytest.approx(clean)


def test_some_of_these_students_fall_and_some_do_not():
    """The closed form above would prove little if every student kept all of its top1, or none."""
    context = evaluation(Doubled(linear(1)), data=toy_dataset(classes=2, per_class=60))
    values = [measured(context, epsilon=epsilon, images=0)["attack_top1"] for epsilon in (0.0001, 0.01, 0.3)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]


def test_no_value_leaves_the_ball_or_the_pixels():
    images = torch.rand(6, 3, 8, 8)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    start = torch.rand(images.shape) * 2 - 1
    moved = attacked(network, images, torch.arange(6) % 5, (start, AttackOptions(epsilon=0.1, steps=3)))
    assert float((moved - images).abs().max()) <= 0.1 + 1e-6
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1


def test_an_image_is_attacked_alike_alone_and_among_others():
    torch.manual_seed(0)
    images, labels = torch.rand(5, 3, 8, 8), torch.arange(5)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    start = torch.rand(images.shape) * 2 - 1
    options = AttackOptions(epsilon=0.05, steps=4)
    whole = attacked(network, images, labels, (start, options))
    for number in range(5):
        one = slice(number, number + 1)
        torch.testing.assert_close(attacked(network, images[one], labels[one], (start[one], options)), whole[one])


def test_every_student_is_attacked_on_the_same_images_from_the_same_starts():
    data = toy_dataset(per_class=30)
    network = linear(3, classes=4).float()
    first = measured(evaluation(network, data=data), images=40)
    assert measured(evaluation(network, data=data), images=40) == first
    assert measured(evaluation(network, data=data), images=41) != first


def test_the_student_is_left_in_the_mode_it_was_in_and_without_gradients():
    network = linear(0, classes=4).float().train()
    measured(evaluation(network), images=10, steps=2, restarts=2)
    assert network.training
    assert [parameter.grad for parameter in network.parameters()] == [None, None]
