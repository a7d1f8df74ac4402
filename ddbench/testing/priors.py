"""What every prior must keep to; a subclass names its prior and inherits the tests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import pytest
import torch

from ddbench.api.prior import How, Latents
from ddbench.data import HeldSplit
from ddbench.errors import BadRequest, PriorMismatch
from ddbench.seeding import generator_for
from ddbench.testing.bench import Bench
from ddbench.testing.guards import (
    Interrupted,
    StoppingContext,
    every_option_has_help,
    nothing_global_changes,
    nothing_is_touched,
    slope_error,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.prior import LoadedPrior

HOWS: tuple[How, ...] = get_args(How)


class PriorConformance:
    """Contracts of a prior, each a test. Set `prior`; the rest has defaults.

    Override `options` with values that make it small: it is fitted to 8×8 toy images anew for most tests.
    """

    prior: ClassVar[Any]
    options: ClassVar[Mapping[str, Any]] = {}
    clips: ClassVar[bool] = True
    """False for priors whose latents may hold anything, so that NaN in them is the walk's business."""
    tolerance: ClassVar[float] = 0.03
    """By which part the slope of decoded images along a gradient may miss the gradient's norm, in float32."""

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        """A bench that knows the prior."""
        return self.new_bench(tmp_path / "store")

    def new_bench(self, root: Path) -> Bench:
        """Return a bench with its store under `root`."""
        return Bench(root, priors=[self.prior])

    @cached_property
    def values(self) -> Any:
        """The prior's options."""
        return self.prior.options(**self.options)

    def context(self, bench: Bench, *, stop_after: int | None = None, kept: Mapping[str, Tensor] | None = None) -> StoppingContext:
        """Return what `fit` is given."""
        return bench.fitting("prior", stop_after=stop_after, kept=kept)

    def fitted(self, bench: Bench) -> dict[str, Tensor]:
        """Return the weights of a prior fitted to the toy images."""
        weights: dict[str, Tensor] = dict(self.prior.fit(self.context(bench), self.values)[0])
        return weights

    def loaded(self, bench: Bench) -> LoadedPrior:
        """Return the prior at work."""
        prior: LoadedPrior = self.prior.load(self.fitted(bench), self.values, bench.data.facts)
        return prior

    def begin(self, bench: Bench, prior: LoadedPrior, space: str, how: How, *, seed: int = 0) -> Latents | None:
        """Return two latents of every class, or None where the prior cannot begin like that."""
        classes = bench.data.facts.num_classes
        labels, facts = torch.arange(classes).repeat(2), bench.data.facts
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (facts.mean, facts.std))
        train = HeldSplit(bench.data)
        index = torch.stack([train.indices(int(label))[place // classes] for place, label in enumerate(labels)])
        real = (train.images(index).float() / 255 - mean) / std
        try:
            return prior.init_latents(labels, space, how=how, real=real, generator=generator_for("conformance latents", seed))
        except BadRequest:
            return None

    def starts(self, bench: Bench, prior: LoadedPrior) -> Iterator[tuple[str, How, Latents]]:
        """Give latents of every space, begun in every way that the prior knows."""
        for space in prior.spaces:
            for how in HOWS:
                found = self.begin(bench, prior, space, how)
                if found is not None:
                    yield space, how, found

    def test_it_says_what_it_is(self, bench: Bench) -> None:
        """Give `licence`, `external_data` and `gated`; load with the spaces that `spaces` names."""
        assert isinstance(self.prior.licence, str)
        assert self.prior.licence
        assert isinstance(self.prior.external_data, bool)
        assert isinstance(self.prior.gated, bool)
        assert list(self.loaded(bench).spaces) == list(self.prior.spaces(self.values, bench.data.facts))

    def test_its_spaces_have_different_names_and_each_can_be_begun_in(self, bench: Bench) -> None:
        """Know at least one way (`sample`, `class_mean`, `encode`, `noise`) to begin in every space."""
        spaces = list(self.prior.spaces(self.values, bench.data.facts))
        assert spaces
        assert len(set(spaces)) == len(spaces)
        assert {space for space, _, _ in self.starts(bench, self.loaded(bench))} == set(spaces)

    def test_fitting_gives_the_same_bytes_again_and_finite_weights(self, bench: Bench) -> None:
        """Draw from `ctx.generator` alone; return finite tensors, and a card of JSON values."""
        first, card = self.prior.fit(self.context(bench), self.values)
        second, _ = self.prior.fit(self.context(bench), self.values)
        assert set(first) == set(second)
        assert all(weight.equal(second[name]) for name, weight in first.items())
        assert all(bool(weight.isfinite().all()) for weight in first.values() if weight.is_floating_point())
        json.dumps(dict(card))

    @pytest.mark.parametrize("kept", [1, 2])
    def test_a_fit_killed_after_a_checkpoint_ends_with_the_same_bytes(self, bench: Bench, kept: int) -> None:
        """Keep in `ctx.checkpoint` all that decides what follows, and go on from `ctx.resumed()`."""
        killed = self.context(bench, stop_after=kept)
        try:
            self.prior.fit(killed, self.values)
        except Interrupted:
            again, _ = self.prior.fit(self.context(bench, kept=killed.kept), self.values)
            whole = self.fitted(bench)
            assert all(weight.equal(again[name]) for name, weight in whole.items())
        else:
            pytest.skip("it keeps fewer checkpoints")

    def test_nothing_global_is_changed_and_the_train_split_is_left_as_it_was(self, bench: Bench) -> None:
        """Seed and set nothing global; use `torch.no_grad()` as a context."""
        context = self.context(bench)
        with nothing_is_touched(bench, context):
            weights, _ = self.prior.fit(context, self.values)
            prior = self.prior.load(weights, self.values, bench.data.facts)
            for _, _, z in self.starts(bench, prior):
                prior.regularise(z)
                prior.decode(z)

    def test_weights_of_another_shape_are_refused(self, bench: Bench) -> None:
        """Compare weights with `facts` in `load`, and raise `PriorMismatch` where they do not belong together."""
        weights = self.fitted(bench)
        if not weights:
            pytest.skip("it has no weights")
        channels, height, width = bench.data.facts.shape
        other = replace(bench.data.facts, shape=(channels, 2 * height, 2 * width))
        with pytest.raises(PriorMismatch):
            self.prior.load(weights, self.values, other)

    def test_latents_begin_alike_from_equal_generators_with_a_row_for_each_label(self, bench: Bench) -> None:
        """Draw from the given generator; return a float row for each label, without a gradient, something of it free."""
        prior = self.loaded(bench)
        for space, how, z in self.starts(bench, prior):
            again = self.begin(bench, prior, space, how)
            assert again is not None
            assert z.space == space
            assert z.labels.tolist() == list(range(bench.data.facts.num_classes)) * 2
            assert set(z.frozen) <= set(z.tensors)
            assert z.free
            for name, tensor in z.tensors.items():
                assert tensor.is_floating_point()
                assert len(tensor) == len(z.labels)
                assert tensor.equal(again.tensors[name])
                assert not tensor.requires_grad

    @pytest.mark.parametrize("how", ["sample", "noise"])
    def test_another_generator_draws_other_latents(self, bench: Bench, how: How) -> None:
        """Draw from the given generator for `sample` and `noise`."""
        prior = self.loaded(bench)
        pairs = [(self.begin(bench, prior, space, how), self.begin(bench, prior, space, how, seed=1)) for space in prior.spaces]
        drawn = [(first, second) for first, second in pairs if first is not None and second is not None]
        if not drawn:
            pytest.skip(f"it cannot begin with how={how!r}")
        for first, second in drawn:
            assert any(not tensor.equal(second.tensors[name]) for name, tensor in first.free.items())

    def test_a_space_that_it_has_not_is_refused(self, bench: Bench) -> None:
        """Raise `BadRequest`, naming the spaces that there are."""
        prior, labels = self.loaded(bench), torch.arange(bench.data.facts.num_classes)
        for how in HOWS:
            with pytest.raises(BadRequest):
                prior.init_latents(labels, "no such space", how=how, real=None, generator=generator_for("conformance"))

    def test_decoded_images_are_finite_float32_of_the_right_shape_and_range(self, bench: Bench) -> None:
        """Decode to float32 (N, C, H, W) within `value_range`."""
        prior = self.loaded(bench)
        for _, _, z in self.starts(bench, prior):
            images = prior.decode(z)
            assert images.dtype == torch.float32
            assert tuple(images.shape) == (len(z), *bench.data.facts.shape)
            assert bool(images.isfinite().all())
            if prior.value_range is not None and z.space != "pixel":
                low, high = prior.value_range
                assert low - 1e-4 <= float(images.detach().min()) <= float(images.detach().max()) <= high + 1e-4

    def test_each_row_is_decoded_by_itself_and_always_alike(self, bench: Bench) -> None:
        """Use no batch statistics, and draw nothing, in `decode`."""
        prior = self.loaded(bench)
        for _, _, z in self.starts(bench, prior):
            whole = prior.decode(z)
            assert whole.equal(prior.decode(z))
            parts = torch.cat([prior.decode(rows) for _, rows in z.chunks(3)])
            torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)

    def test_decoding_is_differentiable_and_the_chunked_gradient_is_the_whole_one(self, bench: Bench) -> None:
        """Decode with operations that carry gradients, each row by itself."""
        prior = self.loaded(bench)
        for _, _, z in self.starts(bench, prior):
            pull = torch.randn(len(z), *bench.data.facts.shape, generator=generator_for("conformance pull"))
            whole = _gradient(prior, z, pull)
            assert all(bool(gradient.isfinite().all()) for gradient in whole.values())
            assert any(bool(gradient.any()) for gradient in whole.values())
            parts = [_gradient(prior, rows, pull[part]) for part, rows in z.chunks(3)]
            for name, gradient in whole.items():
                chunked = torch.cat([part[name] for part in parts])
                torch.testing.assert_close(chunked, gradient, rtol=1e-4, atol=1e-5 * max(1.0, float(gradient.abs().max())))

    def test_the_gradient_of_decoded_images_is_their_slope(self, bench: Bench) -> None:
        """Let autograd find it; a gradient of your own must be that of the images."""
        prior = self.loaded(bench)
        for _, _, z in self.starts(bench, prior):
            pull = torch.randn(len(z), *bench.data.facts.shape, generator=generator_for("conformance pull"))
            for name, gradient in _gradient(prior, z, pull).items():
                if bool(gradient.any()):
                    assert slope_error(_value(prior, z, name, pull), z.tensors[name], gradient) < self.tolerance

    def test_no_gradient_of_its_own_weights_is_kept(self, bench: Bench) -> None:
        """Freeze the weights in `load`: `requires_grad_(False)`."""
        weights = self.fitted(bench)
        before = {name: weight.clone() for name, weight in weights.items()}
        prior = self.prior.load(weights, self.values, bench.data.facts)
        for _, _, z in self.starts(bench, prior):
            _gradient(prior, z, torch.ones(len(z), *bench.data.facts.shape))
            assert not prior.decode(z).requires_grad
        assert all(weight.equal(before[name]) for name, weight in weights.items())
        assert not any(weight.requires_grad or weight.grad is not None for weight in weights.values())

    def test_a_finer_space_begins_with_the_same_images_in_fresh_tensors(self, bench: Bench) -> None:
        """Return in `advance` detached clones that decode to the same images."""
        prior = self.loaded(bench)
        for space, _, z in self.starts(bench, prior):
            for finer in _behind(prior, space):
                prior.regularise(z)
                before = prior.decode(z)
                moved = prior.advance(z, finer)
                assert moved.space == finer
                assert moved.labels.equal(z.labels)
                assert not any(tensor.requires_grad for tensor in moved.tensors.values())
                torch.testing.assert_close(prior.decode(moved), before, rtol=1e-3, atol=1e-3)
                for tensor in moved.tensors.values():
                    tensor.add_(1.0)
                assert prior.decode(z).equal(before)

    def test_only_a_finer_space_can_be_advanced_to(self, bench: Bench) -> None:
        """Raise `BadRequest` for the same space, a coarser one, and one that there is not."""
        prior = self.loaded(bench)
        for space, _, z in self.starts(bench, prior):
            for other in {*prior.spaces, "no such space"} - set(_behind(prior, space)):
                with pytest.raises(BadRequest):
                    prior.advance(z, other)

    def test_regularising_works_in_place_and_twice_is_once(self, bench: Bench) -> None:
        """Change tensors in place (`clamp_`), by a rule that a second time changes nothing."""
        prior = self.loaded(bench)
        for _, _, z in self.starts(bench, prior):
            tensors = dict(z.tensors)
            for tensor in z.free.values():
                tensor.mul_(1000.0)
            prior.regularise(z)
            assert all(z.tensors[name] is tensor for name, tensor in tensors.items())
            once = z.snapshot()
            prior.regularise(z)
            assert all(tensor.equal(once.tensors[name]) for name, tensor in z.tensors.items())
            assert all(bool(tensor.isfinite().all()) for tensor in z.tensors.values())

    def test_regularising_puts_nan_and_infinity_right(self, bench: Bench) -> None:
        """Call `nan_to_num_` before clamping; say `clips = False` for latents that may hold anything."""
        if not self.clips:
            pytest.skip("its latents may hold anything")
        prior = self.loaded(bench)
        for _, _, z in self.starts(bench, prior):
            for tensor in z.free.values():
                tensor.view(-1)[0], tensor.view(-1)[-1] = float("nan"), float("inf")
            prior.regularise(z)
            assert all(bool(tensor.isfinite().all()) for tensor in z.free.values())
            assert bool(prior.decode(z).isfinite().all())

    def test_a_snapshot_decodes_as_before_whatever_steps_follow(self, bench: Bench) -> None:
        """Decode from the tensors of the latents given, from nothing kept aside."""
        prior = self.loaded(bench)
        for _, _, z in self.starts(bench, prior):
            kept, before = z.snapshot(), prior.decode(z).clone()
            for tensor in z.free.values():
                tensor.add_(1.0)
            assert prior.decode(kept).equal(before)

    def test_beginning_draws_from_the_given_generator_alone(self, bench: Bench) -> None:
        """Draw from the given generator alone."""
        prior = self.loaded(bench)
        with nothing_global_changes():
            assert list(self.starts(bench, prior))

    def test_every_option_has_help_and_bounds_and_unknown_ones_are_refused(self) -> None:
        """Subclass `ddbench.Options`; describe every field and bound every number: `Field(default=…, ge=0, description=…)`."""
        every_option_has_help(self.prior.options)


def _behind(prior: LoadedPrior, space: str) -> list[str]:
    """Return the spaces that are finer than one."""
    spaces = list(prior.spaces)
    return spaces[spaces.index(space) + 1 :]


def _gradient(prior: LoadedPrior, z: Latents, pull: Tensor) -> dict[str, Tensor]:
    """Return the gradient of the images' product with `pull`, for every free tensor; zeros where a space does not use it."""
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in z.free.items()}
    images = prior.decode(replace(z, tensors={**z.tensors, **leaves}))
    found = torch.autograd.grad((images * pull).sum(), list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def _value(prior: LoadedPrior, z: Latents, name: str, pull: Tensor) -> Any:
    """Return the function whose gradient `_gradient` gives, of one tensor."""

    def value(tensor: Tensor) -> float:
        return float((prior.decode(replace(z, tensors={**z.tensors, name: tensor})).double() * pull.double()).sum())

    return value
