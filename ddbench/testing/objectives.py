"""What every objective must keep to; a subclass names its objective and inherits the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pytest
import torch

from ddbench.api.context import Use
from ddbench.api.synthesizer import Job, JobResult, Space, Synthesizer, one_job
from ddbench.networks import resolve
from ddbench.options import NoOptions, Options
from ddbench.seeding import generator_for
from ddbench.testing.bench import Bench
from ddbench.testing.guards import every_option_has_help, nothing_is_touched, slope_error

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.context import Context, Need, PartKind
    from ddbench.api.dataset import DatasetFacts
    from ddbench.api.objective import Matching, Work
    from ddbench.context import StageContext


class ObjectiveConformance:
    """Contracts of an objective, each a test. Set `objective`; the rest has defaults.

    Override `options` with values that make a step cheap on 8×8 images: `network="toy/smooth"` is a small network without kinks.
    Options of what it needs go under the need's name, `experts.epochs`.
    """

    objective: ClassVar[Any]
    options: ClassVar[Mapping[str, Any]] = {}
    ipc: ClassVar[int] = 2
    exact: ClassVar[bool] = True
    """False where the gradient leaves terms out on purpose, and is not that of the loss."""
    seeded: ClassVar[bool] = True
    """False for objectives that draw nothing."""
    tolerance: ClassVar[float] = 0.03
    """By which part the loss's slope along its gradient may miss the gradient's norm, in float32."""

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        """A bench that knows the objective."""
        return self.new_bench(tmp_path / "store")

    def new_bench(self, root: Path) -> Bench:
        """Return a bench with its store under `root`."""
        return Bench(root, parts={"objective": [self.objective]})

    @property
    def values(self) -> Any:
        """The objective's options."""
        return self.objective.options(**{name: value for name, value in self.options.items() if "." not in name})

    def context(self, bench: Bench) -> StageContext:
        """Return what the objective is given at its start."""
        return bench.context(
            self.objective.needs(self.values, bench.data.facts),
            options={name: value for name, value in self.options.items() if "." in name},
        )

    def start(self, bench: Bench, *, seed: int = 0, context: StageContext | None = None) -> Matching:
        """Return the objective at work on one job."""
        matching: Matching = self.objective.start(context or self.context(bench), self.values, self.job(bench, seed))
        return matching

    def job(self, bench: Bench, seed: int = 0) -> Job:
        """Return one job with `ipc` images of every class."""
        return one_job(bench.data.facts, self.ipc, seed)[0]

    def images(self, bench: Bench) -> tuple[Tensor, Tensor]:
        """Return noise as images, float32 (N, C, H, W), and int64 labels."""
        labels = torch.tensor(self.job(bench).labels)
        return torch.randn(len(labels), *bench.data.facts.shape, generator=generator_for("conformance images")), labels

    def test_loss_and_gradient_are_finite_float32_and_carry_no_graph(self, bench: Bench) -> None:
        """Return `loss.detach()` and the gradient of `torch.autograd.grad`, both float32; lower what overflows."""
        images, labels = self.images(bench)
        loss, gradient = self.start(bench).loss_and_grad(images, labels, 0)
        assert (loss.dtype, loss.dim()) == (torch.float32, 0)
        assert (gradient.dtype, gradient.shape) == (torch.float32, images.shape)
        assert bool(loss.isfinite())
        assert bool(gradient.isfinite().all())
        assert bool(gradient.any())
        assert not loss.requires_grad
        assert not gradient.requires_grad

    def test_the_same_job_and_step_give_the_same_answer(self, bench: Bench) -> None:
        """Draw from `generator_for(purpose, job.seed, job.index, step)`, from nothing global."""
        images, labels = self.images(bench)
        first, second = (self.start(bench).loss_and_grad(images, labels, 0) for _ in range(2))
        assert first[0].equal(second[0])
        assert first[1].equal(second[1])

    def test_another_distill_seed_draws_something_else_where_anything_is_drawn(self, bench: Bench) -> None:
        """Let draws depend on `job.seed`; say `seeded = False` for an objective that draws nothing."""
        images, labels = self.images(bench)
        first, second = (self.start(bench, seed=seed).loss_and_grad(images, labels, 0) for seed in (0, 1))
        assert first[1].equal(second[1]) is not self.seeded

    def test_the_gradient_is_the_slope_of_the_loss(self, bench: Bench) -> None:
        """Differentiate the loss that is returned; say `exact = False` where terms are left out on purpose."""
        if not self.exact:
            pytest.skip("the gradient leaves terms out on purpose")
        images, labels = self.images(bench)
        context = self.context(bench)

        def loss_of(moved: Tensor) -> float:
            return float(self.start(bench, context=context).loss_and_grad(moved, labels, 0)[0])

        _, gradient = self.start(bench, context=context).loss_and_grad(images, labels, 0)
        assert slope_error(loss_of, images, gradient) < self.tolerance

    def test_images_teacher_train_split_and_everything_global_are_left_as_they_were(self, bench: Bench) -> None:
        """Work on `images.detach().clone()`, and leave modes, weights, hooks and flags as they are."""
        images, labels = self.images(bench)
        given, named = images.clone(), labels.clone()
        context = self.context(bench)
        with nothing_is_touched(bench, context):
            matching = self.start(bench, context=context)
            for step in range(2):
                matching.loss_and_grad(images, labels, step)
        assert images.equal(given)
        assert labels.equal(named)
        assert images.grad is None
        assert not images.requires_grad

    @pytest.mark.parametrize("after", [1, 2])
    def test_a_resume_from_its_state_goes_on_with_the_same_answers(self, bench: Bench, after: int) -> None:
        """Return in `state` all that decides later answers besides images and step, and take it back in `load`."""
        images, labels = self.images(bench)
        whole, resumed = self.start(bench), self.start(bench)
        for step in range(after):
            whole.loss_and_grad(images, labels, step)
        resumed.load({name: tensor.detach().cpu().contiguous().clone() for name, tensor in whole.state().items()})
        for step in range(after, after + 2):
            first, second = (one.loss_and_grad(images, labels, step) for one in (whole, resumed))
            assert first[0].equal(second[0])
            assert first[1].equal(second[1])

    def test_a_step_can_be_taken_back(self, bench: Bench) -> None:
        """Let `load` replace all that a step changed."""
        images, labels = self.images(bench)
        matching = self.start(bench)
        matching.loss_and_grad(images, labels, 0)
        kept = {name: tensor.detach().clone() for name, tensor in matching.state().items()}
        first = matching.loss_and_grad(images, labels, 1)
        matching.load(kept)
        second = matching.loss_and_grad(images, labels, 1)
        assert first[0].equal(second[0])
        assert first[1].equal(second[1])

    def test_its_space_is_known_and_what_it_keeps_is_finite(self, bench: Bench) -> None:
        """Name `normalised` or `zca` in `space`; return a learned step size as `lr`, float32 (1,)."""
        matching = self.start(bench)
        matching.loss_and_grad(*self.images(bench), 0)
        assert matching.space in {"normalised", "zca"}
        extras = matching.extras()
        assert all(bool(tensor.isfinite().all()) for tensor in extras.values() if tensor.is_floating_point())
        if "lr" in extras:
            assert (extras["lr"].dtype, tuple(extras["lr"].shape)) == (torch.float32, (1,))

    def test_the_work_it_tells_names_a_network_that_there_is(self, bench: Bench) -> None:
        """Return `Work(network, passes)` with a network that can be fitted to the images, or `Work()`."""
        facts = bench.data.facts
        work: Work = self.objective.work(self.values, facts, len(self.job(bench).labels))
        assert work.passes >= 0
        if work.network:
            resolve(work.network, bench.plugins.all("network"), shape=facts.shape, num_classes=facts.num_classes)

    def test_the_harness_runs_it_twice_alike_and_the_test_split_stays_locked(self, bench: Bench, tmp_path: Path) -> None:
        """Draw from the job and the step alone, and look at `ctx.train` alone."""
        descent, session = Descent(self.objective, self.values), bench.session()
        needs = {name: value for name, value in self.options.items() if "." in name}
        first = bench.distil(descent, ipc=self.ipc, options=needs, session=session)
        assert session.test.locked
        other = self.new_bench(tmp_path / "other").distil(descent, ipc=self.ipc, options=needs)
        assert other.sha256 == first.sha256, "run twice with one seed in the harness, it gave two sets"

    def test_every_option_has_help_and_bounds_and_unknown_ones_are_refused(self) -> None:
        """Subclass `ddbench.Options`; describe every field and bound every number: `Field(default=…, ge=0, description=…)`."""
        every_option_has_help(self.objective.options)


