"""What every synthesizer must keep to; a subclass names its synthesizer and inherits the tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch

from ddbench.context import CHECKPOINT
from ddbench.errors import TestSplitTouched
from ddbench.testing.bench import Bench
from ddbench.testing.guards import Interrupted, every_option_has_help, global_state

if TYPE_CHECKING:
    from ddbench.distilled import DistilledSet


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
        assert self.distil(bench).sha256 == self.distil(self.new_bench(tmp_path / "other")).sha256

    def test_another_seed_gives_another_set_where_the_method_draws_anything(self, bench: Bench) -> None:
        same = self.distil(bench, seed=0).images.equal(self.distil(bench, seed=1).images)
        assert same is not self.seeded

    def test_every_class_has_ipc_images_of_the_datasets_shape(self, bench: Bench) -> None:
        distilled = self.distil(bench, ipc=3)
        assert tuple(distilled.images.shape[1:]) == bench.data.facts.shape
        if self.balanced:
            assert Counter(distilled.labels.tolist()) == dict.fromkeys(range(bench.data.facts.num_classes), 3)

    def test_pixels_are_finite_and_in_the_range_of_their_space(self, bench: Bench) -> None:
        distilled = self.distil(bench)
        assert distilled.images.dtype == (torch.uint8 if distilled.space == "uint8" else torch.float32)
        assert bool(distilled.images.float().isfinite().all())
        if distilled.space == "unit":
            assert 0 <= float(distilled.images.min()) <= float(distilled.images.max()) <= 1

    def test_a_smaller_set_is_a_prefix_of_a_larger_one_where_promised(self, bench: Bench) -> None:
        if not self.nested:
            pytest.skip("the method does not promise it")
        small, large = self.distil(bench, ipc=1), self.distil(bench, ipc=3)
        assert small.images.equal(large.images[: len(small.images)])

    def test_the_plan_depends_on_its_arguments_alone(self, bench: Bench) -> None:
        stage = bench.stage(self.synthesizer, ipc=2, options=self.options)
        values, facts = stage.method.options.values, bench.data.facts
        first, second = (self.synthesizer.jobs(values, facts, 2, 0) for _ in range(2))
        assert list(first) == list(second)
        assert len({job.index for job in first}) == len(first)

    def test_the_teacher_is_left_as_it_was(self, bench: Bench) -> None:
        session = bench.session()
        networks = [network.module for network, _ in session.teachers.values()]
        before = [{name: tensor.clone() for name, tensor in module.state_dict().items()} for module in networks]
        bench.distil(self.synthesizer, ipc=2, options=self.options, session=session)
        for module, state in zip(networks, before, strict=True):
            assert all(tensor.equal(state[name]) for name, tensor in module.state_dict().items())
            assert not module.training
            assert not any(parameter.requires_grad or parameter.grad is not None for parameter in module.parameters())
            assert not any(inner._forward_hooks or inner._forward_pre_hooks for inner in module.modules())

    def test_nothing_global_is_changed(self, bench: Bench) -> None:
        before = global_state()
        self.distil(bench)
        assert global_state() == before

    def test_the_test_split_is_never_read(self, bench: Bench) -> None:
        session = bench.session()
        with pytest.raises(TestSplitTouched):
            session.test.labels()
        bench.distil(self.synthesizer, ipc=2, options=self.options, session=session)
        assert session.test.locked

    @pytest.mark.parametrize("written", [0, 1])
    def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(self, bench: Bench, tmp_path: Path, written: int) -> None:
        whole = self.distil(self.new_bench(tmp_path / "undisturbed"), ipc=3)
        if whole.manifest["jobs"] <= written:
            pytest.skip("the plan has too few jobs to be interrupted after one")
        session = bench.session()
        session.store.write_file = _stops_after(written, session.store.write_file)  # type: ignore[method-assign,assignment]
        with pytest.raises(Interrupted):
            bench.distil(self.synthesizer, ipc=3, options=self.options, session=session)
        assert self.distil(bench, ipc=3).sha256 == whole.sha256

    @pytest.mark.parametrize("kept", [1, 2])
    def test_a_run_killed_after_a_checkpoint_ends_with_the_same_bytes(
        self, bench: Bench, tmp_path: Path, kept: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = self.distil(self.new_bench(tmp_path / "undisturbed"))
        monkeypatch.setattr("ddbench.context.CHECKPOINT_INTERVAL_S", 0.0)
        session = bench.session()
        session.store.write_file = _stops_behind(kept, session.store.write_file)  # type: ignore[method-assign,assignment]
        try:
            bench.distil(self.synthesizer, ipc=2, options=self.options, session=session)
        except Interrupted:
            assert self.distil(bench).sha256 == whole.sha256
        else:
            pytest.skip("the method keeps fewer checkpoints")

    def test_every_option_has_help_and_unknown_ones_are_refused(self) -> None:
        every_option_has_help(self.synthesizer.options)

    def test_without_iterations_real_starts_are_random_itself(self, bench: Bench) -> None:
        options = self.synthesizer.options(**{name: value for name, value in self.options.items() if "." not in name})
        if self.synthesizer.start(options) != "real" or "iterations" not in type(options).model_fields:
            pytest.skip("the method does not optimise real images")
        from ddbench.kit.draw import draw_real

        stage = bench.stage(self.synthesizer, ipc=2, options={**self.options, "iterations": 0})
        train = bench.session().train
        drawn = torch.cat([train.images(draw_real(train, job)) for job in stage.jobs])
        assert self.distil(bench, iterations=0).images.equal(drawn)


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
        if path.name == CHECKPOINT:
            left[0] -= 1
            if left[0] == 0:
                raise Interrupted

    return stopping
