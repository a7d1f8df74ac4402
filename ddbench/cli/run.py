"""`ddbench run`: distil, train students, test them, and show the table."""

from typing import TYPE_CHECKING, Annotated

import typer

from ddbench.cli import flags
from ddbench.cli.answer import answer, executed, tell_failures, tell_plan
from ddbench.cli.output import tell_load_errors
from ddbench.cli.progress import shown_progress

if TYPE_CHECKING:
    from ddbench.cells import Request
    from ddbench.planning import Plan
    from ddbench.progress import Reporter
    from ddbench.settings import Settings
    from ddbench.workspace import Workspace


def run(  # noqa: PLR0913 - a parameter per flag
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Synthesizers; see: ddbench list synthesizers")],
    *,
    dataset: flags.DatasetFlag = "digits",
    ipc: Annotated[int | None, typer.Option(metavar="N", help="Images per class. Default: the dataset's.")] = None,
    students: flags.StudentsFlag = None,
    teacher: flags.TeacherFlag = None,
    protocol: flags.ProtocolFlag = None,
    distill_seeds: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Distilled sets per method; random has three at least.")
    ] = None,
    eval_seeds: flags.EvalSeedsFlag = None,
    option: flags.OptionFlag = None,
    preset: flags.PresetFlag = None,
    device: flags.DeviceFlag = "auto",
    precision: flags.PrecisionFlag = flags.Precision.auto,
    compile: flags.CompileFlag = flags.Compile.auto,  # noqa: A002
    threads: flags.ThreadsFlag = None,
    evaluators: flags.EvaluatorsFlag = None,
    max_label_bytes: flags.LabelBytesFlag = None,
    view_seed: flags.ViewSeedFlag = 0,
    smoke: flags.SmokeFlag = None,
    store: flags.StoreFlag = None,
    data_root: flags.DataRootFlag = None,
    plugins_dir: flags.PluginsDirFlag = None,
    offline: flags.OfflineFlag = False,
    dry_run: flags.DryRunFlag = False,
    fresh: flags.FreshFlag = False,
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
    request = flags.request(
        names,
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
        planned, workspace = _planned(request, settings, reporter, outline=dry_run)
        outcome = None if dry_run else executed(planned, workspace, fresh=fresh)
    if outcome is None:
        tell_plan(planned, fresh=fresh, as_json=json)
        return
    answer(outcome, planned, workspace.store, as_json=json)
    tell_failures(outcome, planned, workspace.store)


def _planned(request: "Request", settings: "Settings", reporter: "Reporter", *, outline: bool) -> "tuple[Plan, Workspace]":
    """Return the plan; wrong names are told before torch is imported. With `outline` the dataset need not be here."""
    from ddbench.workspace import open_workspace

    workspace = open_workspace(settings, reporter)
    tell_load_errors(workspace.plugins)
    for name in request.synthesizers:
        workspace.plugins.get("synthesizer", name)
    from ddbench.planning import Known, plan

    planned = plan(request, workspace, known=Known(workspace, outline=outline))
    for note in planned.notes:
        reporter.note(note)
    return planned, workspace
