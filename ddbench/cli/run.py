"""`ddbench run`: distil, train students, test them, and show the table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddbench.cli import flags
from ddbench.cli.output import columns, console, duration, say, tell_load_errors, write, write_json
from ddbench.cli.progress import shown_progress

if TYPE_CHECKING:
    from ddbench.cells import Request
    from ddbench.planning import Plan
    from ddbench.progress import Reporter
    from ddbench.records import Record
    from ddbench.report.tables import Table
    from ddbench.runner import Outcome
    from ddbench.settings import Settings
    from ddbench.store import Store
    from ddbench.workspace import Workspace


def run(  # noqa: PLR0913 - a parameter per flag
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Synthesizers; see: ddbench list synthesizers")],
    *,
    dataset: Annotated[str, typer.Option(help="A dataset's name; see: ddbench list datasets")] = "digits",
    ipc: Annotated[int | None, typer.Option(metavar="N", help="Images per class. Default: the dataset's.")] = None,
    students: Annotated[str | None, typer.Option(metavar="A,B", help="Networks to train. Default: the dataset's.")] = None,
    teacher: Annotated[str | None, typer.Option(metavar="NAME", help="A network, a way (`pretrained`), or `way:network`.")] = None,
    protocol: Annotated[str | None, typer.Option(metavar="NAME", help="Recipe for students. Default: the dataset's.")] = None,
    distill_seeds: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Distilled sets per method; random has three at least.")
    ] = None,
    eval_seeds: Annotated[int | None, typer.Option(metavar="N", min=1, help="Students per distilled set.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "-o", "--option", metavar="K=V", help="An option: rho=0.015, dwa.rho=0.015, teacher.epochs=20. May be repeated."
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(metavar="NAME", help="A named recipe of the plugins, for example `cpu`.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, or a device torch knows.")] = "auto",
    precision: Annotated[
        flags.Precision, typer.Option(help="Arithmetic of convolutions and matrix products.")
    ] = flags.Precision.auto,
    compile: Annotated[flags.Compile, typer.Option(help="Compile where the work outlasts the compiling.")] = flags.Compile.auto,  # noqa: A002
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="CPU threads.")] = None,
    evaluators: Annotated[str | None, typer.Option(metavar="A,B", help="What is measured. Default: top1,storage.")] = None,
    max_label_bytes: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Refuse stored soft labels above this size.")
    ] = None,
    view_seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of stored labels' views (soft_epoch).")] = 0,
    smoke: Annotated[
        float | None, typer.Option(metavar="FRACTION", help="Shorten training; the records can enter no leaderboard.")
    ] = None,
    store: flags.StoreFlag = None,
    data_root: flags.DataRootFlag = None,
    plugins_dir: flags.PluginsDirFlag = None,
    offline: flags.OfflineFlag = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print cells, what the store has, and the expected time.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Make everything again; what was stored is moved aside.")] = False,
    json: flags.JsonFlag = False,
) -> None:
    """Distil, train students, test them, and compare with random images.

    Without flags it runs on `digits`, offline. What the store already has is read, not made again; an interrupted run
    goes on with the same command.
    """
    from ddbench.options import parse_assignments
    from ddbench.settings import load_settings

    dirs, roots = plugins_dir or (), data_root or ()
    settings = load_settings(
        store=store, data_roots=roots, plugin_dirs=dirs, offline=offline or dry_run
    )  # a dry run downloads nothing
    request = _request(
        synthesizers=tuple(names),
        dataset=dataset,
        ipc=ipc,
        students=flags.split_names(students),
        teacher=teacher,
        protocol=protocol,
        distill_seeds=distill_seeds,
        eval_seeds=eval_seeds,
        options=parse_assignments(option or []),
        preset=preset,
        device=device,
        precision=precision.value,
        compile=compile.value,
        threads=threads,
        evaluators=flags.split_names(evaluators),
        max_label_bytes=max_label_bytes,
        view_seed=view_seed,
        smoke=smoke,
    )
    with shown_progress() as reporter:
        planned, workspace = _planned(request, settings, reporter)
        outcome = None if dry_run else _executed(planned, workspace, fresh=fresh)
    if outcome is None:
        write_json(planned.to_json()) if json else write(_plan_text(planned))
        return
    _answer(outcome, planned, workspace.store, as_json=json)
    if outcome.failures:
        failed = f"{len(outcome.failures)} of {len(planned.cells)} cells failed, kept in {workspace.store.root / 'failures'}"
        say(f"{failed}; the same command tries them again")
        raise typer.Exit(1)


def _request(**fields: Any) -> "Request":
    """Return the request; what no flag names keeps the request's own default."""
    from ddbench.cells import Request

    return Request(**{name: value for name, value in fields.items() if value not in (None, ())})


def _planned(request: "Request", settings: "Settings", reporter: "Reporter") -> "tuple[Plan, Workspace]":
    """Return the plan; wrong names are told before torch is imported."""
    from ddbench.workspace import open_workspace

    workspace = open_workspace(settings, reporter)
    tell_load_errors(workspace.plugins)
    for name in request.synthesizers:
        workspace.plugins.get("synthesizer", name)
    from ddbench.planning import plan

    planned = plan(request, workspace)
    for note in planned.notes:
        reporter.note(note)
    return planned, workspace


def _executed(planned: "Plan", workspace: "Workspace", *, fresh: bool) -> "Outcome":
    from ddbench.runner import run as run_plan

    stored = sum(one.stored for one in planned.cells)
    if stored < len(planned.cells) and not fresh:
        expected = duration(planned.expected_s)
        workspace.reporter.note(f"{len(planned.cells)} cells, {stored} of them in the store; expected time: {expected}")
    outcome = run_plan(planned, workspace, fresh=fresh)
    for sentence in outcome.damaged:
        workspace.reporter.note(f"damaged: {sentence}")
    return outcome


def _answer(outcome: "Outcome", planned: "Plan", store: "Store", *, as_json: bool) -> None:
    from ddbench.report.formats import as_json as tables_as_json
    from ddbench.report.formats import print_rich
    from ddbench.report.tables import summary

    tables = summary(outcome.records, metric=_metric(planned.request.evaluators), code="any")
    first = _first_records(outcome, planned)
    if as_json:
        write_json(_json(outcome, tables_as_json(tables), [_places(record, store) for record in first]))
        return
    _print(tables, console(), print_rich)
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


def _metric(evaluators: tuple[str, ...]) -> str:
    """Return the metric of the table: top1 unless it was not evaluated."""
    return "top1" if "top1" in evaluators else evaluators[0]


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


def _plan_text(planned: "Plan") -> str:
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
