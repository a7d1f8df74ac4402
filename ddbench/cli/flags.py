"""Flags that several commands share. Typer reads annotations at run time, so these files postpone none."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of text.")]

StoreFlag = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="Where results are kept. Else DDBENCH_STORE, ddbench.toml, your directory."),
]

DataRootFlag = Annotated[
    list[Path] | None,
    typer.Option(
        "--data-root", metavar="DIR", help="Folder of prepared datasets; may be repeated. Else DDBENCH_DATA, ddbench.toml."
    ),
]

PluginsDirFlag = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugins-dir", metavar="DIR", help="Folder of plugin files; may be repeated. Else DDBENCH_PLUGINS_DIR, ddbench.toml."
    ),
]

OfflineFlag = Annotated[bool, typer.Option("--offline", help="Never download anything.")]


class Precision(StrEnum):
    """How stages compute."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class Compile(StrEnum):
    """Whether stages are compiled."""

    auto = "auto"
    on = "on"
    off = "off"


class Format(StrEnum):
    """How tables are written."""

    rich = "rich"
    md = "md"
    csv = "csv"
    latex = "latex"
    json = "json"


class Code(StrEnum):
    """What is done with records of one version but of edited plugin files."""

    newest = "newest"
    each = "each"
    any = "any"


def split_names(text: str | None) -> tuple[str, ...]:
    """Return the names of a comma list, empty ones left out."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
