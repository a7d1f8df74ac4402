"""The workbench: makes units in one workspace, and keeps plans, datasets and teachers at hand from one unit to the next."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from ddbench import distilling, making, measuring, needs
from ddbench.data import HeldSplit, TestSplit
from ddbench.errors import WorkerDiffers
from ddbench.executors.units import Stage, Task, stages_of
from ddbench.planning import Known, Plan, plan
from ddbench.stages import DistilledStage, EvaluationStage, LabelsStage, StudentStage
from ddbench.students import student_labels, student_record

if TYPE_CHECKING:
    from ddbench.making import Session
    from ddbench.workspace import Workspace


@dataclass
class Planned:
    """A request that was planned, and its stages by key."""

    plan: Plan
    stages: Mapping[str, Stage]


@dataclass
class Workbench:
    """Makes units, one after another."""

    workspace: Workspace
    _known: Known = field(init=False)
    _planned: dict[str, Planned] = field(default_factory=dict)
    """By the request's JSON."""
    _session: tuple[str, Session] | None = None
    """Of the request that the last unit came from."""

    def __post_init__(self) -> None:
        self._known = Known(self.workspace)

    def make(self, task: Task, *, begun: Callable[[], None] = lambda: None) -> None:
        """Make one unit, or find it made: what it leaves is then in the workspace's store.

        Args:
            task: The unit.
            begun: Called once its request is planned and its data are at hand, when the unit itself begins.

        Raises:
            WorkerDiffers: The request as planned here has no such unit.
            DdbenchError: What the unit itself says.
        """
        about = json.dumps(task.to_json()["request"], sort_keys=True, default=str)
        planned = self._plan(about, task)
        key, _, group = task.key.partition("-")
        stage = planned.stages.get(key)
        if stage is None:
            raise WorkerDiffers(
                f"the plan made here has no {task.key}: plugins, data or ddbench itself are not those of the process that "
                "asked for it; compare what `ddbench doctor` says on both machines"
            )
        session = self._open(about, planned.plan)
        begun()
        if group and isinstance(stage, DistilledStage):
            distilling.group_made(session, stage, int(group))
        else:
            _make(session, stage)

    def _plan(self, about: str, task: Task) -> Planned:
        if about not in self._planned:
            self._known.places[task.request.device] = task.place
            made = plan(task.request, self.workspace, known=self._known)
            self._planned[about] = Planned(made, stages_of(made.cells))
        return self._planned[about]

    def _open(self, about: str, planned: Plan) -> Session:
        """Return the request's session; of an earlier one it keeps the splits and the teachers, where the dataset is the same."""
        if self._session is None or self._session[0] != about:
            before = self._session[1] if self._session else None
            self._session = about, _session(planned, self.workspace, before)
        session = self._session[1]
        torch.set_num_threads(session.threads)
        return session


def _session(planned: Plan, workspace: Workspace, before: Session | None) -> Session:
    torch.backends.cudnn.allow_tf32 = False  # as in any run: fp32 means fp32
    if before is not None and before.data is planned.data and before.device == planned.device:
        kept = before.train, before.test, before.device
        return making.Session(
            workspace,
            planned.data,
            *kept,
            planned.threads,
            teachers=before.teachers,
            without_test_images=before.without_test_images,
        )
    train = HeldSplit(planned.data, device=planned.device)
    test = TestSplit(planned.data, device=planned.device, locked=True)
    return making.Session(workspace, planned.data, train, test, planned.device, planned.threads)


def _make(session: Session, stage: Stage) -> None:
    if isinstance(stage, StudentStage):
        student_record(session, stage, stage.title)
    elif isinstance(stage, LabelsStage):
        student_labels(session, stage)
    elif isinstance(stage, DistilledStage):
        distilling.distilled(session, stage)
    elif isinstance(stage, EvaluationStage):
        measuring.evaluated(session, stage)
    else:
        needs.made(session, stage)