class Descent(Synthesizer):
    """Three steps down an objective's gradient from noise: what an objective meets in the harness, and nothing else."""

    name = "toy-descent"
    version = 1
    options = NoOptions

    def __init__(self, objective: Any, options: Options) -> None:
        """Keep what is to be used."""
        self.use = Use(objective.name, options.model_dump(exclude_unset=True))

    def start(self, o: Options) -> Literal["noise"]:  # noqa: ARG002 - a synthesizer's signature
        return "noise"

    def needs(self, o: Options, facts: DatasetFacts) -> Mapping[str, Need]:  # noqa: ARG002
        return {}

    def uses(self, o: Options) -> Mapping[PartKind, Use]:  # noqa: ARG002
        return {"objective": self.use}

    def jobs(self, o: Options, facts: DatasetFacts, ipc: int, seed: int) -> Sequence[Job]:  # noqa: ARG002
        return one_job(facts, ipc, seed)

    def run(self, ctx: Context, o: Options, group: Sequence[Job]) -> Sequence[JobResult]:  # noqa: ARG002
        (job,) = group
        part, labels = ctx.plugin("objective"), torch.tensor(job.labels)
        matching: Matching = part.value.start(ctx, part.options, job)
        images = torch.randn(len(labels), *ctx.train.facts.shape, generator=generator_for("descent", job.seed, job.index))
        for step in range(3):
            _, gradient = matching.loss_and_grad(images, labels, step)
            images = images - 0.1 * gradient / gradient.norm()
        space: Space = "zca" if matching.space == "zca" else "normalised"
        return [JobResult(images, labels, space=space, extras=matching.extras())]
