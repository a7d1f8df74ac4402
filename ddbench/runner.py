"""Runs a plan: reuses what the store has, makes the rest, keeps why a cell failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ddbench.cells import Cell, Request
from ddbench.errors import DdbenchError, EnvironmentProblem
from ddbench.executors.helping import helping
from ddbench.executors.problems import failure_content, problem_of
from ddbench.making import Session, open_session, threads_kept
from ddbench.place import pick_device
from ddbench.planning import Plan, PlannedCell, PlannedStage, plan
from ddbench.remaining import Remaining
from ddbench.students import student_record
from ddbench.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from ddbench.records import Record

__all__ = [
    "Cell",
    "Outcome",
    "Plan",
    "PlannedCell",
    "PlannedStage",
    "Request",
    "Workspace",
    "open_workspace",
    "pick_device",
    "plan",
    "run",
]


@dataclass
class Outcome:
    """What a run leaves."""

    records: list[Record] = field(default_factory=list)
    """Of the cells that are done, in the plan's order."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    reused: int = 0
    """Records the store had already."""
    damaged: list[str] = field(default_factory=list)
    """A sentence for every stored artefact that was found damaged and made again."""


@threads_kept()
def run(planned: Plan, workspace: Workspace, *, fresh: bool = False) -> Outcome:
    """Return the records of a plan's cells.

    Args:
        planned: What to do.
        workspace: Store, plugins, and who is told.
        fresh: Make everything again; what the store has is moved aside, not deleted.

    Raises:
        EnvironmentProblem: The store or the data stand in the way; what is finished is kept.
        DdbenchError: Every cell failed for one and the same known reason.
    """
    workspace.store.check_writable()
    session = open_session(planned, workspace, fresh=fresh)
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32; the matrix products' switch is off by default
    helpers = 0 if fresh else planned.helpers
    if helpers:
        plural = "helper process makes" if helpers == 1 else "helper processes make"
        workspace.reporter.note(f"{helpers} {plural} cells from the plan's end meanwhile; only this process's progress is shown")
    with helping(planned, workspace, count=helpers):
        done = _Done(session, planned)
        busy = [number for number in range(len(planned.cells)) if not done.make(number, wait=helpers == 0)]
        for number in busy:
            done.make(number, wait=True)
    outcome = done.outcome()
    _raise_if_all_failed_alike(outcome, list(done.errors.values()))
    return outcome


class _Done:
    """What is done of a plan so far, by the cell's number."""

    def __init__(self, session: Session, planned: Plan) -> None:
        self.session, self.planned = session, planned
        self.records: dict[int, Record] = {}
        self.errors: dict[int, Exception] = {}
        self.failures: dict[int, dict[str, Any]] = {}
        self.reused = 0
        self.remaining = Remaining(planned, is_made=self._is_made if planned.helpers else None)

    def make(self, number: int, *, wait: bool) -> bool:
        """Make a cell or keep why it failed; return False where another process is making it.

        Raises:
            EnvironmentProblem: The store or the data stand in the way of every cell.
        """
        one = self.planned.cells[number]
        self.session.renew("records", one.record_key)
        try:
            record = self.session.store.record(one.record_key)
            self.reused += record is not None and one.stored
            title = f"student {number + 1}/{len(self.planned.cells)}{self.remaining.text} {one.stage.title}"
            record = record or student_record(self.session, one.stage, title, wait=wait)
        except EnvironmentProblem:
            raise
        except Exception as error:  # noqa: BLE001 - one cell's failure is kept, and the others go on
            told = any(error is other for other in self.errors.values())
            self.errors[number] = error
            self.failures[number] = self._failure(one, error, told=told)
            self.remaining.made(number)
            return True
        if record is not None:
            self.records[number] = record
            self.remaining.made(number)
        return record is not None

    def _failure(self, one: PlannedCell, error: Exception, *, told: bool) -> dict[str, Any]:
        """Keep why a cell failed and say it, once for all students of a set that cannot be made."""
        content = failure_content(one.cell, one.record_key, problem_of(error))
        path = self.session.store.add_failure(one.record_key, content)
        if not told:
            others = "; nor can the set's other students be trained" if error in self.session.failed.values() else ""
            self.session.workspace.reporter.note(f"failed: {one.cell}: {type(error).__name__}: {error} (kept in {path}){others}")
        return content

    def _is_made(self, number: int) -> bool:
        return self.session.store.has_record(self.planned.cells[number].record_key)

    def outcome(self) -> Outcome:
        """Return records and failures in the plan's order."""
        return Outcome(
            [self.records[number] for number in sorted(self.records)],
            [self.failures[number] for number in sorted(self.failures)],
            self.reused,
            list(self.session.store.damaged),
        )


def _raise_if_all_failed_alike(outcome: Outcome, errors: list[Exception]) -> None:
    first = errors[0] if errors else None
    alike = {(type(error), str(error)) for error in errors}
    if isinstance(first, DdbenchError) and not outcome.records and len(alike) == 1:
        raise first
