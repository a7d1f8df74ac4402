"""`ddbench plugin`: begin a plugin, and check one."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ddbench.cli import flags
from ddbench.cli.output import tell_load_errors, write, write_json

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
