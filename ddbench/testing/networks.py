"""What every family of networks must keep to; a subclass names its family and inherits the tests."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch

from ddbench.errors import UnfitNetwork, UnknownName
from ddbench.networks import build
from ddbench.seeding import generator_for
from ddbench.testing.guards import nothing_global_changes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ddbench.api.network import NetworkSpec

SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64))
"""Images that a family may meet: channels, height, width."""

MANY = 8
"""Names that are tried where a family lists more."""


class NetworkConformance:
    """Contracts of a family of networks, each a test. Set `family`; the rest has defaults."""

    family: ClassVar[Any]
    architectures: ClassVar[Sequence[str]] = ()
    """Which of its names are tried; the first eight unless given."""
    shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    num_classes: ClassVar[int] = 10

    @property
    def tried(self) -> list[str]:
        """The names that are looked at."""
        return list(self.architectures) or list(self.family.names())[:MANY]

    def spec(self, name: str) -> NetworkSpec:
        """Return how a network is fitted to images of `shape`; skips where it cannot be."""
        try:
            spec: NetworkSpec = self.family.fit(name, shape=self.shape, num_classes=self.num_classes)
        except UnfitNetwork as unfit:
            pytest.skip(f"{name} cannot be fitted to images of {self.shape}: {unfit}")
        return spec

    def built(self, name: str, *, seed: int = 0) -> nn.Module:
        """Return a fresh network, as the harness builds it."""
        return build(self.spec(name), {self.family.name: self.family}, seed=seed)

    def networks(self) -> Iterator[tuple[str, nn.Module]]:
        """Give each name with a fresh network."""
        for name in self.tried:
            yield name, self.built(name)

    def images(self, count: int = 5) -> Tensor:
        """Return normalised noise, float32 (N, C, H, W)."""
        return torch.randn(count, *self.shape, generator=generator_for("conformance images"))

    def test_its_names_are_plain_and_each_is_listed_once(self) -> None:
        """List bare names, without the family's prefix."""
        names = list(self.family.names())
        assert names, "it lists no network"
        assert len(set(names)) == len(names), "it lists a name twice"
        assert [name for name in names if "/" in name] == [], "a name holds a '/', which stands behind the family's name"
        assert "/" not in self.family.name, f"the family's name {self.family.name!r} holds a '/'"

    def test_a_fitted_network_says_what_it_is_in_json(self) -> None:
        """Return `NetworkSpec(f"{self.name}/{name}", self.version, shape, num_classes, fitting)`, `fitting` of JSON values."""
        for name in self.tried:
            spec = self.spec(name)
            assert spec.name.startswith(f"{self.family.name}/"), f"{name} is called {spec.name!r}; the family's name stands first"
            assert (spec.version, spec.shape, spec.num_classes) == (self.family.version, self.shape, self.num_classes), (
                f"{spec.name} was fitted as version {spec.version} to {spec.shape} and {spec.num_classes} classes"
            )
            json.dumps(dict(spec.fitting), allow_nan=False)

    def test_it_answers_every_image_with_a_finite_logit_for_every_class(self) -> None:
        """Return a module from float32 (N, C, H, W) to float32 (N, classes), without a softmax."""
        for name, network in self.networks():
            answers = network(self.images())
            expected = (5, self.num_classes)
            assert tuple(answers.shape) == expected, f"{name} answers {tuple(answers.shape)}, not {expected}"
            assert answers.dtype == torch.float32, f"{name} answers in {answers.dtype}"
            assert bool(answers.isfinite().all()), f"{name} answers with NaN or infinity"
            sums = answers.exp().sum(1)
            ones = torch.ones_like(sums)
            assert not torch.allclose(answers.sum(1), ones, atol=1e-4), f"{name} answers with probabilities; logits are meant"
            assert not torch.allclose(sums, ones, atol=1e-4), f"{name} answers with log probabilities; logits are meant"

    def test_equal_seeds_give_equal_weights_and_others_other_ones(self) -> None:
        """Draw weights from torch's global generator, which the harness seeds around `build`; from nothing else."""
        for name, network in self.networks():
            first, again, other = network.state_dict(), self.built(name).state_dict(), self.built(name, seed=1).state_dict()
            assert all(weight.equal(again[key]) for key, weight in first.items()), f"{name}: one seed gave two networks"
            assert any(not weight.equal(other[key]) for key, weight in first.items()), f"{name}: two seeds gave one network"

    def test_every_weight_is_trained(self) -> None:
        """Let every parameter take part in the answer, and leave `requires_grad` on."""
        for name, network in self.networks():
            network(self.images()).square().sum().backward()
            idle = [key for key, weight in network.named_parameters() if weight.grad is None]
            assert idle == [], f"{name}: no gradient reaches {', '.join(idle[:3])}"

    def test_in_eval_mode_each_image_is_answered_by_itself_and_always_alike(self) -> None:
        """Use no batch statistics in eval mode, and draw nothing there."""
        for name, network in self.networks():
            images = self.images()
            network.eval()
            with torch.no_grad():
                whole, again = network(images), network(images)
                rows = torch.cat([network(image[None]) for image in images])
            assert whole.equal(again), f"{name}: asked twice in eval mode, it answers otherwise"
            assert torch.allclose(rows, whole, rtol=1e-3, atol=1e-4), f"{name}: an answer depends on the other images of the batch"

    def test_weights_can_be_stored_and_loaded(self) -> None:
        """Keep all that decides an answer in parameters and buffers."""
        for name, network in self.networks():
            fresh = self.built(name, seed=1)
            fresh.load_state_dict(network.state_dict())
            with torch.no_grad():
                answers = [one.eval()(self.images()) for one in (network, fresh)]
            assert answers[0].equal(answers[1]), f"{name}: stored and loaded, it answers otherwise"

    def test_it_fits_images_of_other_sizes_or_says_why_not(self) -> None:
        """Fit stem, pooling and head to `shape`, or raise `UnfitNetwork` with the reason."""
        for name in self.tried:
            for shape in SHAPES:
                with contextlib.suppress(UnfitNetwork):
                    spec = self.family.fit(name, shape=shape, num_classes=3)
                    network = build(spec, {self.family.name: self.family}, seed=0).eval()
                    with torch.no_grad():
                        answers = network(torch.zeros(2, *shape))
                    assert tuple(answers.shape) == (2, 3), (
                        f"{name} answers {tuple(answers.shape)} to images of {shape} in 3 classes"
                    )

    def test_a_name_that_it_has_not_is_refused(self) -> None:
        """Raise `UnknownName` for names that are not listed, so that other families are asked."""
        with pytest.raises(UnknownName):
            self.family.fit("surely-no-network", shape=self.shape, num_classes=self.num_classes)

    def test_nothing_global_is_changed(self) -> None:
        """Set no flags, and draw from torch's global generator alone, inside `build` alone."""
        with nothing_global_changes():
            for _, network in self.networks():
                network(self.images())
