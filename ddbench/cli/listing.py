"""`ddbench list`: what plugins offer, one line each, or one thing in full."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddbench.cli import flags
from ddbench.cli.output import columns, tell_load_errors, write, write_json

if TYPE_CHECKING:
    from ddbench.plugins import Plugins
    from ddbench.settings import Settings

KINDS = (
    "synthesizers",
    "teachers",
    "datasets",
    "networks",
    "protocols",
    "evaluators",
    "priors",
    "objectives",
    "selectors",
    "plugins",
)

SYNONYMS = {"students": "networks", "methods": "synthesizers"}
"""What is said for a kind as well."""

Row = dict[str, Any]


def list_things(  # noqa: PLR0913 - a parameter per flag
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"{', '.join(KINDS)}.")],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One of them in full; of networks, a part of the name.")
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Networks: every family's, timm's too.")] = False,
    data_root: flags.DataRootFlag = None,
    plugins_dir: flags.PluginsDirFlag = None,
    json: flags.JsonFlag = False,
) -> None:
    """List what plugins offer; with NAME, its options, defaults and bounds."""
    from ddbench.errors import UnknownName
    from ddbench.plugins import plugins_of
    from ddbench.settings import load_settings

    kind = SYNONYMS.get(kind, kind)
    if kind not in KINDS:
        raise UnknownName("kind", kind, [*KINDS, *SYNONYMS], see="ddbench list --help")
    settings = load_settings(data_roots=data_root or (), plugin_dirs=plugins_dir or ())
    plugins = plugins_of(settings)
    rows = _rows(kind, name, everything=everything, settings=settings, plugins=plugins)
    if kind != "plugins":
        tell_load_errors(plugins)
    if json:
        write_json(rows)
    elif isinstance(rows, dict):
        write(_detail_text(rows))
    elif kind == "networks":
        write(_networks_text(rows, whole=everything or name is not None))
    else:
        write(columns([(row["name"], row["description"]) for row in rows]))


def _rows(kind: str, name: str | None, *, everything: bool, settings: "Settings", plugins: "Plugins") -> list[Row] | Row:
    """Return a kind's things, or one of them."""
    from ddbench.cli import describe

    if kind == "networks":
        return describe.networks(plugins, name, everything=everything)
    if kind == "plugins":
        return describe.plugins_found(plugins)
    if kind == "datasets":
        return describe.datasets(plugins, settings) if name is None else describe.dataset(plugins, settings, name)
    if name is not None:
        return describe.one(plugins, kind.removesuffix("s"), name)
    return describe.several(plugins, kind.removesuffix("s"))


def _networks_text(rows: list[Row], *, whole: bool) -> str:
    """Return one full name per line, or the families with the names that cost nothing to list."""
    if whole:
        return "\n".join(f"{row['name']}/{name}" for row in rows for name in row["networks"])
    names = {
        row["name"]: ", ".join(row["networks"]) if row["networks"] else "Names: --all, or NAME for a part of one." for row in rows
    }
    return columns([line for row in rows for line in ((row["name"], row["description"]), ("", names[row["name"]]))])


def _detail_text(row: Row) -> str:
    from ddbench.cli import parts
    from ddbench.cli.describe import options_lines

    blocks = [f"{row['kind']} {row['name']}", row["about"]]
    blocks.append(columns([(name, str(value)) for name, value in row["facts"].items() if value not in (None, "")], indent=2))
    if row["options"]:
        blocks.append(f"options (-o {row['flag']}NAME=VALUE)\n{columns(options_lines(row['options']), indent=2)}")
    if row["works_with"]:
        blocks.append(f"works with, unless options say otherwise\n{columns(list(parts.lines(row['works_with'])), indent=2)}")
    blocks += [
        f"{need['role']} (-o {need['flag']}NAME=VALUE)\n{columns(options_lines(need['takes']), indent=2)}"
        for need in row["works_with"]
        if "takes" in need
    ]
    for preset in row["presets"]:
        values = [(name, f"{one['value']}", str(one["source"])) for name, one in preset["options"].items()]
        blocks.append(f"preset {preset['name']}: {preset['title']}\n{columns(values, indent=2)}")
    return "\n\n".join(block for block in blocks if block.strip())
