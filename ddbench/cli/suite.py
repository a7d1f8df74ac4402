"""`ddbench suite`: plan, run and watch the many cells of a suite file."""

import sys
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddbench.cli import flags
from ddbench.cli.output import say, tell_load_errors, write, write_json
from ddbench.cli.progress import shown_progress

if TYPE_CHECKING:
    from ddbench.executors.local import Limits
    from ddbench.executors.opening import Machines
    from ddbench.planning import Known
    from ddbench.progress import Reporter
    from ddbench.settings import Settings
    from ddbench.suites.files import Suite
    from ddbench.suites.planning import Changes
    from ddbench.suites.prices import Priced
    from ddbench.suites.running import SuiteOutcome

suite = typer.Typer(no_args_is_help=True, help="Plan, run and watch the many cells of a suite file.")


class ExecutorName(StrEnum):
    """Where cells are made."""

    local = "local"
    ray = "ray"


File = Annotated[Path, typer.Argument(metavar="FILE", help="A suite: TOML that names many cells; see benchmarks/suites.")]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="A,B",
        help="Cells of these methods, datasets, students, protocols, or ipc=10; `*` is anything. Given twice, both must fit.",
    ),
]
Failed = Annotated[bool, typer.Option("--failed", help="Only cells that failed before and have no record.")]
Device = Annotated[str, typer.Option(help="auto, cpu, or a device torch knows.")]
Threads = Annotated[int | None, typer.Option(metavar="N", min=1, help="CPU threads of one cell.")]
Workers = Annotated[int | None, typer.Option(metavar="N", min=1, help="Processes at most. Default: what the machine bears.")]
PerDevice = Annotated[int, typer.Option(metavar="N", min=1, help="Cells side by side on one accelerator.")]
Smoke = Annotated[float | None, typer.Option(metavar="FRACTION", help="Shorten training; the records can enter no leaderboard.")]


@suite.command("plan", no_args_is_help=True)
def plan(  # noqa: PLR0913 - a parameter per flag
    file: File,
    *,
    only: Only = None,
    failed: Failed = False,
    cells: Annotated[bool, typer.Option("--cells", help="Name every cell instead of counting them.")] = False,
    device: Device = "auto",
    threads: Threads = None,
    workers: Workers = None,
    per_device: PerDevice = 1,
    smoke: Smoke = None,
    store: flags.StoreFlag = None,
    plugins_dir: flags.PluginsDirFlag = None,
    data_root: flags.DataRootFlag = None,
    json: flags.JsonFlag = False,
) -> None:
    """Print cells, what the store has of them, the stages they share, and the time and disk expected. Nothing is made."""
    with shown_progress() as reporter:
        known = _known(_settings(store, (data_root, plugins_dir), offline=True), reporter, outline=True)
        changes = _changes(device=device, threads=threads, smoke=smoke)
        with _machines(known, device, workers=workers, per_device=per_device) as machines:
            priced = _priced(_read(file), known, changes, machines, (only, failed, False))
    _show_plan(priced, cells=cells, as_json=json)


@suite.command("run", no_args_is_help=True)
def run(  # noqa: PLR0913 - a parameter per flag
    file: File,
    *,
    only: Only = None,
    failed: Failed = False,
    executor: Annotated[ExecutorName, typer.Option(help="Processes of this machine, or Ray tasks.")] = ExecutorName.local,
    workers: Workers = None,
    per_device: PerDevice = 1,
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster, or `auto`; without it Ray starts here.")] = None,
    max_time: Annotated[str | None, typer.Option(metavar="TIME", help="End after this, done or not: 45m, 2h, 1h30m.")] = None,
    time_limit: Annotated[str | None, typer.Option(metavar="TIME", help="Of one cell, or of one stage that cells share.")] = None,
    memory_limit: Annotated[str | None, typer.Option(metavar="SIZE", help="Of the same: 8G, 512M.")] = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going/--exit-first", "-k/-x", help="Whether a failure leaves the other cells running.")
    ] = True,
    device: Device = "auto",
    threads: Threads = None,
    smoke: Smoke = None,
    store: flags.StoreFlag = None,
    plugins_dir: flags.PluginsDirFlag = None,
    data_root: flags.DataRootFlag = None,
    offline: flags.OfflineFlag = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; make nothing.")] = False,
    json: flags.JsonFlag = False,
) -> None:
    """Make the records that a suite's cells lack, their controls included.

    What the store has is read, not made again. A failed cell is kept as a failure and the others go on; an interrupted
    run goes on with the same command.
    """
    read = _read(file)
    limits, rules = _limits(read, time_limit, memory_limit), _rules(max_time, keep_going=keep_going)
    changes = _changes(device=device, threads=threads, smoke=smoke)
    kind = "local" if dry_run and address is None else executor.value  # a dry run starts nothing
    asked = {"kind": kind, "workers": workers, "per_device": per_device, "address": address, "limits": limits}
    with shown_progress() as reporter:
        known = _known(_settings(store, (data_root, plugins_dir), offline=offline or dry_run), reporter, outline=dry_run)
        with _machines(known, device, **asked) as machines:
            priced = _priced(read, known, changes, machines, (only, failed, not dry_run))
            outcome = None if dry_run else _made(priced, known, machines, rules)
    if outcome is None:
        _show_plan(priced, cells=False, as_json=json)
        return
    _show_outcome(outcome, priced, as_json=json)
    if outcome.failures or outcome.unfinished or priced.planned.blocked:
        raise typer.Exit(1)


