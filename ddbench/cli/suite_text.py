"""What `ddbench suite` says: the plan, how far a run is, and what it left."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.cli.output import columns
from ddbench.progress import duration

if TYPE_CHECKING:
    from ddbench.suites.planning import Blocked, SuiteCell
    from ddbench.suites.prices import Priced
    from ddbench.suites.running import SuiteOutcome

STAGES_SHOWN = 20
"""Shared stages named in a plan; the others are counted. JSON has all of them."""

CAUSES_SHOWN = 10


def plan_text(priced: "Priced", *, cells: bool) -> str:
    """Return the plan for a reader: cells by method and place, shared stages, what cannot be made yet, time and disk."""
    suite = priced.planned.suite
    parts = [f"{suite.name} · {suite.title}" if suite.title else suite.name, _heading(priced)]
    parts += [_each_cell(priced) if cells else _counted_cells(priced)]
    if priced.units:
        parts.append(_stages(priced))
    if priced.planned.blocked:
        parts.append("\n".join(["cannot be made yet:", *(f"  {line}" for line in _blocked(priced.planned.blocked))]))
    if priced.absent:
        parts.append(f"datasets that are not here, priced by their outline alone: {', '.join(_absent(priced))}")
    return "\n\n".join([*parts, _expected(priced)])


def before_text(priced: "Priced") -> Iterator[str]:
    """Give what a run says before it starts."""
    yield _heading(priced)
    for line in _blocked(priced.planned.blocked):
        yield f"left out: {line}"
    yield from priced.planned.notes
    if priced.lacking:
        yield _expected(priced)


def outcome_lines(outcome: "SuiteOutcome", priced: "Priced", command: Sequence[str]) -> Iterator[str]:
    """Give what a run says at its end: what it made, what took longest, why cells failed, and what to run next."""
    yield (
        f"{len(outcome.made)} records made, {outcome.reused} were there, {len(outcome.failures)} cells failed, "
        f"{outcome.unfinished} not come to"
    )
    if outcome.stopped:
        yield f"ended early: {outcome.stopped}"
    if outcome.slowest:
        yield f"slowest: {'; '.join(f'{title}, {duration(seconds)}' for title, seconds in outcome.slowest)}"
    yield from outcome.damaged
    causes = outcome.causes()
    for cause, count in causes[:CAUSES_SHOWN]:
        yield f"failed, {count} {'cell' if count == 1 else 'cells'}: {cause}"
    if len(causes) > CAUSES_SHOWN:
        yield f"and {len(causes) - CAUSES_SHOWN} other causes, all kept in the store's failures"
    for line in _blocked(priced.planned.blocked):
        yield f"left out: {line}"
    yield f"next: {_next(outcome, command)}"


def status_text(told: Mapping[str, Any]) -> str:
    """Return what a driver told last, for a reader."""
    cells, units, driver = told["cells"], told["units"], told["driver"]
    if told["live"]:
        how = f"running on {driver['host']} (process {driver['pid']}) for {duration(told['seconds'])}, last told {told['updated']}"
    elif told["state"] == "running":
        how = f"its driver on {driver['host']} (process {driver['pid']}) is gone; last told {told['updated']}: run it again"
    else:
        how = f"ended: {told['state']}, after {duration(told['seconds'])}, {told['updated']}"
    shortened = f" (training shortened to {told['smoke']:g} of itself)" if told.get("smoke") else ""
    lines = [
        f"{told['suite']}: {how}{shortened}",
        f"cells: {cells['made']} of {cells['wanted']} made, {cells['failed']} failed",
        f"stages: {units['done']} done, {units['running']} running, {units['waiting']} waiting, {units['failed']} failed",
    ]
    if told["live"]:
        lines += [f"work left: {duration(told['left_s'])}"]
        rows = [(one["title"], duration(one["seconds"]), _of(one["expected_s"])) for one in told["running"]]
        lines += [columns([("running", "for", "expected"), *rows], indent=2)] if rows else []
    lines += [f"failed: {one['title']}: {one['error']}: {one['message']}" for one in told["failures"][:CAUSES_SHOWN]]
    return "\n".join(lines)


def size(count: int) -> str:
    """Return bytes for a person: `12 kB`, `3.4 GB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def _of(seconds: float | None) -> str:
    return "" if not seconds else duration(seconds)


def _heading(priced: "Priced") -> str:
    chosen = [priced.planned.cells[key] for key in priced.chosen]
    stored = sum(one.stored for one in chosen)
    controls = sum(one.role == "control" for one in chosen)
    return f"{len(chosen)} cells ({controls} of them controls): {stored} stored, {len(chosen) - stored} missing"


def _expected(priced: "Priced") -> str:
    measured = sum(priced.prices[unit.key].measured for unit in priced.units)
    source = "by the table" if not measured else f"{measured} of {len(priced.units)} stages by what like ones took here"
    return (
        f"expected: {duration(priced.work_s)} of work, {duration(priced.wall_s)} with {priced.budget.workers} "
        f"{'worker' if priced.budget.workers == 1 else 'workers'} and {priced.budget.threads} threads; "
        f"{size(priced.bytes)} of disk ({source})"
    )


def _counted_cells(priced: "Priced") -> str:
    """Return a row for every method at every place, as the suite names them."""
    rows: dict[tuple[str, ...], list[SuiteCell]] = {}
    for key in priced.chosen:
        cell = priced.planned.cells[key]
        about = cell.cell
        name = cell.own or f"{about.synthesizer} (control)"
        rows.setdefault((name, about.facts.name, str(about.ipc), about.protocol), []).append(cell)
    head = ("method", "dataset", "ipc", "protocol", "cells", "stored", "missing")
    counts = [(*row, str(len(found)), *_stored(found)) for row, found in rows.items()]
    return columns([head, *counts])


def _stored(cells: "Sequence[SuiteCell]") -> tuple[str, str]:
    stored = sum(one.stored for one in cells)
    return str(stored), str(len(cells) - stored)


def _each_cell(priced: "Priced") -> str:
    rows = [("method", "dataset", "ipc", "student", "distill seed", "eval seed", "why", "store")]
    for key in priced.chosen:
        one, cell = priced.planned.cells[key], priced.planned.cells[key].cell
        have = "has it" if one.stored else "dataset not here" if one.outlined else "to be made"
        name = one.own or cell.synthesizer
        seeds = (str(cell.distill_seed), str(cell.eval_seed))
        rows.append((name, cell.facts.name, str(cell.ipc), cell.student, *seeds, one.role, have))
    return columns(rows)


def _stages(priced: "Priced") -> str:
    """Return the missing stages that cells share, those first that take longest, and the students together."""
    users = priced.planned.users(priced.units, priced.chosen)
    shared = sorted((unit for unit in priced.units if unit.folder != "records"), key=lambda unit: -priced.prices[unit.key].seconds)
    students = [unit for unit in priced.units if unit.folder == "records"]
    rows = [("stage to be made", "cells", "expected")]
    rows += [(unit.title, str(users[unit.key]), duration(priced.prices[unit.key].seconds)) for unit in shared[:STAGES_SHOWN]]
    if rest := shared[STAGES_SHOWN:]:
        rows.append((f"{len(rest)} more", "", duration(sum(priced.prices[unit.key].seconds for unit in rest))))
    total = duration(sum(priced.prices[unit.key].seconds for unit in students))
    return columns([*rows, (f"{len(students)} students", str(len(students)), total)])


def _blocked(blocked: "Sequence[Blocked]") -> Iterator[str]:
    """Give a line for every cause, with all the requests that it keeps from being made."""
    for why in dict.fromkeys(one.why for one in blocked):
        alike = [one for one in blocked if one.why == why]
        methods, datasets, ipcs = (
            dict.fromkeys(values) for values in zip(*((a.label, a.dataset, str(a.ipc)) for a in alike), strict=True)
        )
        yield f"{', '.join(methods)} on {', '.join(datasets)}, ipc {', '.join(ipcs)}: {why}"


def _absent(priced: "Priced") -> list[str]:
    cells = priced.planned.cells
    return sorted({cells[key].cell.facts.name for key in priced.chosen if cells[key].outlined})


def _next(outcome: "SuiteOutcome", command: Sequence[str]) -> str:
    """Return the command that goes on: the same one where something is left, the failed cells, or the table."""
    words = [word for word in command if word not in {"--failed", "--json"}]
    if outcome.unfinished:
        return f"ddbench {shlex.join(words)}"
    if outcome.failures:
        return f"ddbench {shlex.join([*words, '--failed'])}"
    file = next((word for word in words if Path(word).suffix == ".toml"), "FILE")
    return f"ddbench table --suite {shlex.quote(file)}"
