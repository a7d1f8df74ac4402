"""What every protocol must keep to; a subclass names its protocol and inherits the tests."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from ddbench.api.context import Precision
from ddbench.api.protocol import ProtocolSpec, training_steps
from ddbench.api.synthesizer import one_job
from ddbench.errors import BadRequest
from ddbench.kit.draw import draw_real
from ddbench.networks import build
from ddbench.testing.bench import Bench
from ddbench.testing.guards import nothing_global_changes
from ddbench.training.labels import StoredLabels, label_epochs
from ddbench.training.loop import RunSettings, Trained
from ddbench.training.students import Student, StudentData, StudentSeeds, train_student

STEPS = 3
"""About how many steps a student is trained for, whatever the protocol says."""


class ProtocolConformance:
    """Contracts of a protocol, each a test. Set `protocol`; what a recipe cannot say is refused when it is read."""

    protocol: ClassVar[ProtocolSpec]
    ipc: ClassVar[int] = 3

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Bench:
        """A bench with a store of its own."""
        return self.new_bench(tmp_path / "store")

    def new_bench(self, root: Path) -> Bench:
        """Return a bench with its store under `root`."""
        return Bench(root)

    def data(self, bench: Bench) -> StudentData:
        """Return `ipc` real images a class, and the toy teacher where the protocol asks one."""
        session, facts = bench.session(), bench.data.facts
        (job,) = one_job(facts, self.ipc, 0)
        ((teacher, _),) = session.teachers.values()
        return StudentData(
            images=session.train.images(draw_real(session.train, job)),
            labels=torch.tensor(job.labels),
            mean=torch.tensor(facts.mean),
            std=torch.tensor(facts.std),
            teacher=teacher if self.protocol.needs_teacher else None,
        )

    def student(self, bench: Bench) -> Trained:
        """Return a toy student trained by the recipe, shortened to a few steps."""
        data, short = self.data(bench), self.short()
        run = RunSettings(torch.device("cpu"), Precision())
        if short.label_regime == "soft_epoch":
            data = self.with_answers(data, short, run)
        spec = bench.teacher().choice.network
        seeds = StudentSeeds(0)
        network = build(spec, bench.plugins.all("network"), seed=seeds.initialisation)
        return train_student(Student(network, self.admitted()), data, short, seeds=seeds, run=run)

    def short(self) -> ProtocolSpec:
        """Return the protocol with a few steps of training."""
        return self.protocol.shortened(STEPS / training_steps(self.protocol, self.ipc * 4))

    def with_answers(self, data: StudentData, short: ProtocolSpec, run: RunSettings) -> StudentData:
        """Return the data with the teacher's stored answers."""
        from dataclasses import replace

        logits = torch.stack(list(label_epochs(data, short, view_seed=0, run=run)))
        return replace(data, stored=StoredLabels(logits, 0))

    def admitted(self) -> str:
        """Return the name of a student that the protocol admits."""
        return self.protocol.students[0].replace("*", "x").replace("?", "x") if self.protocol.students else "toy/cnn"

    def test_it_says_what_it_is_for_and_where_it_comes_from(self) -> None:
        """Give a `title` and a `source`: the paper or the code, or `ours`."""
        assert self.protocol.title.strip(), "it has no title"
        assert self.protocol.source.strip(), "it has no source"

    def test_what_it_says_decides_its_hash_and_words_do_not(self) -> None:
        """Write it as data; `ProtocolSpec` hashes what decides a number."""
        assert self.protocol.sha256 == ProtocolSpec.model_validate(self.protocol.model_dump(mode="json")).sha256
        assert self.protocol.sha256 == self.protocol.model_copy(update={"title": "another"}).sha256
        assert self.protocol.sha256 != self.protocol.model_copy(update={"batch": self.protocol.batch + 1}).sha256

    def test_it_is_not_shortened(self) -> None:
        """Release whole recipes; `--smoke` shortens them where it is asked for."""
        assert not self.protocol.smoke, "it is marked as smoke, and its records could enter no leaderboard"

    def test_a_student_learns_by_it_with_finite_losses(self, bench: Bench) -> None:
        """Lower the learning rate, or warm up, where the first steps end in NaN."""
        trained = self.student(bench)
        assert trained.steps >= 1, "no step was made"
        assert all(math.isfinite(loss) for _, loss in trained.curve), "the loss is NaN or infinite in the first steps"

    def test_the_same_seed_trains_the_same_student(self, bench: Bench) -> None:
        """Nothing in a recipe may leave a number open."""
        first, second = (self.student(bench).network.state_dict() for _ in range(2))
        assert all(weight.equal(second[name]) for name, weight in first.items()), "two trainings with one seed differ"

    def test_nothing_global_is_changed(self, bench: Bench) -> None:
        """Nothing in a recipe may change what is global."""
        with nothing_global_changes():
            self.student(bench)

    def test_a_student_that_it_does_not_admit_is_refused(self, bench: Bench) -> None:
        """List in `students` the patterns of full names that the recipe is defined for; none admits all."""
        if not self.protocol.students:
            pytest.skip("it admits every student")
        run = RunSettings(torch.device("cpu"), Precision())
        module = build(bench.teacher().choice.network, bench.plugins.all("network"), seed=0)
        with pytest.raises(BadRequest):
            train_student(Student(module, "nobody/at-all"), self.data(bench), self.short(), seeds=StudentSeeds(0), run=run)
