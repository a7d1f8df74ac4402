"""Runs a plan: reuses what the store has, makes the rest, keeps why a cell failed."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

import ddbench
from ddbench.cells import Cell, Request
from ddbench.data import HeldSplit, TestSplit
from ddbench.errors import DdbenchError, EnvironmentProblem
from ddbench.making import Session
from ddbench.planning import Plan, PlannedCell, PlannedStage, pick_device, plan
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
    outcome, errors = Outcome(), list[Exception]()
    torch.set_num_threads(planned.threads)
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32; the matrix products' switch is off by default
    for number, one in enumerate(planned.cells):
        if fresh:
            workspace.store.replace("records", one.record_key)
        record = workspace.store.record(one.record_key)
        if record is not None:
            outcome.reused += 1
            outcome.records.append(record)
            continue
        try:
            outcome.records.append(student_record(session, one.stage, (number + 1, len(planned.cells))))
        except EnvironmentProblem:
            raise
        except Exception as error:  # noqa: BLE001 - one cell's failure is kept, and the others go on
            errors.append(error)
            outcome.failures.append(_failure(session, one, error))
    outcome.damaged = list(workspace.store.damaged)
    _raise_if_all_failed_alike(outcome, errors)
    return outcome


def open_session(planned: Plan, workspace: Workspace, *, fresh: bool = False) -> Session:
    """Return a session with the train split at hand and the test split locked."""
    train = HeldSplit(planned.data, device=planned.device)
    test = TestSplit(planned.data, device=planned.device, locked=True)
    return Session(workspace, planned.data, train, test, planned.device, planned.threads, fresh)


def _failure(session: Session, planned: PlannedCell, error: Exception) -> dict[str, Any]:
    content = {
        "cell": planned.cell.coordinate(),
        "key": planned.record_key,
        "error": type(error).__name__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "ddbench_version": ddbench.__version__,
    }
    path = session.store.add_failure(planned.record_key, content)
    session.workspace.reporter.note(f"failed: {planned.cell}: {type(error).__name__}: {error} (kept in {path})")
    return content


def _raise_if_all_failed_alike(outcome: Outcome, errors: list[Exception]) -> None:
    first = errors[0] if errors else None
    alike = {(type(error), str(error)) for error in errors}
    if isinstance(first, DdbenchError) and not outcome.records and len(alike) == 1:
        raise first
