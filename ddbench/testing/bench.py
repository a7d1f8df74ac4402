"""A bench that runs a synthesizer through the real harness on toy data, and gives parts and priors what they would be given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ddbench import cells, distilling, making, needs
from ddbench.api.context import Need, PartKind, Precision
from ddbench.api.protocol import TestView
from ddbench.cells import ExpertsChoice, PriorChoice, Request, TeacherChoice
from ddbench.context import StageContext
from ddbench.data import HeldSplit, Prepared, TestSplit
from ddbench.evaluation import StudentEvaluation
from ddbench.networks import resolve
from ddbench.options import NoOptions, Resolved
from ddbench.plugins import Entry, Owner, Plugins
from ddbench.seeding import generator_for
from ddbench.settings import Settings
from ddbench.stages import DistilledStage, ExpertsStage, NeedStage, PriorStage, TeacherStage
from ddbench.store import Store
from ddbench.testing.guards import StoppingContext
from ddbench.testing.toys import ToyExperts, ToyFamily, ToyReal, ToyTeacher, toy_dataset
from ddbench.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.network import NetworkFamily
    from ddbench.api.prior import Prior
    from ddbench.api.synthesizer import Synthesizer
    from ddbench.distilled import DistilledSet

OWNER = Owner("toy", "0", "toy", "ddbench.testing", "0")


@dataclass
class Bench:
    """Runs synthesizers on a toy dataset through the harness, into a store under `root`.

    What a synthesizer uses or needs is looked up here and nowhere else: objectives and selectors in `parts`, priors in `priors`.
    A teacher, whatever its name, is the toy one; experts are toy ones; a prior is fitted as it would be, but never judged.
    """

    root: Path
    data: Prepared = field(default_factory=toy_dataset)
    precision: Precision = field(default_factory=Precision)
    parts: Mapping[PartKind, Sequence[Any]] = field(default_factory=dict)
    """Objectives under `objective`, selectors under `selector`."""
    priors: Sequence[Prior] = ()
    networks: Sequence[NetworkFamily] = ()
    """Families beside `toy`."""
    _made: dict[str, Any] = field(default_factory=dict)
    """Priors and experts by the key of their stage."""

    @cached_property
    def plugins(self) -> ToyPlugins:
        """What this bench knows."""
        known = [("network", ToyFamily()), ("teacher", ToyTeacher()), *(("network", family) for family in self.networks)]
        known += [("prior", prior) for prior in self.priors]
        return ToyPlugins([*known, *((kind, part) for kind, parts in self.parts.items() for part in parts)])

    def session(self) -> making.Session:
        """Return a session as a fresh process would have it; its test split raises when it is touched."""
        workspace = Workspace(Settings(self.root, (), ()), Store(self.root), self.plugins)
        train, test = HeldSplit(self.data), TestSplit(self.data, locked=True)
        session = making.Session(workspace, self.data, train, test, torch.device("cpu"), torch.get_num_threads())
        stage = self.teacher()
        session.teachers[stage.key] = (ToyTeacher().train(self._plain("toy teacher"), NoOptions(), stage.choice.network), {})
        return session

    def stage(
        self, synthesizer: Synthesizer, *, ipc: int, seed: int = 0, options: Mapping[str, Any] | None = None
    ) -> DistilledStage:
        """Return the stage that distils with a synthesizer.

        Args:
            synthesizer: Any; it need not be registered.
            ipc: Images per class.
            seed: The distill seed.
            options: Its own by name; those of parts and needs as on the command line, `objective.batch_real`, `prior.steps`.
        """
        request = Request((synthesizer.name,), options=dict(options or {}))
        method = cells.bind(Entry("synthesizer", synthesizer.name, synthesizer, OWNER), request, self.plugins, self.data.facts)
        cells.refuse_homeless(request, [method], self.data.facts)
        asked = method.needs(self.data.facts)
        return DistilledStage(method, self.data.facts, ipc, seed, self._stages(asked, request), self.precision)

    def prepared(
        self, synthesizer: Synthesizer, *, ipc: int, options: Mapping[str, Any] | None = None
    ) -> tuple[DistilledStage, making.Session]:
        """Return a stage, and a session that holds all it needs."""
        session, stage = self.session(), self.stage(synthesizer, ipc=ipc, options=options)
        self._preload(session, stage.needs)
        return stage, session

    def context(self, asked: Mapping[str, Need], *, options: Mapping[str, Any] | None = None, seed: int = 0) -> StageContext:
        """Return what a part is given at its start: everything it asks for, made; `options` as for `stage`."""
        session, stages = self.session(), self._stages(asked, Request((), options=dict(options or {})))
        self._preload(session, stages)
        given = {name: needs.made(session, stage) for name, (_, stage) in stages.items()}
        context = self._plain("toy context", seed)
        context.needs = given
        return context

    def fitting(
        self, purpose: str, seed: int = 0, *, stop_after: int | None = None, kept: Mapping[str, Tensor] | None = None
    ) -> StoppingContext:
        """Return what a teacher or a prior is made with, which may stand for a kill right after a checkpoint, or for a resume."""
        families, draws = self.plugins.all("network"), generator_for(purpose, seed)
        context = StoppingContext(HeldSplit(self.data), torch.device("cpu"), draws, self.precision, families, offline=True)
        context.kept, context.stop_after = kept, stop_after
        return context

    def evaluation(
        self,
        scope: str = "student",
        *,
        needs: Mapping[str, Any] | None = None,
        logits: Tensor | None = None,
        seed: int = 0,
    ) -> StudentEvaluation:
        """Return what an evaluator is given: a set of two real images a class, and a toy student of random weights.

        Args:
            scope: The evaluator's own; `set` is shown no student and no test image.
            needs: What it asked for, made: `bench.context(asked).needs`.
            logits: What the student answers on the test split, float32 (N, classes); its own answers unless given.
            seed: Another one, another student.
        """
        session = self.session()
        ((teacher, _),) = session.teachers.values()
        student = ToyTeacher().train(self._plain("toy student"), NoOptions(), self.teacher().choice.network, seed=seed + 1)
        return StudentEvaluation(
            facts=self.data.facts,
            train=session.train,
            distilled=self.distil(ToyReal(), ipc=2, session=session),
            trained=student if scope == "student" else None,
            teacher=teacher,
            soft_label_bytes=0,
            device=torch.device("cpu"),
            generator=generator_for("evaluation", 0),
            test=TestSplit(self.data, locked=scope != "student"),
            view=TestView(),
            precision=Precision(),
            needs=needs or {},
            _logits=logits,
        )

    def teacher(self) -> TeacherStage:
        """Return the stage of the toy teacher."""
        facts = self.data.facts
        network = ToyFamily().fit("cnn", shape=facts.shape, num_classes=facts.num_classes)
        way, family = self.plugins.get("teacher", "toy"), self.plugins.get("network", "toy")
        choice = TeacherChoice(way, Resolved(NoOptions(), {}), network, family)
        return TeacherStage(choice, facts, Precision())

    def distil(
        self,
        synthesizer: Synthesizer,
        *,
        ipc: int,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        session: making.Session | None = None,
    ) -> DistilledSet:
        """Return a distilled set; asked again with the same arguments, it comes from the store."""
        session, stage = session or self.session(), self.stage(synthesizer, ipc=ipc, seed=seed, options=options)
        self._preload(session, stage.needs)
        return distilling.distilled(session, stage)

    def _stages(self, asked: Mapping[str, Need], request: Request) -> dict[str, tuple[Need, NeedStage]]:
        return {name: (need, self._stage_of(name, need, request)) for name, need in asked.items()}

    def _stage_of(self, name: str, need: Need, request: Request) -> NeedStage:
        facts = self.data.facts
        if need.kind == "prior":
            entry = self.plugins.get("prior", need.name)
            options = cells.needed_options(entry, request, facts, name=name, need=need)
            entry.value.spaces(options.values, facts)
            return PriorStage(PriorChoice(entry, options), facts, self.precision)
        if need.kind == "experts":
            spec = resolve(need.name, self.plugins.all("network"), shape=facts.shape, num_classes=facts.num_classes)
            family = self.plugins.get("network", spec.name.partition("/")[0])
            return ExpertsStage(
                ExpertsChoice(cells.experts_options(request, name=name, need=need), spec, family), facts, Precision()
            )
        return self.teacher()

    def _preload(self, session: making.Session, stages: Mapping[str, tuple[Need, NeedStage]]) -> None:
        """Give a session what it would otherwise make and store."""
        for _, stage in stages.values():
            if not isinstance(stage, TeacherStage):
                if stage.key not in self._made:
                    self._made[stage.key] = self._prior(stage) if isinstance(stage, PriorStage) else self._experts(stage)
                session.loaded[stage.key] = self._made[stage.key]

    def _prior(self, stage: PriorStage) -> Any:
        prior, options = stage.choice.prior, stage.choice.options.values
        weights, _ = prior.fit(self._plain("prior", stage.choice.seed), options)
        return prior.load(weights, options, self.data.facts)

    def _experts(self, stage: ExpertsStage) -> ToyExperts:
        options: Any = stage.choice.options.values
        return ToyExperts(stage.choice.network, options, self._plain("toy experts"), stage.choice.seed)

    def _plain(self, purpose: str, *parts: int) -> StageContext:
        """Return a context without a work folder."""
        families = self.plugins.all("network")
        return StageContext(
            HeldSplit(self.data), torch.device("cpu"), generator_for(purpose, *parts), self.precision, families, offline=True
        )


class ToyPlugins(Plugins):
    """Plugins of which only what a bench was given is known."""

    def __init__(self, known: Iterable[tuple[str, Any]]) -> None:
        super().__init__((), found=[])
        self._known = list(known)

    @cached_property
    def _entries(self) -> dict[tuple[str, str], list[Entry]]:
        entries: dict[tuple[str, str], list[Entry]] = {}
        for kind, value in self._known:
            entries.setdefault((kind, value.name), []).append(Entry(kind, value.name, value, OWNER))
        return entries
