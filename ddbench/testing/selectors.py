"""What every selector must keep to; a subclass names its selector and inherits the tests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch

from ddbench.api.selector import Candidate
from ddbench.api.synthesizer import Job, one_job
from ddbench.testing.bench import Bench
from ddbench.testing.guards import every_option_has_help, nothing_is_touched

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.selector import Judge
    from ddbench.context import StageContext

SHIFTED = 1
"""How far the worse candidate's images are from the classes that their labels name."""


class SelectorConformance:
    """Contracts of a selector, each a test. Set `selector`; the rest has defaults.

    Options of what it needs go under the need's name, `classifier.epochs`.
    """

    selector: ClassVar[Any]
    options: ClassVar[Mapping[str, Any]] = {}
    ipc: ClassVar[int] = 3

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        """A bench that knows the selector."""
        return self.new_bench(tmp_path / "store")

    def new_bench(self, root: Path) -> Bench:
        """Return a bench with its store under `root`."""
        return Bench(root, parts={"selector": [self.selector]})

    @property
    def values(self) -> Any:
        """The selector's options."""
        return self.selector.options(**{name: value for name, value in self.options.items() if "." not in name})

    def context(self, bench: Bench) -> StageContext:
        """Return what the selector is given at its start."""
        return bench.context(
            self.selector.needs(self.values, bench.data.facts),
            options={name: value for name, value in self.options.items() if "." in name},
        )

    def start(self, bench: Bench, context: StageContext | None = None) -> Judge:
        """Return the selector at work on one job."""
        judge: Judge = self.selector.start(context or self.context(bench), self.values, self.job(bench))
        return judge

    def job(self, bench: Bench) -> Job:
        """Return one job with `ipc` images of every class."""
        return one_job(bench.data.facts, self.ipc, 0)[0]

    def real(self, bench: Bench, *, shifted: int = 0) -> tuple[Tensor, Tensor]:
        """Return real images, normalised, and the job's labels; `shifted` takes them from so many classes further on."""
        train, facts, job = bench.session().train, bench.data.facts, self.job(bench)
        classes = facts.num_classes
        picked = [train.indices((label + shifted) % classes)[place // classes] for place, label in enumerate(job.labels)]
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (facts.mean, facts.std))
        return (train.images(torch.stack(picked)).float() / 255 - mean) / std, torch.tensor(job.labels)

    def better(self, bench: Bench) -> Candidate:
        """Return real images of their own classes, a low loss, after more steps."""
        return Candidate(*self.real(bench), loss=torch.tensor(1.0), step=20)

    def worse(self, bench: Bench) -> Candidate:
        """Return images of other classes than their labels say, a high loss, after fewer steps."""
        return Candidate(*self.real(bench, shifted=SHIFTED), loss=torch.tensor(2.0), step=10)

    def test_a_score_is_a_finite_number_and_always_the_same(self, bench: Bench) -> None:
        """Return `float(…)`, and draw nothing that the job does not decide."""
        judge, candidate = self.start(bench), self.better(bench)
        scores = [judge.score(candidate), judge.score(candidate), self.start(bench).score(candidate)]
        assert isinstance(scores[0], float)
        assert math.isfinite(scores[0])
        assert scores == [scores[0]] * 3

    def test_lower_is_better(self, bench: Bench) -> None:
        """Return how far a candidate is from what is wanted: the lowest score is handed on."""
        judge = self.start(bench)
        assert judge.score(self.better(bench)) < judge.score(self.worse(bench))

    def test_a_score_does_not_depend_on_candidates_seen_before(self, bench: Bench) -> None:
        """Keep nothing between two calls of `score`."""
        judge = self.start(bench)
        judge.score(self.worse(bench))
        assert judge.score(self.better(bench)) == self.start(bench).score(self.better(bench))

    def test_the_order_of_images_does_not_matter(self, bench: Bench) -> None:
        """Take means over images, or over the images of each class."""
        judge, candidate = self.start(bench), self.worse(bench)
        order = torch.arange(len(candidate.labels)).flip(0)
        turned = Candidate(candidate.images[order], candidate.labels[order], candidate.loss, candidate.step)
        assert judge.score(turned) == pytest.approx(judge.score(candidate), rel=1e-4)

    def test_candidate_classifier_train_split_and_everything_global_are_left_as_they_were(self, bench: Bench) -> None:
        """Work on copies, under `torch.no_grad()`, and leave modes, hooks and flags as they are."""
        candidate, context = self.worse(bench), self.context(bench)
        before = candidate.images.clone()
        with nothing_is_touched(bench, context):
            self.start(bench, context).score(candidate)
        assert candidate.images.equal(before)
        assert not candidate.images.requires_grad
        assert candidate.images.grad is None

    def test_every_option_has_help_and_bounds_and_unknown_ones_are_refused(self) -> None:
        """Subclass `ddbench.Options`; describe every field and bound every number: `Field(default=…, ge=0, description=…)`."""
        every_option_has_help(self.selector.options)
