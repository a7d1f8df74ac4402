"""Why a unit failed, as a value that can be sent, kept and shown."""

from __future__ import annotations

import traceback

from ddbench.errors import StoreProblem
from ddbench.executors.schedule import Problem


def problem_of(error: BaseException) -> Problem:
    """Return an error as a problem; a store that cannot be written is in the way of the other units as well."""
    name, told = type(error).__name__, "".join(traceback.format_exception(error))
    return Problem(name, str(error) or name, told, stops_all=isinstance(error, StoreProblem))
