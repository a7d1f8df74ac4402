"""Learning the prior: losses against formulas, draws, presets, and a training that diverges."""

from __future__ import annotations

import json

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ddbench import Precision
from ddbench.data import SubsetSplit
from ddbench.data.splits import HeldSplit, train_labels
from ddbench.errors import SpecialValue
from ddbench.seeding import generator_for, seeded_globally
from ddbench_plugins.priors import Trained, ddbench_priors
from ddbench_plugins.priors.autoencoder import Autoencoder, BalancedDraw, Draw, draw, forward_flops, total
from ddbench_plugins.priors.hierarchy import shape_for


def equal(first, second) -> bool:
    return all(weight.equal(second[name]) for name, weight in first.items())


def test_losses_are_the_squared_error_of_an_image_and_the_divergence_from_a_standard_normal(data, options):
    with seeded_globally(1):
        network = Autoencoder(shape_for(data.facts, options()), guided=False)
    images = torch.rand(5, 3, 8, 8, generator=generator_for("images")) * 2 - 1
    labels, noise = torch.tensor([0, 1, 2, 3, 3]), torch.randn(5, 64, generator=generator_for("noise"))
    error, divergence, *guided = network(images, labels, Draw(noise, noise))
    mean, log_variance = network.encoder(images, labels)
    code = Normal(mean, (log_variance / 2).exp())
    decoded = network.trunk(code.loc + code.scale * noise, labels)
    assert guided == [0, 0]
    expected = sum(((decoded[i] - images[i]) ** 2).sum().item() for i in range(5)) / 5
    assert error.item() == pytest.approx(expected, rel=1e-5)
    assert divergence.item() == pytest.approx(kl_divergence(code, Normal(0.0, 1.0)).sum(dim=1).mean().item(), rel=1e-4)


def guided_network(data, options):
    with seeded_globally(2):
        network = Autoencoder(shape_for(data.facts, options()), guided=True)
    images = torch.rand(6, 3, 8, 8, generator=generator_for("images")) * 2 - 1
    labels = torch.tensor([0, 1, 2, 3, 3, 1])
    drawn = Draw(*draw(images.shape, generator_for("guided"), torch.device("cpu"), guided=True))
    return network, images, labels, drawn


def test_the_guide_judges_samples_and_learns_from_real_images_under_noise(data, options):
    network, images, labels, drawn = guided_network(data, options)
    losses = network(images, labels, drawn)
    mean, log_variance = network.encoder(images, labels)
    decoded = network.trunk(mean + (log_variance / 2).exp() * drawn.noise, labels)
    made = torch.stack([*network.trunk(drawn.code, labels)[:3], *decoded[3:]])
    for loss, looked_at in ((losses[3], images), (losses[2], made)):
        chances = network.guide(plainly_seen(looked_at, drawn)).softmax(dim=1)
        expected = -sum(chances[i, label].log() for i, label in enumerate(labels.tolist())) / len(labels)
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def plainly_seen(images, drawn):
    """Return images as the guide sees them, one by one: shift by a pixel at most, a square of 4 of 8 pixels, light, noise."""
    shown = []
    for image, noise, view in zip(images, drawn.pixel_noise, drawn.view.tolist(), strict=True):
        down, right = (int(3 * draw) - 1 for draw in view[:2])
        padded = torch.zeros(3, 10, 10)
        padded[:, 1:9, 1:9] = image
        moved = padded[:, 1 + down : 9 + down, 1 + right : 9 + right].clone()
        if view[6] < 0.5:
            rows, columns = ([pixel for pixel in range(8) if low <= pixel <= high] for low, high in map(hole, view[3:5]))
            for row in rows:
                moved[:, row, columns] = 0.0
        shown.append(moved * (0.8 + 0.4 * view[7]) + 0.4 * view[8] - 0.2 + 0.3 * noise)
    return torch.stack(shown)


def hole(drawn):
    """Return the first and the last pixel of a square of 4 pixels around a centre that may lie one past the end of 8."""
    centre = int(9 * drawn)
    return max(0, min(7, centre - 2)), max(0, min(7, centre + 1))


def test_samples_teach_the_generator_and_real_images_the_guide_never_the_other_way_round(data, options):
    network, images, labels, drawn = guided_network(data, options)
    losses = network(images, labels, drawn)
    guide, trunk = list(network.guide.parameters()), list(network.trunk.parameters())
    of_samples = torch.autograd.grad(losses[2], guide + trunk, retain_graph=True, allow_unused=True, materialize_grads=True)
    of_real = torch.autograd.grad(losses[3], guide + trunk, allow_unused=True, materialize_grads=True)
    moves = [[bool(gradient.any()) for gradient in found] for found in (of_samples, of_real)]
    assert not any(moves[0][: len(guide)])
    assert all(moves[0][len(guide) :])
    assert all(moves[1][: len(guide)])
    assert not any(moves[1][len(guide) :])


@pytest.mark.parametrize(("of_made", "expected"), [(3.0, 10 + 2.0 + 5 * 2.1 + 1.5), (0.8, 10 + 2.0 + 1.5)])
def test_generated_images_are_to_be_recognised_more_clearly_than_real_ones_by_a_part_and_no_further(options, of_made, expected):
    losses = torch.tensor([10.0, 4.0, of_made, 1.5], requires_grad=True)
    loss = total(losses, options(kl=0.5, guide=5.0))
    assert loss.item() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(loss, [losses])
    assert gradient.tolist() == [1.0, 0.5, 5.0 if of_made > 0.9 else 0.0, 1.0]


