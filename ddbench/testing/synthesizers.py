"""What every synthesizer must keep to; a subclass names its synthesizer and inherits the tests."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from ddbench import distilling, needs
from ddbench.api.context import Part
from ddbench.distilled import to_pixels
from ddbench.kit.draw import draw_real
from ddbench.making import running
from ddbench.testing.bench import Bench
from ddbench.testing.guards import (
    Interrupted,
    every_option_has_help,
    left_as_they_are,
    limited,
    no_test_split,
    nothing_global_changes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ddbench.distilled import DistilledSet

SURELY, HARDLY = 0.9, 0.5
"""Of the images: what agrees with another order of classes, and with the labels', before the labels are taken for mixed up."""


class SynthesizerConformance:
    """Contracts of a synthesizer, each a test. Set `synthesizer`; the rest has defaults.

    Override `options` with values that make the method cheap on 8×8 images.
    """

    synthesizer: ClassVar[Any]
    options: ClassVar[Mapping[str, Any]] = {}
    seeded: ClassVar[bool] = True
    """False for methods that give the same set for every distill seed."""
    balanced: ClassVar[bool] = True
    """False for methods that ignore ipc, such as the whole train split."""
    parts: ClassVar[Mapping[Any, Sequence[Any]]] = {}
    """What it uses, under `objective` and `selector`."""
    priors: ClassVar[Sequence[Any]] = ()
    """Priors that it needs."""
    limit_s: ClassVar[float] = 60.0
    """Seconds that one image of each of four classes may take."""
    nested: ClassVar[bool] = False
    """True where a set with fewer images per class is a prefix of one with more."""

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        """A bench with a store of its own."""
        return self.new_bench(tmp_path / "store")

    def new_bench(self, root: Path) -> Bench:
        """Return a bench that knows the parts and priors, with its store under `root`."""
        return Bench(root, parts=self.parts, priors=self.priors)

    def distil(self, bench: Bench, *, ipc: int = 2, seed: int = 0, **more: Any) -> DistilledSet:
        """Return a set distilled with the class's options and more."""
        return bench.distil(self.synthesizer, ipc=ipc, seed=seed, options={**self.options, **more})

    def test_equal_seeds_give_equal_bytes(self, bench: Bench, tmp_path: Path) -> None:
        """Draw from `generator_for(purpose, job.seed, job.index)` or `ctx.generator`, from nothing global, and not by the clock."""
        first, second = self.distil(bench), self.distil(self.new_bench(tmp_path / "other"))
        assert first.sha256 == second.sha256, "one distill seed gave two different sets"

    def test_another_seed_gives_another_set_where_the_method_draws_anything(self, bench: Bench) -> None:
        """Let what is drawn depend on `job.seed`; say `seeded = False` for a method that draws nothing."""
        same = self.distil(bench, seed=0).images.equal(self.distil(bench, seed=1).images)
        assert same is not self.seeded, "two distill seeds gave one set" if same else "it draws, and is declared `seeded = False`"

    def test_every_class_has_ipc_images_of_the_datasets_shape(self, bench: Bench) -> None:
        """Plan `ipc` images of every class: `jobs_per_image_index(facts, ipc, seed)`; say `balanced = False` if ipc is ignored."""
        distilled = self.distil(bench, ipc=3)
        shape, expected = tuple(distilled.images.shape[1:]), bench.data.facts.shape
        assert shape == expected, f"images are {shape}, not {expected}"
        if self.balanced:
            found = Counter(distilled.labels.tolist())
            assert found == dict.fromkeys(range(bench.data.facts.num_classes), 3), (
                f"asked for 3 images of each class: {dict(found)}"
            )

    def test_images_are_of_the_classes_that_their_labels_name(self, bench: Bench) -> None:
        """Keep images in the order of `job.labels`."""
        distilled = self.distil(bench, ipc=3)
        agreement = _agreement(bench, distilled)
        rows, columns = linear_sum_assignment(-agreement)
        own, best = float(agreement.trace()), float(agreement[rows, columns].sum())
        wrong = best >= SURELY and own <= HARDLY
        assert not wrong, f"{best:.0%} of the images are nearest to real ones in another order of classes, {own:.0%} in this one"

    def test_pixels_are_finite_and_in_the_range_of_their_space(self, bench: Bench) -> None:
        """Clamp where the space has a range; name in `space` the one that the images are in; lower a rate that ends in NaN."""
        distilled = self.distil(bench)
        expected = torch.uint8 if distilled.space == "uint8" else torch.float32
        assert distilled.images.dtype == expected, f"images of the space {distilled.space!r} are {distilled.images.dtype}"
        assert bool(distilled.images.float().isfinite().all()), "images hold NaN or infinity"
        if distilled.space == "unit":
            low, high = float(distilled.images.min()), float(distilled.images.max())
            assert 0 <= low <= high <= 1, f"images of the space 'unit' reach from {low:g} to {high:g}"

    def test_a_smaller_set_is_a_prefix_of_a_larger_one_where_promised(self, bench: Bench) -> None:
        """Let an image depend on its job's index alone, or leave `nested` at False."""
        if not self.nested:
            pytest.skip("the method does not promise it")
        small, large = self.distil(bench, ipc=1), self.distil(bench, ipc=3)
        assert small.images.equal(large.images[: len(small.images)]), "a set of ipc 1 is no prefix of that of ipc 3"

    def test_the_plan_depends_on_its_arguments_alone(self, bench: Bench) -> None:
        """Plan jobs from options, facts, ipc and seed, never from what was planned or done before; number them differently."""
        stage = bench.stage(self.synthesizer, ipc=2, options=self.options)
        values, facts = stage.method.options.values, bench.data.facts
        first, second = (self.synthesizer.jobs(values, facts, 2, 0) for _ in range(2))
        assert list(first) == list(second), "planned twice, the jobs differ"
        assert len({job.index for job in first}) == len(first), "two jobs have one index"

    def test_the_teacher_is_left_as_it_was(self, bench: Bench) -> None:
        """Move a copy, take gradients of your images with `torch.autograd.grad`, and remove the hooks you set."""
        session = bench.session()
        networks = [network.module for network, _ in session.teachers.values()]
        with left_as_they_are(networks):
            bench.distil(self.synthesizer, ipc=2, options=self.options, session=session)

    def test_nothing_global_is_changed(self, bench: Bench) -> None:
        """Seed and set nothing global: explicit generators, `torch.no_grad()` as a context; flags and threads are the harness's."""
        stage, session = bench.prepared(self.synthesizer, ipc=2, options=self.options)
        with running(session, stage.key, "conformance", stage.precision) as context:
            context.needs = {name: needs.made(session, need) for name, (_, need) in stage.needs.items()}
            context.parts = {kind: Part(part.entry.value, part.options.values) for kind, part in stage.method.parts.items()}
            with nothing_global_changes():
                self.synthesizer.run(context, stage.method.options.values, stage.groups[0])

    def test_the_test_split_is_never_read(self, bench: Bench) -> None:
        """Choose what has to be chosen on `ddbench.data.validation_cut(ctx.train, …)`, and open no dataset."""
        stage, session = bench.prepared(self.synthesizer, ipc=2, options=self.options)
        with no_test_split():
            distilling.distilled(session, stage)
        assert session.test.locked, "it unlocked the test split"

    @pytest.mark.parametrize("written", [0, 1])
    def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(self, bench: Bench, tmp_path: Path, written: int) -> None:
        """Let each job's images depend on the job alone: not on jobs before it, nor on how often `run` was called."""
        whole = self.distil(self.new_bench(tmp_path / "undisturbed"), ipc=3)
        if whole.manifest["jobs"] <= written:
            pytest.skip("the plan has too few jobs to be interrupted after one")
        session = bench.session()
        session.store.write_file = _stops_after(written, session.store.write_file)  # type: ignore[method-assign,assignment]
        with pytest.raises(Interrupted):
            bench.distil(self.synthesizer, ipc=3, options=self.options, session=session)
        assert self.distil(bench, ipc=3).sha256 == whole.sha256, f"killed after {written} jobs and resumed, the set is another"

    @pytest.mark.parametrize("kept", [1, 2])
    def test_a_run_killed_after_a_checkpoint_ends_with_the_same_bytes(
        self, bench: Bench, tmp_path: Path, kept: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Keep in `ctx.checkpoint` all that decides what follows: images, step, state of optimiser and generators."""
        whole = self.distil(self.new_bench(tmp_path / "undisturbed"))
        monkeypatch.setattr("ddbench.context.CHECKPOINT_INTERVAL_S", 0.0)
        session = bench.session()
        session.store.write_file = _stops_behind(kept, session.store.write_file)  # type: ignore[method-assign,assignment]
        try:
            bench.distil(self.synthesizer, ipc=2, options=self.options, session=session)
        except Interrupted:
            again = self.distil(bench)
            assert again.sha256 == whole.sha256, f"killed behind checkpoint {kept} and resumed, the set is another"
        else:
            pytest.skip("the method keeps fewer checkpoints")

    def test_every_option_has_help_and_bounds_and_unknown_ones_are_refused(self) -> None:
        """Subclass `ddbench.Options`; describe every field and bound every number: `Field(default=…, ge=0, description=…)`."""
        every_option_has_help(self.synthesizer.options)

    def test_without_iterations_real_starts_are_random_itself(self, bench: Bench) -> None:
        """Start from `draw_real(ctx.train, job)`, and give those images untouched when `iterations` is 0: they are the control."""
        options = self.synthesizer.options(**{name: value for name, value in self.options.items() if "." not in name})
        if self.synthesizer.start(options) != "real" or "iterations" not in type(options).model_fields:
            pytest.skip("the method does not optimise real images")
        stage = bench.stage(self.synthesizer, ipc=2, options={**self.options, "iterations": 0})
        train = bench.session().train
        drawn = torch.cat([train.images(draw_real(train, job)) for job in stage.jobs])
        assert self.distil(bench, iterations=0).images.equal(drawn), "with iterations = 0 the images are not those `random` draws"

    def test_it_is_quick_on_toy_images(self, bench: Bench) -> None:
        """Let the cost follow the number of images and steps; give cheap options where the defaults are for real data."""
        stage, session = bench.prepared(self.synthesizer, ipc=1, options=self.options)
        started = time.monotonic()
        distilling.distilled(session, stage)
        limited(time.monotonic() - started, self.limit_s)


def _agreement(bench: Bench, distilled: DistilledSet) -> NDArray[np.float64]:
    """Return float64 (classes, classes): which part of the images carries a label and is nearest to a class's mean image."""
    facts, train = bench.data.facts, bench.session().train
    pixels = to_pixels(distilled.images, distilled.space, facts.mean, facts.std).float().flatten(1)
    means = torch.stack([train.images(train.indices(label)).float().mean(0).flatten() for label in range(facts.num_classes)])
    counts = np.zeros((facts.num_classes, facts.num_classes))
    np.add.at(counts, (distilled.labels.numpy(), torch.cdist(pixels, means).argmin(1).numpy()), 1)
    return counts / len(pixels)


def _stops_after(count: int, write: Callable[[Path, bytes], None]) -> Callable[[Path, bytes], None]:
    """Return a writer that is interrupted instead of writing one more job's file."""
    left = [count]

    def stopping(path: Path, content: bytes) -> None:
        if path.name.startswith("job-"):
            if left[0] == 0:
                raise Interrupted
            left[0] -= 1
        write(path, content)

    return stopping


def _stops_behind(count: int, write: Callable[[Path, bytes], None]) -> Callable[[Path, bytes], None]:
    """Return a writer that is interrupted once it has written so many checkpoints."""
    left = [count]

    def stopping(path: Path, content: bytes) -> None:
        write(path, content)
        if path.name.startswith("checkpoint"):  # each group of jobs has one of its own
            left[0] -= 1
            if left[0] == 0:
                raise Interrupted

    return stopping
