"""What every way to get a teacher must keep to; a subclass names its way and inherits the tests."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from ddbench.networks import build, resolve
from ddbench.testing.bench import Bench
from ddbench.testing.guards import (
    Interrupted,
    every_option_has_help,
    limited,
    no_test_split,
    nothing_is_touched,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.network import TrainedNetwork

CLEARLY = 0.25
"""By how much another order of classes must agree better than the dataset's before it is taken for a mistake."""


class TeacherConformance:
    """Contracts of a teacher, each a test. Set `teacher`; the rest has defaults.

    Override `options` with values that make it cheap on 8×8 images.
    """

    teacher: ClassVar[Any]
    options: ClassVar[Mapping[str, Any]] = {}
    network: ClassVar[str] = "toy/cnn"
    seeded: ClassVar[bool] = True
    """False for ways that draw nothing: weights that are read."""
    limit_s: ClassVar[float] = 60.0
    """Seconds that one training on 48 images may take."""

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        """A bench with a store of its own."""
        return self.new_bench(tmp_path / "store")

    def new_bench(self, root: Path) -> Bench:
        """Return a bench with its store under `root`."""
        return Bench(root)

    @property
    def values(self) -> Any:
        """The teacher's options."""
        return self.teacher.options(**self.options)

    def trained(
        self, bench: Bench, *, seed: int = 0, stop_after: int | None = None, kept: Mapping[str, Tensor] | None = None
    ) -> TrainedNetwork:
        """Return the teacher of the toy dataset; `stop_after` a checkpoint it is killed, `kept` is what it then goes on from."""
        facts = bench.data.facts
        spec = resolve(self.network, bench.plugins.all("network"), shape=facts.shape, num_classes=facts.num_classes)
        context = bench.fitting("teacher", seed, stop_after=stop_after, kept=kept)
        try:
            trained: TrainedNetwork = self.teacher.train(context, self.values, spec)
        except Interrupted as stop:
            raise Killed(context.kept or {}) from stop
        return trained

    def test_equal_seeds_give_equal_weights(self, bench: Bench) -> None:
        """Draw from `ctx.generator` alone, and let nothing depend on time, order of sets or global generators."""
        first, second = (self.trained(bench).module.state_dict() for _ in range(2))
        differ = [name for name, weight in first.items() if not weight.equal(second[name])]
        assert differ == [], f"two trainings with one seed differ in {', '.join(differ[:3])}"

    def test_another_seed_gives_another_network_where_anything_is_drawn(self, bench: Bench) -> None:
        """Draw the initialisation from `ctx.generator`: `ctx.network(network.name, ctx.generator)`."""
        first, second = (self.trained(bench, seed=seed).module.state_dict() for seed in (0, 1))
        same = all(weight.equal(second[name]) for name, weight in first.items())
        assert same is not self.seeded, "two seeds gave one network" if same else "it draws, and says `seeded = False`"

    def test_it_comes_frozen_and_in_eval_mode(self, bench: Bench) -> None:
        """Return `module.eval().requires_grad_(False)`, without hooks."""
        module = self.trained(bench).module
        assert not module.training, "it is in training mode"
        assert not any(weight.requires_grad for weight in module.parameters()), "its weights still ask for gradients"
        assert not any(inner._forward_hooks or inner._forward_pre_hooks for inner in module.modules()), "it holds hooks"

    def test_it_answers_every_image_with_a_finite_logit_for_every_class(self, bench: Bench) -> None:
        """Return a network whose answers are float32 (N, classes) logits, one row for each image."""
        answers, facts = self.answers(bench, self.trained(bench)), bench.data.facts
        expected = (sum(facts.counts), facts.num_classes)
        assert tuple(answers.shape) == expected, f"its answers are {tuple(answers.shape)}, not {expected}"
        assert answers.dtype == torch.float32, f"its answers are {answers.dtype}, not float32"
        assert bool(answers.isfinite().all()), "its answers hold NaN or infinity"

    def test_its_classes_are_the_datasets_in_the_datasets_order(self, bench: Bench) -> None:
        """Return `classes=ctx.train.facts.classes`, and train with the labels that `ctx.train.indices` tells."""
        trained, facts = self.trained(bench), bench.data.facts
        assert tuple(trained.classes) == facts.classes, f"it answers for {trained.classes}, not for {facts.classes}"
        agreement = self.agreement(bench, trained)
        rows, columns = linear_sum_assignment(-agreement.numpy())
        own, best = float(agreement.trace()), float(agreement[rows, columns].sum())
        assert best - own <= CLEARLY, f"another order of classes agrees better with the labels ({best:.0%} instead of {own:.0%})"

    def test_its_normalisation_has_a_value_for_every_channel(self, bench: Bench) -> None:
        """Return `mean` and `std` as float32 (C,) of pixels in [0, 1], those the network was trained with."""
        trained, channels = self.trained(bench), bench.data.facts.shape[0]
        for name, values in (("mean", trained.mean), ("std", trained.std)):
            found = (values.dtype, tuple(values.shape))
            assert found == (torch.float32, (channels,)), f"{name} is {found}, not float32 ({channels},)"
            assert bool(values.isfinite().all()), f"{name} is not finite"
        assert bool((trained.std > 0).all()), "a standard deviation is not above 0"

    def test_its_card_is_json_and_its_weights_fit_a_fresh_network(self, bench: Bench) -> None:
        """Return JSON values in `card`, and a module with the names and shapes of the network that was asked for."""
        trained, facts = self.trained(bench), bench.data.facts
        json.dumps(dict(trained.card), allow_nan=False)
        families = bench.plugins.all("network")
        spec = resolve(self.network, families, shape=facts.shape, num_classes=facts.num_classes)
        fresh = build(spec, families, seed=0).eval()
        fresh.load_state_dict({name: tensor.clone() for name, tensor in trained.module.state_dict().items()})
        assert self.answers(bench, trained, fresh).equal(self.answers(bench, trained)), "stored and loaded, it answers otherwise"

    def test_train_split_and_everything_global_are_left_as_they_were(self, bench: Bench) -> None:
        """Seed and set nothing global: draw from `ctx.generator`, and use `torch.no_grad()` as a context."""
        with nothing_is_touched(bench, bench.fitting("teacher")):
            self.trained(bench)

    def test_the_test_split_is_never_read(self, bench: Bench) -> None:
        """Choose what has to be chosen on `ddbench.data.validation_cut(ctx.train, …)`."""
        with no_test_split():
            self.trained(bench)

    @pytest.mark.parametrize("checkpoints", [1, 2])
    def test_one_killed_after_a_checkpoint_ends_with_the_same_weights(self, bench: Bench, checkpoints: int) -> None:
        """Keep in `ctx.checkpoint` all that decides what follows, generators included, and go on from `ctx.resumed()`."""
        whole = self.trained(bench).module.state_dict()
        try:
            self.trained(bench, stop_after=checkpoints)
        except Killed as killed:
            again = self.trained(bench, kept=killed.kept).module.state_dict()
            differ = [name for name, weight in whole.items() if not weight.equal(again[name])]
            assert differ == [], f"killed and resumed, it differs in {', '.join(differ[:3])}"
        else:
            pytest.skip("it keeps fewer checkpoints")

    def test_its_fingerprint_is_text_and_always_the_same(self) -> None:
        """Return a hash of the files that the options name, or the empty text."""
        first, second = (self.teacher.fingerprint(self.values) for _ in range(2))
        assert isinstance(first, str), f"it is {first!r}"
        assert first == second, "it is another one each time"

    def test_every_option_has_help_and_bounds_and_unknown_ones_are_refused(self) -> None:
        """Subclass `ddbench.Options`; describe every field and bound every number: `Field(default=…, ge=0, description=…)`."""
        every_option_has_help(self.teacher.options)

    def test_it_is_quick_on_toy_images(self, bench: Bench) -> None:
        """Let the cost follow the number of images and epochs; give cheap options where the defaults are for real data."""
        started = time.monotonic()
        self.trained(bench)
        limited(time.monotonic() - started, self.limit_s)

    def answers(self, bench: Bench, trained: TrainedNetwork, module: torch.nn.Module | None = None) -> Tensor:
        """Return the logits of a teacher, or of another network with its normalisation, on all train images by class."""
        facts = bench.data.facts
        train = bench.session().train
        images = torch.cat([train.images(train.indices(label)) for label in range(facts.num_classes)])
        mean, std = trained.mean.view(-1, 1, 1), trained.std.view(-1, 1, 1)
        with torch.no_grad():
            answers: Tensor = (module or trained.module)((images.float() / 255 - mean) / std)
        return answers

    def agreement(self, bench: Bench, trained: TrainedNetwork) -> Tensor:
        """Return float64 (classes, classes): which part of all train images is of a class and answered with a class."""
        facts = bench.data.facts
        predicted = self.answers(bench, trained).argmax(1)
        labels = torch.cat([torch.full((count,), label) for label, count in enumerate(facts.counts)])
        counts = torch.zeros(facts.num_classes, facts.num_classes, dtype=torch.float64)
        counts.index_put_((labels, predicted), torch.ones(len(labels), dtype=torch.float64), accumulate=True)
        return counts / len(labels)


class Killed(Exception):
    """A training was stopped after a checkpoint."""

    def __init__(self, kept: Mapping[str, Tensor]) -> None:
        super().__init__("stopped after a checkpoint")
        self.kept = kept
