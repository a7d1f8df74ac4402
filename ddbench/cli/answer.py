"""How a run answers: what it will do, the table it came to, where its files are, and what failed."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ddbench.cli.output import columns, console, say, write, write_json
from ddbench.progress import duration

if TYPE_CHECKING:
    from ddbench.planning import Plan
    from ddbench.records import Record
    from ddbench.report.tables import Table
    from ddbench.runner import Outcome
    from ddbench.store import Store
    from ddbench.workspace import Workspace


def executed(planned: "Plan", workspace: "Workspace", *, fresh: bool) -> "Outcome":
    """Return what a plan came to; what was found damaged is told."""
    from ddbench.runner import run as run_plan

    asked = afresh(planned) if fresh else planned
    count, stored = len(asked.cells), sum(one.stored for one in asked.cells)
    if stored < count:
        have = "all made again" if fresh else f"{stored} of them in the store"
        workspace.reporter.note(f"{count} cells, {have}; expected time: {duration(asked.expected_s)}")
    begun = time.monotonic()
    outcome = run_plan(planned, workspace, fresh=fresh)
    for sentence in (*(f"damaged: {one}" for one in outcome.damaged), *_otherwise(outcome, planned)):
        workspace.reporter.note(sentence)
    if made := len(outcome.records) - outcome.reused:
        took = duration(time.monotonic() - begun)
        workspace.reporter.note(f"{made} cells made in {took}, {outcome.reused} taken from the store")
    elif outcome.records:
        workspace.reporter.note(f"{outcome.reused} cells, all taken from the store; --fresh makes them again")
    return outcome


def afresh(planned: "Plan") -> "Plan":
    """Return a plan of which the store has nothing, as `--fresh` takes it."""
    cells = tuple(replace(one, stored=False) for one in planned.cells)
    stages = [replace(one, stored=False) for one in planned.stages if one.key]
    (students,) = (one for one in planned.stages if not one.key)
    expected_s = sum(one.expected_s for one in cells)
    stages.append(replace(students, title=f"{len(cells)} students", stored=False, expected_s=expected_s))
    return replace(planned, cells=cells, stages=tuple(stages))


def _otherwise(outcome: "Outcome", planned: "Plan") -> Iterator[str]:
    """Say where `--compile off` finds what was not computed so: kernels are no part of a key."""
    if planned.request.compile == "off":
        ways = [(record.precision.student, record.precision.recover) for record in outcome.records]
        count = sum(any(way.get("native") or way.get("compile") for way in both) for both in ways)
        if count:
            results = f"{count} of {len(ways)} results"
            yield f"{results}, or their sets, are from the store, computed compiled or with native layers; --fresh makes them anew"


def answer(outcome: "Outcome", planned: "Plan", store: "Store", *, as_json: bool) -> None:
    """Print the table, and where pictures and records are; or all of it as JSON."""
    from ddbench.cells import ALWAYS
    from ddbench.report.formats import as_json as tables_as_json
    from ddbench.report.formats import print_rich
    from ddbench.report.sidecars import Sidecars
    from ddbench.report.tables import summary

    sidecars = Sidecars({record.key: store.root / "records" / f"{record.key}.npz" for record in outcome.records})
    tables = summary(outcome.records, code="any", sidecars=sidecars)
    first = _first_records(outcome, planned)
    if as_json:
        write_json(_json(outcome, tables_as_json(tables), [_places(record, store) for record in first]))
        return
    _print(tables, console(), print_rich)
    others = sorted({one.name for record in outcome.records for one in record.metrics if one.evaluator.split()[0] not in ALWAYS})
    if others:
        write(f"measured besides: {', '.join(others)}; see one with: ddbench table --metric {others[0]}")
    for record in first:
        for name, value in list(_places(record, store).items())[len(first) == 1 :]:
            write(f"{f'{name}:':<9}{value}")


def _print(tables: "list[Table]", target: Any, print_rich: Any) -> None:
    if tables:
        print_rich(tables, target)


def _json(outcome: "Outcome", tables: list[dict[str, Any]], made: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "tables": tables,
        "records": [record.model_dump(mode="json") for record in outcome.records],
        "failures": outcome.failures,
        "reused": outcome.reused,
        "damaged": outcome.damaged,
        "made": made,
    }


def _first_records(outcome: "Outcome", planned: "Plan") -> "list[Record]":
    """Return the first record of every synthesizer that was asked for."""
    found: dict[str, Record] = {}
    for record in outcome.records:
        if record.cell.synthesizer in planned.request.synthesizers:
            found.setdefault(record.cell.synthesizer, record)
    return list(found.values())


def _places(record: "Record", store: "Store") -> dict[str, str]:
    """Return where a method's picture and record are, and the command that shows it again."""
    from ddbench.distilled import PREVIEW

    picture = store.root / "distilled" / record.distilled_key / PREVIEW
    where = "" if store.root == _usual_store() else f" --store {store.root}"
    return {
        "method": record.cell.synthesizer,
        "picture": str(picture),
        "record": str(store.root / "records" / f"{record.key}.json"),
        "again": f"ddbench show {record.key}{where}",
    }


def _usual_store() -> Path:
    from ddbench.settings import load_settings

    return load_settings().store


def tell_failures(outcome: "Outcome", planned: "Plan", store: "Store") -> None:
    """Say how many cells failed, if any did, and end with exit code 1."""
    if outcome.failures:
        failed = f"{len(outcome.failures)} of {len(planned.cells)} cells failed, kept in {store.root / 'failures'}"
        say(f"{failed}; the same command tries them again")
        raise typer.Exit(1)


def tell_plan(planned: "Plan", *, fresh: bool, as_json: bool) -> None:
    """Print what a run would do."""
    asked = afresh(planned) if fresh else planned
    write_json(asked.to_json()) if as_json else write(plan_text(asked))


def plan_text(planned: "Plan") -> str:
    """Return the cells, what the store has, and the expected time."""
    cells = [("method", "student", "distill seed", "eval seed", "why", "store")]
    for one in planned.cells:
        cell = one.cell
        have = "has it" if one.stored else "to be made"
        cells.append((cell.synthesizer, cell.student, str(cell.distill_seed), str(cell.eval_seed), cell.role, have))
    stages = [("stage", "store", "expected")]
    stages += [
        (one.title, "has it", "") if one.stored else (one.title, "to be made", duration(one.expected_s)) for one in planned.stages
    ]
    first = planned.cells[0].cell
    heading = f"{planned.request.dataset} · ipc {first.ipc} · {first.protocol} · {first.label_regime} · {planned.device}"
    return "\n".join([heading, "", columns(cells), "", columns(stages), "", f"expected time: {duration(planned.expected_s)}"])
