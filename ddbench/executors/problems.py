"""Why a unit failed, as a value that can be sent, kept and shown."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import ddbench
from ddbench.errors import StoreProblem, WorkerDiffers
from ddbench.executors.schedule import Problem

if TYPE_CHECKING:
    from ddbench.cells import Cell


def problem_of(error: BaseException) -> Problem:
    """Return an error as a problem; an unwritable store or a worker that is another is in the way of all."""
    name, told = type(error).__name__, "".join(traceback.format_exception(error))
    return Problem(name, str(error) or name, told, stops_all=isinstance(error, StoreProblem | WorkerDiffers))


def failure_content(cell: Cell, key: str, problem: Problem) -> dict[str, Any]:
    """Return what the store keeps of a cell that failed."""
    return {
        "cell": cell.coordinate(),
        "key": key,
        "error": problem.error,
        "message": problem.message,
        "traceback": problem.traceback,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "ddbench_version": ddbench.__version__,
    }
