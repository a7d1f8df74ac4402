"""Runs a suite: makes what its cells lack, keeps why a cell failed, and says at the end what took long and what to do next."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ddbench.errors import EnvironmentProblem, StoreProblem
from ddbench.executors.problems import failure_content
from ddbench.executors.schedule import Ended, Executor, Problem, Rules, State, failed_with, run_units
from ddbench.suites.contents import keep_cells

if TYPE_CHECKING:
    from ddbench.executors.units import Unit
    from ddbench.progress import StageProgress
    from ddbench.suites.planning import SuitePlan
    from ddbench.suites.prices import Priced
    from ddbench.suites.status import StatusFile
    from ddbench.workspace import Workspace

SLOWEST = 5
"""Units that are named at the end for having taken longest."""


@dataclass
class SuiteOutcome:
    """What a run of a suite leaves."""

    made: list[str] = field(default_factory=list)
    """Keys of the records that are new."""
    reused: int = 0
    """Records that the store had already."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    unfinished: int = 0
    """Cells that were not come to."""
    slowest: list[tuple[str, float]] = field(default_factory=list)
    """Titles and seconds of the units that took longest."""
    stopped: str | None = None
    """Why the run ended early."""
    damaged: list[str] = field(default_factory=list)

    def causes(self) -> list[tuple[str, int]]:
        """Return why cells failed, each cause once with how many cells it took, the largest first."""
        return Counter(f"{one['error']}: {one['message']}" for one in self.failures).most_common()

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        return vars(self) | {"slowest": [{"title": title, "seconds": seconds} for title, seconds in self.slowest]}


@dataclass
class Run:
    """How a suite is run."""

    executor: Executor
    """Where units are made."""
    status: StatusFile
    """Told how far it is; it says at the end how the run ended, also where it was interrupted."""
    rules: Rules
    """When it ends before everything is done."""


def run_suite(asked: Priced, workspace: Workspace, run: Run) -> SuiteOutcome:
    """Return what became of a suite's chosen cells; those whose dataset is not here are not come to.

    Raises:
        EnvironmentProblem: The store cannot be written, or workers are not what this process is; what was finished is kept.
    """
    workspace.store.check_writable()
    planned = asked.planned
    keep_cells(workspace.store, planned.suite.name, planned.names())
    with workspace.reporter.stage(f"suite {planned.suite.name}") as shown:
        watcher = _Told(planned, workspace, (run.status, shown))
        try:
            state = run_units(asked.lacking, run.executor, rules=run.rules, watcher=watcher)
        except BaseException:
            with suppress(StoreProblem):
                run.status.write(watcher.state or State({}), "interrupted")
            raise
    in_the_way = next((problem for problem in state.failed.values() if problem.stops_all), None)
    if in_the_way is not None:
        with suppress(StoreProblem):
            run.status.write(state, in_the_way.message)
        raise EnvironmentProblem(in_the_way.message)
    run.status.write(state, state.stopped or "done")
    return _outcome(asked, state, watcher)


def _outcome(asked: Priced, state: State, watcher: _Told) -> SuiteOutcome:
    planned = asked.planned
    cells = [key for key in asked.chosen if not planned.cells[key].stored]
    made = [key for key in cells if key in state.done]
    longest = sorted(state.done.items(), key=lambda item: -item[1])[:SLOWEST]
    return SuiteOutcome(
        made=made,
        reused=len(asked.chosen) - len(cells),
        failures=watcher.failures,
        unfinished=len(cells) - len(made) - len(watcher.failures),
        slowest=[(planned.units[key].title, seconds) for key, seconds in longest],
        stopped=state.stopped,
        damaged=list(watcher.workspace.store.damaged),
    )


class _Told:
    """Passes on what happens: to the status file, to whoever watches, and failures to the store."""

    def __init__(self, planned: SuitePlan, workspace: Workspace, told: tuple[StatusFile, StageProgress]) -> None:
        self.planned, self.workspace = planned, workspace
        self.status, self.shown = told
        self.failures: list[dict[str, Any]] = []
        self.state: State | None = None

    def started(self, unit: Unit, state: State) -> None:
        self.state = state
        self.status.started(unit, state)

    def ended(self, unit: Unit, ended: Ended, state: State) -> None:
        if ended.problem is not None and not ended.problem.stops_all:
            self._keep(unit, ended.problem, state)
        self.status.ended(unit, ended, state)
        self.shown.update(len(state.done), len(state.units), **({"failed": float(len(state.failed))} if state.failed else {}))

    def looked(self, state: State) -> None:
        self.state = state
        self.status.looked(state)

    def _keep(self, unit: Unit, problem: Problem, state: State) -> None:
        """Keep a failure for every cell that cannot be had now, and tell it once."""
        known = {failure["key"] for failure in self.failures}
        lost = [key for key, unit in state.units.items() if unit.folder == "records" and key not in known]
        for key, (cause, why) in failed_with(state, lost).items():
            if cause == unit.key:
                told = why if key == cause else Problem(why.error, f"{unit.title}: {why.message}", why.traceback)
                content = failure_content(self.planned.cells[key].cell, key, told)
                self.workspace.store.add_failure(key, content)
                self.failures.append(content)
        self.workspace.reporter.note(f"failed: {unit.title}: {problem.error}: {problem.message}")
