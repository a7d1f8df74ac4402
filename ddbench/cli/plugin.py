"""`ddbench plugin`: begin a plugin, and check one."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddbench.cli import flags
from ddbench.cli.output import columns, tell_load_errors, write, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddbench.testing.checking import Finding

plugin = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Begin a plugin, and check what it promises.")


class Kind(StrEnum):
    """What a new plugin registers."""

    synthesizer = "synthesizer"
    teacher = "teacher"
    evaluator = "evaluator"
    dataset = "dataset"
    prior = "prior"
    objective = "objective"
    selector = "selector"
    network = "network"
    protocol = "protocol"


@plugin.command("new", no_args_is_help=True)
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the thing is called, for example blend.")],
    *,
    kind: Annotated[Kind, typer.Option(help="What it is.")] = Kind.synthesizer,
    into: Annotated[Path | None, typer.Option("--into", metavar="DIR", help="Where its folder is made. Default: here.")] = None,
    plugins_dir: flags.PluginsDirFlag = None,
    json: flags.JsonFlag = False,
) -> None:
    """Write a small project that can be installed, runs at once, and inherits the conformance kit."""
    from ddbench.authoring.names import names_for
    from ddbench.authoring.project import run_command, write_project
    from ddbench.plugins import plugins_of
    from ddbench.settings import load_settings

    plugins = plugins_of(load_settings(plugin_dirs=plugins_dir or ()))
    tell_load_errors(plugins)
    names = names_for(name, kind.value, plugins)
    folder = write_project(names, into or Path())
    written = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if json:
        write_json({"name": name, "kind": kind.value, "folder": str(folder.resolve()), "files": written, "run": run_command(names)})
        return
    write("\n".join([f"{folder}", *(f"  {path}" for path in written), "", "Now:"]))
    write(f"  cd {folder}\n  pip install -e '.[test]'\n  pytest\n  ddbench plugin check {name}\n  {run_command(names)}")


@plugin.command("check", no_args_is_help=True)
def check(  # noqa: PLR0913 - a parameter per flag
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a thing, or of a plugin, for all that it registers.")],
    *,
    kind: Annotated[Kind | None, typer.Option(help="What it is, where several things have the name.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("-o", "--option", metavar="K=V", help="An option it is checked with: iterations=5. May be repeated."),
    ] = None,
    declare: Annotated[
        list[str] | None,
        typer.Option("--declare", metavar="K=V", help="What its own tests declare: seeded=false, nested=true. May be repeated."),
    ] = None,
    only: Annotated[str, typer.Option(metavar="TEXT", help="Only checks whose sentence holds this.")] = "",
    plugins_dir: flags.PluginsDirFlag = None,
    json: flags.JsonFlag = False,
) -> None:
    """Check what a plugin promises, by the conformance kit of its kind, on toy images.

    Every problem is told with what to do. It exits with 1 where there is one.
    """
    from ddbench.authoring.check import Wanted
    from ddbench.authoring.check import check as all_checks
    from ddbench.options import parse_assignments
    from ddbench.plugins import plugins_of
    from ddbench.settings import load_settings

    plugins = plugins_of(load_settings(plugin_dirs=plugins_dir or ()))
    given, declared = (parse_assignments(texts or []) for texts in (option, declare))
    found = all_checks(Wanted(name, kind.value if kind else None, given, declared, only), plugins)
    problems = [one for one in found if one.status == "problem"]
    if json:
        write_json({"name": name, "checks": [asdict(one) for one in found], "problems": len(problems)})
    else:
        write(report(found))
    if problems:
        raise typer.Exit(1)


def report(found: "Sequence[Finding]") -> str:
    """Return what the checks came to as text: a line each, then problems and notes with what to do, then the count."""
    marks = {"ok": "ok", "problem": "PROBLEM", "skipped": "skipped", "note": "note"}
    blocks = []
    for thing in dict.fromkeys(one.thing for one in found):
        rows = [(marks[one.status], one.check, _seconds(one.seconds)) for one in found if one.thing == thing]
        blocks.append(f"{thing}\n{columns(rows, indent=2)}")
    told = [one for one in found if one.status in {"problem", "note"}]
    alike = {_alike(one): [other for other in told if _alike(other) == _alike(one)] for one in told}
    blocks += [_told(several) for several in alike.values()]
    counts = {status: sum(one.status == status for one in found) for status in marks}
    blocks.append(", ".join(f"{count} {status}" for status, count in counts.items() if count))
    return "\n\n".join(blocks)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 0.05 else ""


def _alike(one: "Finding") -> tuple[str, ...]:
    """Return what findings have in common that are told once: checks may meet one error in one place."""
    return one.status, one.thing, one.message, one.where, one.advice


def _told(several: "Sequence[Finding]") -> str:
    one, more = several[0], len(several) - 1
    which = one.check if not more else f"{one.check}; and {more} more check{'s' if more > 1 else ''} met the same"
    lines = [f"{one.status.upper()} {one.thing}: {which}", f"  {one.message}"]
    lines += [f"  at {one.where}"] if one.where else []
    return "\n".join([*lines, f"  What to do: {one.advice}"])
