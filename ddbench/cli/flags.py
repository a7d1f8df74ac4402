"""Flags that several commands share. Typer reads annotations at run time, so these files postpone none."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ddbench.cells import Request

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


DatasetFlag = Annotated[str, typer.Option("--dataset", help="A dataset's name; see: ddbench list datasets")]

StudentsFlag = Annotated[str | None, typer.Option("--students", metavar="A,B", help="Networks to train. Default: the dataset's.")]

TeacherFlag = Annotated[
    str | None, typer.Option("--teacher", metavar="NAME", help="A network, a way (`pretrained`), or `way:network`.")
]

ProtocolFlag = Annotated[
    str | None, typer.Option("--protocol", metavar="NAME", help="Recipe for students. Default: the dataset's.")
]

EvalSeedsFlag = Annotated[int | None, typer.Option("--eval-seeds", metavar="N", min=1, help="Students per distilled set.")]

OptionFlag = Annotated[
    list[str] | None,
    typer.Option("-o", "--option", metavar="K=V", help="An option: rho=0.015, dwa.rho=0.015, teacher.epochs=20. May be repeated."),
]

PresetFlag = Annotated[
    str | None, typer.Option("--preset", metavar="NAME", help="A named recipe of the plugins, for example `cpu`.")
]

DeviceFlag = Annotated[str, typer.Option("--device", help="auto, cpu, or a device torch knows.")]

PrecisionFlag = Annotated[Precision, typer.Option("--precision", help="Arithmetic of convolutions and matrix products.")]

CompileFlag = Annotated[
    Compile, typer.Option("--compile", help="Compile where the work outlasts the compiling; off leaves everything to torch.")
]

ThreadsFlag = Annotated[int | None, typer.Option("--threads", metavar="N", min=1, help="CPU threads.")]

EvaluatorsFlag = Annotated[
    str | None, typer.Option("--evaluators", metavar="A,B", help="What is measured besides top1 and storage.")
]

LabelBytesFlag = Annotated[
    int | None, typer.Option("--max-label-bytes", metavar="N", min=1, help="Refuse stored soft labels above this size.")
]

ViewSeedFlag = Annotated[int, typer.Option("--view-seed", metavar="N", min=0, help="Seed of stored labels' views (soft_epoch).")]

SmokeFlag = Annotated[
    float | None,
    typer.Option("--smoke", metavar="FRACTION", help="Shorten training; the records can enter no leaderboard."),
]

DryRunFlag = Annotated[bool, typer.Option("--dry-run", help="Print cells, what the store has, and the expected time.")]

FreshFlag = Annotated[bool, typer.Option("--fresh", help="Make everything again; what was stored is moved aside.")]


class Format(StrEnum):
    """How tables are written."""

    rich = "rich"
    md = "md"
    csv = "csv"
    latex = "latex"
    json = "json"


class By(StrEnum):
    """What a table's columns are."""

    student = "student"
    ipc = "ipc"
    dataset = "dataset"


class Code(StrEnum):
    """What is done with records of one version but of edited plugin files."""

    newest = "newest"
    each = "each"
    any = "any"


def split_names(text: str | None) -> tuple[str, ...]:
    """Return the names of a comma list, empty ones left out."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def request(synthesizers: Sequence[str], **fields: Any) -> "Request":
    """Return the request that flags make; what no flag names keeps the request's own default."""
    from ddbench.cells import Request

    return Request(tuple(synthesizers), **{name: value for name, value in fields.items() if value not in (None, ())})
