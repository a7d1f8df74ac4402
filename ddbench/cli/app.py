"""The root of the command line and its one error boundary."""

import errno
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from typer.core import TyperGroup

import ddbench
from ddbench.cli.data import data
from ddbench.cli.doctor import doctor
from ddbench.cli.evaluate import evaluate
from ddbench.cli.export import export
from ddbench.cli.figure import figure
from ddbench.cli.leaderboard import leaderboard
from ddbench.cli.listing import list_things
from ddbench.cli.output import say
from ddbench.cli.plugin import plugin
from ddbench.cli.run import run
from ddbench.cli.show import show
from ddbench.cli.store import store
from ddbench.cli.suite import suite
from ddbench.cli.table import table
from ddbench.cli.verify import submit, verify
from ddbench.errors import DdbenchError

INTERRUPTED = 130
ENVIRONMENT = 3
NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


class Root(TyperGroup):
    """The group of all commands; what they raise ends here."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override] # typer's context, vendored or click's own
        with boundary():
            return super().invoke(ctx)


def _what_now(given: Sequence[str]) -> str:
    """Return what an interrupted command leaves, and how to go on."""
    if "--fresh" in given:
        return "what was finished is kept, and what was not reached is as it was. With --fresh the same command begins anew"
    return f"what was finished is kept. The same command goes on from there: ddbench {shlex.join(given)}"


@contextmanager
def boundary() -> Iterator[None]:
    """Turn a known error into one sentence on stderr and its exit code; an unknown one keeps its traceback."""
    try:
        yield
    except DdbenchError as error:
        say(f"error: {error}")
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as stop:
        say(f"interrupted; {_what_now(sys.argv[1:])}")
        raise typer.Exit(INTERRUPTED) from stop
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        where = f" ({error.filename})" if error.filename else ""
        say(f"error: no space left on the device{where}; free some, then run the same command again: what was finished is kept")
        raise typer.Exit(ENVIRONMENT) from error


app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich help would double the time of --help
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run", no_args_is_help=True)(run)
app.add_typer(suite, name="suite")
app.command("table")(table)
app.command("figure", no_args_is_help=True)(figure)
app.add_typer(leaderboard, name="leaderboard")
app.command("evaluate", no_args_is_help=True)(evaluate)
app.command("export", no_args_is_help=True)(export)
app.command("verify", no_args_is_help=True)(verify)
app.command("submit", no_args_is_help=True)(submit)
app.command("show", no_args_is_help=True)(show)
app.command("list", no_args_is_help=True)(list_things)
app.add_typer(plugin, name="plugin")
app.add_typer(data, name="data")
app.add_typer(store, name="store")
app.command("doctor")(doctor)


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer's callback
    if value:
        typer.echo(f"ddbench {ddbench.__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Compare dataset-distillation methods on equal terms.

    First steps: `ddbench run dwa` needs no network and no data. `ddbench list synthesizers` names the methods.

    Exit codes: 0 done, 1 a cell or a check failed, 2 the command was wrong, 3 the environment or data was, 130 interrupted.
    """


def main() -> None:
    """Run the command line; characters a terminal cannot show become `?` instead of an error, and SIGTERM is an interrupt."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app(prog_name="ddbench")
