"""Why a unit failed, as a value that can be sent, kept and shown."""

from __future__ import annotations

import traceback

from ddbench.errors import StoreProblem, WorkerDiffers
from ddbench.executors.schedule import Problem


def problem_of(error: BaseException) -> Problem:
    """Return an error as a problem; an unwritable store or a worker that is another is in the way of all."""
    name, told = type(error).__name__, "".join(traceback.format_exception(error))
    return Problem(name, str(error) or name, told, stops_all=isinstance(error, StoreProblem | WorkerDiffers))
