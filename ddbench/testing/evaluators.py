"""What every evaluator must keep to; a subclass names its evaluator and inherits the tests."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch

from ddbench.api.evaluator import Metric
from ddbench.testing.bench import Bench
from ddbench.testing.guards import every_option_has_help, left_as_they_are, limited, nothing_global_changes

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.evaluation import StudentEvaluation

SCOPES = ("student", "set")


class EvaluatorConformance:
    """Contracts of an evaluator, each a test. Set `evaluator`; the rest has defaults.

    Options of what it needs go under the need's name, `classifier.epochs`.
    """

    evaluator: ClassVar[Any]
    options: ClassVar[Mapping[str, Any]] = {}
    limit_s: ClassVar[float] = 60.0
    """Seconds that it may take for 48 test images."""

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        """A bench with a store of its own."""
        return self.new_bench(tmp_path / "store")

    def new_bench(self, root: Path) -> Bench:
        """Return a bench with its store under `root`."""
        return Bench(root)

    @property
    def values(self) -> Any:
        """The evaluator's options."""
        return self.evaluator.options(**{name: value for name, value in self.options.items() if "." not in name})

    def context(self, bench: Bench, *, logits: Tensor | None = None, seed: int = 0) -> StudentEvaluation:
        """Return what the evaluator is given; `logits` are what the student answers on the test split, its own unless given."""
        own = {name: value for name, value in self.options.items() if "." in name}
        needs = bench.context(self.evaluator.needs(self.values, bench.data.facts), options=own).needs
        return bench.evaluation(self.evaluator.scope, needs=needs, logits=logits, seed=seed)

    def measured(self, context: StudentEvaluation) -> tuple[Sequence[Metric], Mapping[str, Tensor]]:
        """Return metrics and the tensors to be kept beside the record."""
        answer = self.evaluator.evaluate(context, self.values)
        return answer if isinstance(answer, tuple) else (answer, {})

    def test_its_scope_is_student_or_set(self) -> None:
        """Say `scope = "student"` for what looks at the trained student, `"set"` for what looks at the distilled set."""
        assert self.evaluator.scope in SCOPES, f"its scope is {self.evaluator.scope!r}; student or set is meant"

    def test_metrics_are_finite_numbers_with_different_names(self, bench: Bench) -> None:
        """Return at least one `Metric(name, value, unit)`, its value a plain finite float."""
        metrics, _ = self.measured(self.context(bench))
        assert metrics, "it returned no metric"
        names = [metric.name for metric in metrics]
        assert all(names), "a metric has no name"
        assert len(set(names)) == len(names), f"two metrics have one name: {', '.join(names)}"
        for metric in metrics:
            assert isinstance(metric, Metric), f"it returned {metric!r}, which is no Metric"
            assert isinstance(metric.value, float | int), f"{metric.name} is {metric.value!r}; use float(…)"
            assert math.isfinite(metric.value), f"{metric.name} is {metric.value}"
            assert isinstance(metric.unit, str), f"{metric.name} has the unit {metric.unit!r}"
            assert isinstance(metric.higher_is_better, bool), f"{metric.name} does not say whether higher is better"

    def test_a_fraction_is_no_percentage(self, bench: Bench) -> None:
        """Return fractions in [0, 1], differences of fractions in [-1, 1]; tables show percent."""
        metrics, _ = self.measured(self.context(bench))
        beyond = [f"{metric.name} = {metric.value:g}" for metric in metrics if metric.unit == "fraction" and abs(metric.value) > 1]
        assert beyond == [], f"a fraction is beyond 1: {', '.join(beyond)}"

    def test_the_same_student_and_set_give_the_same_metrics(self, bench: Bench) -> None:
        """Draw from `ctx.generator` alone."""
        (first, kept), (second, again) = (self.measured(self.context(bench)) for _ in range(2))
        assert list(first) == list(second), "measured twice, its metrics differ"
        differ = [name for name, tensor in kept.items() if not torch.as_tensor(tensor).equal(torch.as_tensor(again[name]))]
        assert differ == [], f"measured twice, it keeps other tensors: {', '.join(differ)}"

    def test_names_units_and_directions_do_not_depend_on_the_student(self, bench: Bench) -> None:
        """Name metrics alike for every student and set, so that they make a column."""

        def columns(seed: int) -> list[tuple[str, str, bool]]:
            metrics, _ = self.measured(self.context(bench, seed=seed))
            return [(metric.name, metric.unit, metric.higher_is_better) for metric in metrics]

        first, second = columns(0), columns(1)
        assert first == second, f"for one student it measures {first}, for another {second}"

    def test_what_it_keeps_can_be_written_beside_a_record(self, bench: Bench) -> None:
        """Return tensors by name, finite, each without a graph."""
        _, kept = self.measured(self.context(bench))
        for name, tensor in kept.items():
            assert not getattr(tensor, "requires_grad", False), f"{name} carries a graph"
            values = np.asarray(tensor)
            assert values.dtype != object, f"{name} is no tensor"
            assert bool(np.isfinite(values).all()), f"{name} holds NaN or infinity"

    def test_student_teacher_and_everything_global_are_left_as_they_were(self, bench: Bench) -> None:
        """Use `torch.no_grad()` or `torch.autograd.grad` with respect to a copy; leave modes, weights, hooks and flags alone."""
        context = self.context(bench)
        given = [one.module for one in (context.trained, context.teacher) if one is not None]
        images = context.distilled.images.clone()
        with nothing_global_changes(), left_as_they_are(given):
            self.measured(context)
        assert context.distilled.images.equal(images), "it changed the images of the distilled set"

    def test_every_option_has_help_and_bounds_and_unknown_ones_are_refused(self) -> None:
        """Subclass `ddbench.Options`; describe every field and bound every number: `Field(default=…, ge=0, description=…)`."""
        every_option_has_help(self.evaluator.options)

    def test_it_is_quick_on_toy_images(self, bench: Bench) -> None:
        """Let the cost follow the number of images; give cheap options where the defaults are for real data."""
        context, started = self.context(bench), time.monotonic()
        self.measured(context)
        limited(time.monotonic() - started, self.limit_s)