def test_a_guided_prior_keeps_only_generator_and_encoder_and_resumes_with_the_same_bytes(fitting, options):
    wanted, states, context = options(steps=51, guide=5.0, guide_steps=30), [], fitting()
    context.checkpoint = lambda state: states.append({name: tensor.clone() for name, tensor in state.items()})
    whole, told = Trained().fit(context, wanted)
    assert {name.partition(".")[0] for name in whole} == {"trunk", "encoder", "classes_sha256"}
    assert told["loss_curve"][-1][4] < told["loss_curve"][0][4]
    assert (told["steps"], told["steps_ahead"], len(states)) == (51, 30, 3)
    for state in states:  # killed while the guide learned ahead, and later
        resumed, again = Trained().fit(fitting(kept=state), wanted)
        assert equal(whole, resumed)
        assert told == again


def test_the_guide_learns_ahead_while_the_generator_stands_still(fitting, options):
    states, context = [], fitting()
    context.checkpoint = lambda state: states.append({name: tensor.clone() for name, tensor in state.items()})
    _, told = Trained().fit(context, options(steps=26, guide=5.0, guide_steps=50))
    first, second, later = states
    moved = {name for name, weight in first.items() if name.startswith("network/") and not weight.equal(second[name])}
    assert moved == {name for name in first if name.startswith("network/guide.")}
    assert not second["network/trunk.start"].equal(later["network/trunk.start"])
    assert [point[1] for point in told["loss_curve"][:50]] == [0.0] * 50
    assert min(point[1] for point in told["loss_curve"][50:]) > 0


def test_classes_are_drawn_equally_often_whatever_their_size_and_images_within_them_too(data):
    train = HeldSplit(data)
    labels = train_labels(train)
    chosen = torch.cat([torch.arange(len(labels))[labels != 2], train.indices(2)[:3]])
    balanced = BalancedDraw(SubsetSplit(train, chosen, facts=data.facts))
    index, drawn = balanced(8000, generator_for("balanced"))
    assert labels[chosen][index].equal(drawn)
    counts = torch.bincount(index, minlength=len(chosen)).double()
    torch.testing.assert_close(counts[:-3], torch.full((90,), 8000 / 4 / 30, dtype=torch.float64), rtol=0.5, atol=0)
    torch.testing.assert_close(counts[-3:], torch.full((3,), 8000 / 4 / 3, dtype=torch.float64), rtol=0.2, atol=0)


def test_the_card_is_json_and_its_errors_fall(fitting, options):
    _, told = Trained().fit(fitting(), options(steps=120))
    told = json.loads(json.dumps(told))
    assert [point[0] for point in told["loss_curve"]] == list(range(0, 120, 2))
    assert told["loss_curve"][-1][1] < 0.5 * told["loss_curve"][0][1]
    assert (told["steps"], told["images_seen"]) == (120, 960)


def test_another_seed_gives_other_weights(fitting, options):
    first, _ = Trained().fit(fitting(), options(steps=2))
    second, _ = Trained().fit(fitting(generator=generator_for("prior", 1)), options(steps=2))
    assert not equal(first, second)


def test_in_bf16_weights_stay_float32_and_nearly_follow_those_of_float32(fitting, options):
    exact, _ = Trained().fit(fitting(), options())
    rounded, _ = Trained().fit(fitting(precision=Precision(dtype="bf16", channels_last=True)), options())
    assert not equal(exact, rounded)
    for name, weight in exact.items():
        assert rounded[name].dtype == weight.dtype
        assert rounded[name].is_contiguous()
        if weight.is_floating_point():
            torch.testing.assert_close(rounded[name], weight, rtol=0, atol=0.03)


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_step(fitting, options):
    context = fitting()
    states = []
    context.checkpoint = lambda state: states.append({name: tensor.clone() for name, tensor in state.items()})
    Trained().fit(context, options(steps=30))
    state = states[0]
    state["network/trunk.start"].fill_(float("nan"))
    with pytest.raises(SpecialValue, match=r"not finite at step 25 .* prior.lr=0.0005"):
        Trained().fit(fitting(kept=state), options(steps=30))


def test_the_work_told_is_three_passes_of_every_image_shown(data, options):
    flops, steps = Trained().work(options(steps=7, batch=5), data.facts)
    assert steps == 7
    assert flops == 3 * forward_flops(data.facts, options()) * 35
    doubled = forward_flops(data.facts, options(channels=16, max_channels=32))
    assert 2 < doubled / forward_flops(data.facts, options()) < 4
    assert forward_flops(data.facts, options(guide=1.0)) > forward_flops(data.facts, options())
    ahead, more = (Trained().work(options(guide=1.0, steps=2, guide_steps=steps), data.facts) for steps in (10, 20))
    assert (ahead[1], more[1]) == (12, 22)
    assert ahead[0] < more[0] < 2 * ahead[0]


def test_the_plugin_registers_three_priors_of_which_the_trained_one_is_gated():
    priors = {prior.name: prior for prior in ddbench_priors()}
    assert set(priors) == {"pixel", "random", "trained"}
    assert [name for name, prior in priors.items() if prior.gated] == ["trained"]
    assert not any(prior.external_data for prior in priors.values())