@suite.command("status", no_args_is_help=True)
def status(file: File, *, store: flags.StoreFlag = None, json: flags.JsonFlag = False) -> None:
    """Show how far a suite is that runs in another terminal, or how its last run ended."""
    from ddbench.cli.suite_text import status_text
    from ddbench.settings import load_settings
    from ddbench.suites.status import files_of, is_live, read_status

    name, root = _read(file).name, load_settings(store=store).store
    told = [content for content in map(read_status, files_of(root, name)) if content is not None]
    told = [{**content, "live": is_live(content)} for content in told]
    if json:
        write_json(told)
    elif told:
        write("\n\n".join(status_text(content) for content in told))
    else:
        say(f"suite {name} was not run in {root}; start it with: ddbench suite run {file}")


def _read(file: Path) -> "Suite":
    from ddbench.suites.files import read_suite

    return read_suite(file)


def _settings(store: Path | None, folders: tuple[list[Path] | None, list[Path] | None], *, offline: bool) -> "Settings":
    """Return the settings with data roots and folders of plugins as the command line names them."""
    from ddbench.settings import load_settings

    roots, dirs = folders
    return load_settings(store=store, data_roots=roots or (), plugin_dirs=dirs or (), offline=offline)


def _known(settings: "Settings", reporter: "Reporter", *, outline: bool) -> "Known":
    from ddbench.planning import Known
    from ddbench.workspace import open_workspace

    workspace = open_workspace(settings, reporter)
    tell_load_errors(workspace.plugins)
    return Known(workspace, outline=outline)


def _changes(**given: Any) -> "Changes":
    from ddbench.suites.planning import Changes

    return Changes(**given)


def _machines(known: "Known", device: str, **asked: Any) -> "AbstractContextManager[Machines]":
    from ddbench.executors.opening import Choice, machines

    return machines(Choice(**asked), known, device)


def _priced(
    read: "Suite", known: "Known", changes: "Changes", machines: "Machines", chosen: tuple[list[str] | None, bool, bool]
) -> "Priced":
    """Return the cells chosen by `--only` and `--failed`, priced; where records are to be `checked`, damaged ones are missing."""
    from ddbench.suites.planning import choose, forget_damaged, plan_suite
    from ddbench.suites.prices import priced

    only, failed, checked = chosen
    store = known.workspace.store
    planned = plan_suite(read, known.workspace, changes=changes, known=known)
    if checked:
        forget_damaged(planned, store)
    keys = choose(planned, only=only or (), failed=store.failure_keys() if failed else None)
    return priced(planned, keys, known, machines.budget(known.place(changes.device)))


def _limits(read: "Suite", time: str | None, memory: str | None) -> "Limits":
    """Return the limits of one cell: the command line's, else the file's."""
    from ddbench.executors.local import Limits
    from ddbench.suites.amounts import bytes_in, seconds_in

    time, memory = time or read.limits.time, memory or read.limits.memory
    return Limits(_amount(time, seconds_in, "--time-limit"), _amount(memory, bytes_in, "--memory-limit"))


def _rules(max_time: str | None, *, keep_going: bool) -> Any:
    from ddbench.executors.schedule import Rules
    from ddbench.suites.amounts import seconds_in

    return Rules(keep_going, _amount(max_time, seconds_in, "--max-time"))


def _amount(text: str | None, read: Any, flag: str) -> Any:
    from ddbench.errors import BadRequest

    try:
        return None if text is None else read(text)
    except ValueError as error:
        raise BadRequest(f"{flag}: {error}") from error


def _made(priced: "Priced", known: "Known", machines: "Machines", rules: Any) -> "SuiteOutcome":
    from ddbench.cli.suite_text import before_text
    from ddbench.suites.running import Run, run_suite
    from ddbench.suites.status import StatusFile

    planned, workspace = priced.planned, known.workspace
    for line in before_text(priced):
        workspace.reporter.note(line)
    workspace.store.check_writable()
    with machines.executor(priced.place, planned.task) as executor:
        expected = {key: price.seconds for key, price in priced.prices.items()}
        status = StatusFile(workspace.store, planned.suite.name, priced.missing, expected, planned.smoke)
        return run_suite(priced, workspace, Run(executor, status, rules))


def _show_plan(priced: "Priced", *, cells: bool, as_json: bool) -> None:
    from ddbench.cli.suite_text import plan_text

    if as_json:
        write_json(priced.to_json())
    else:
        write(plan_text(priced, cells=cells))


def _show_outcome(outcome: "SuiteOutcome", priced: "Priced", *, as_json: bool) -> None:
    from ddbench.cli.suite_text import outcome_lines

    if as_json:
        write_json({**outcome.to_json(), "blocked": [vars(one) for one in priced.planned.blocked]})
    for line in outcome_lines(outcome, priced, sys.argv[1:]):
        say(line)
