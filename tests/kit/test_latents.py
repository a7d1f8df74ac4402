from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddbench import Latents
from ddbench.errors import BadRequest
from ddbench.kit import IdentityPrior, Pixels, known_spaces, pull_back, rendered, rendered_unit
from toy_walks import ToyPrior, same

SHAPE = (3, 8, 8)
PIXELS = Pixels(torch.tensor([0.45, 0.5, 0.55]).double().view(-1, 1, 1), torch.tensor([0.2, 0.25, 0.3]).double().view(-1, 1, 1))


def begun(prior, space="f1", count=7):
    return prior.init_latents(torch.arange(count) % 3, space, how="sample", real=None, generator=torch.Generator().manual_seed(3))


def whole_gradient(prior, z, image_grad):
    """Return the gradient by one graph over everything."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in z.free.items()}
    decoded = prior.decode(replace(z, tensors={**z.tensors, **leaves}))
    images = ((decoded + 1) / 2 - PIXELS.mean) / PIXELS.std
    (images * image_grad).sum().backward()
    return {name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves.items()}


@pytest.mark.parametrize("space", ["w+", "f1", "f2", "pixel"])
@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_the_chunked_gradient_is_the_gradient_of_the_whole(space, chunk):
    prior = ToyPrior(dtype=torch.float64)
    z = begun(prior, space)
    image_grad = torch.randn(7, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = whole_gradient(prior, z, image_grad)
    found = pull_back(prior, z, image_grad, PIXELS, chunk=chunk)
    assert found.keys() == expected.keys()
    for name, grad in found.items():
        assert torch.allclose(grad, expected[name], rtol=0, atol=1e-10)


def test_the_pulled_back_gradient_agrees_with_finite_differences_of_a_loss_on_normalised_images():
    prior = ToyPrior(dtype=torch.float64)
    z = begun(prior, "f1", count=2)
    images = rendered(prior, z, PIXELS, chunk=2)
    grads = pull_back(prior, z, 2 * images, PIXELS, chunk=1)  # of the loss Σ x²
    for name, place in [("f", (0, 3)), ("w", (1, 2, 1))]:
        losses = []
        for shift in (1e-5, -1e-5):
            moved = z.snapshot()
            moved.tensors[name][place] += shift
            losses.append((rendered(prior, moved, PIXELS, chunk=2) ** 2).sum())
        assert torch.isclose((losses[0] - losses[1]) / 2e-5, grads[name][place], rtol=1e-6)


def test_styles_that_a_space_no_longer_uses_get_no_gradient():
    z = begun(ToyPrior(dtype=torch.float64), "f2")
    grads = pull_back(ToyPrior(dtype=torch.float64), z, torch.ones(7, *SHAPE, dtype=torch.float64), PIXELS, chunk=4)
    assert not grads["w"][:, :2].any()
    assert grads["w"][:, 2].all()


def test_frozen_tensors_get_no_gradient_and_no_entry():
    prior = ToyPrior(dtype=torch.float64)
    z = replace(begun(prior, "f1"), frozen=frozenset({"w"}))
    image_grad = torch.ones(7, *SHAPE, dtype=torch.float64)
    assert pull_back(prior, z, image_grad, PIXELS, chunk=3).keys() == {"f"}


def test_no_graph_holds_more_rows_than_a_chunk():
    prior = ToyPrior(dtype=torch.float64)
    z = begun(prior)
    images = rendered(prior, z, PIXELS, chunk=3)
    assert prior.largest_graph == 0
    assert not images.requires_grad
    pull_back(prior, z, images, PIXELS, chunk=3)
    assert prior.largest_graph == 3
    assert not any(tensor.requires_grad for tensor in z.tensors.values())


def test_a_graph_is_recorded_for_the_pull_back_even_where_gradients_are_off():
    prior = ToyPrior(dtype=torch.float64)
    z = begun(prior)
    with torch.no_grad():
        grads = pull_back(prior, z, torch.ones(7, *SHAPE, dtype=torch.float64), PIXELS, chunk=3)
    assert grads["f"].abs().sum() > 0


@given(chunk=st.integers(1, 9), count=st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_the_chunk_moves_no_image(chunk, count):
    prior = ToyPrior(dtype=torch.float64)
    z = begun(prior, "w+", count)
    assert torch.allclose(rendered(prior, z, PIXELS, chunk=chunk), rendered(prior, z, PIXELS, chunk=100), rtol=0, atol=1e-12)


def test_rendered_images_are_the_decoded_range_normalised_and_unclamped():
    prior = ToyPrior(dtype=torch.float64)
    z = Latents("pixel", {"x": torch.tensor([-3.0, -1.0, 1.0]).double().view(-1, 1, 1, 1).expand(-1, *SHAPE)}, torch.arange(3))
    images = rendered(prior, z, PIXELS, chunk=2)
    black, white = PIXELS.bounds()
    assert torch.allclose(images[1], black.expand(SHAPE))
    assert torch.allclose(images[2], white.expand(SHAPE))
    assert (images[0] < black).all()


def test_unit_images_are_clamped_to_black_and_white():
    z = Latents("pixel", {"x": torch.tensor([-3.0, 0.0, 5.0]).view(-1, 1, 1, 1).expand(-1, *SHAPE)}, torch.arange(3))
    assert rendered_unit(ToyPrior(), z, chunk=2)[:, 0, 0, 0].tolist() == [0.0, 0.5, 1.0]


def test_a_prior_without_a_range_has_no_unit_images():
    z = Latents("pixel", {"x": torch.zeros(1, *SHAPE)}, torch.zeros(1, dtype=torch.int64))
    with pytest.raises(BadRequest, match="no range"):
        rendered_unit(IdentityPrior(SHAPE), z, chunk=1)


def test_a_snapshot_is_immune_to_later_steps():
    z = begun(ToyPrior())
    kept, before = z.snapshot(), {name: tensor.clone() for name, tensor in z.tensors.items()}
    for tensor in z.tensors.values():
        tensor.add_(1.0)
    assert all(kept.tensors[name].equal(before[name]) for name in before)
    assert not same(kept, z)


@pytest.mark.parametrize(
    ("at", "to"), [("w+", "f1"), ("w+", "f2"), ("w+", "pixel"), ("f1", "f2"), ("f1", "pixel"), ("f2", "pixel")]
)
def test_the_toy_prior_keeps_images_when_it_advances(at, to):
    prior = ToyPrior(dtype=torch.float64)
    z = begun(prior, at)
    assert torch.allclose(prior.decode(prior.advance(z, to)), prior.decode(z), atol=1e-12)


class TestIdentity:
    prior = IdentityPrior(SHAPE)
    labels = torch.tensor([0, 1, 0])

    def start(self, how, real=None, seed=0):
        return self.prior.init_latents(self.labels, "pixel", how=how, real=real, generator=torch.Generator().manual_seed(seed))

    def test_real_images_are_their_own_latents_and_are_copied(self):
        real = torch.randn(3, *SHAPE)
        z = self.start("encode", real)
        assert self.prior.decode(z).equal(real)
        z.tensors["x"].zero_()
        assert real.any()

    def test_noise_depends_on_the_generator_alone(self):
        first, again, other = self.start("noise"), self.start("noise"), self.start("noise", seed=1)
        assert same(first, again)
        assert not same(first, other)

    def test_the_image_gradient_is_handed_through_without_a_second_pass(self, monkeypatch):
        z, image_grad = self.start("noise"), torch.randn(3, *SHAPE)
        monkeypatch.setattr(IdentityPrior, "decode", lambda *_: pytest.fail("decoded"))
        assert pull_back(self.prior, z, image_grad, PIXELS, chunk=1)["x"].equal(image_grad)

    def test_what_only_a_generator_can_give_is_refused(self):
        with pytest.raises(BadRequest, match="encode"):
            self.start("sample")
        with pytest.raises(BadRequest, match="encode"):
            self.start("encode")
        with pytest.raises(BadRequest, match="'w\\+'"):
            self.prior.init_latents(self.labels, "w+", how="noise", real=None, generator=torch.Generator())
        with pytest.raises(BadRequest, match="finer"):
            self.prior.advance(self.start("noise"), "f1")


@pytest.mark.parametrize("wanted", [[], ["f1"], ["w+", "f2", "pixel"]])
def test_spaces_from_coarse_to_fine_are_allowed(wanted):
    known_spaces(ToyPrior(), wanted)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [(["f9"], "no space 'f9'.*w\\+, f1, f2, pixel"), (["f2", "f1"], "coarse to fine"), (["f1", "f1"], "once each")],
)
def test_unknown_spaces_and_walks_backwards_are_refused(wanted, told):
    with pytest.raises(BadRequest, match=told):
        known_spaces(ToyPrior(), wanted)
