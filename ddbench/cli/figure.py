"""`ddbench figure`: pictures from records and what lies beside them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddbench.cli import flags
from ddbench.cli.output import say, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddbench.records import Record

KINDS = ("ipc", "bytes", "cost", "curves", "images", "tsne", "distance", "sweep", "heatmap", "walk")


def figure(  # noqa: PLR0913 - a parameter per flag
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"{', '.join(KINDS)}.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="By suffix .svg, .png or .pdf; without one SVG and PNG. Default: KIND."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Only this dataset.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Only this protocol.")] = None,
    ipc: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only this many images per class.")] = None,
    student: Annotated[str | None, typer.Option(metavar="NAME", help="Only this student.")] = None,
    method: Annotated[str | None, typer.Option(metavar="A,B", help="Only these synthesizers.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Only sets made with this option of their synthesizer. May be repeated.")
    ] = None,
    metric: Annotated[str, typer.Option(help="The metric drawn.")] = "top1",
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME", help="sweep: the axis; heatmap: twice, up and across.")
    ] = None,
    classes: Annotated[int, typer.Option(metavar="N", min=1, help="images, tsne, walk: the first so many classes.")] = 10,
    images: Annotated[int, typer.Option(metavar="N", min=1, help="images: of each class and method.")] = 5,
    records: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A folder of record files, besides the store. May be repeated.")
    ] = None,
    store: flags.StoreFlag = None,
    json: flags.JsonFlag = False,
) -> None:
    """Draw a figure from records: trade-offs, curves, images, t-SNE, distances, sweeps, walks.

    The protocol stands in the caption, and what may not share a table shares no axes. Equal records give equal files.
    """
    from ddbench.options import parse_assignments
    from ddbench.report.figures.choosing import Asked
    from ddbench.report.figures.kinds import kind_of
    from ddbench.report.figures.sidecars import Sidecars
    from ddbench.report.figures.style import save
    from ddbench.report.sources import load
    from ddbench.settings import load_settings
    from ddbench.store import Store

    drawn = kind_of(kind)
    where_kept = Store(load_settings(store=store).store)
    loaded = load(where_kept, records or ())
    for problem in loaded.problems:
        say(problem)
    wanted = {"dataset": dataset, "protocol": protocol, "ipc": ipc}
    found = [record for record in loaded.records if all(one in (None, getattr(record.cell, name)) for name, one in wanted.items())]
    found = _chosen(found, student, flags.split_names(method), parse_assignments(where or []))
    sidecars = Sidecars(where_kept, tuple(records or ()))
    asked = Asked(tuple(found), sidecars, metric, tuple(option or ()), classes, images)
    drawing = drawn.draw(asked)
    files = save(drawing, out or Path(kind)) if out or not json else []
    for file in files:
        say(f"written: {file}")
    if json:
        write_json({"kind": kind, "caption": drawing.caption, "files": [str(file) for file in files], "data": drawing.data})


def _chosen(records: "Sequence[Record]", student: str | None, methods: tuple[str, ...], where: dict[str, str]) -> "list[Record]":
    """Return the records of a student, by its full name or the last part, of some synthesizers, made with some options."""

    def fits(record: "Record") -> bool:
        cell, options = record.cell, record.options.get("synthesizer")
        values = options.values if options else {}
        named = student in {None, cell.student, cell.student.rpartition("/")[2]}
        is_control = cell.synthesizer == "random"
        made = is_control or all(name in values and _same(values[name], text) for name, text in where.items())
        return named and made and (not methods or cell.synthesizer in methods)

    return [record for record in records if fits(record)]


def _same(value: object, text: str) -> bool:
    """Return whether an option has the value that a text means: numbers are compared as numbers."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(text) == value
        except ValueError:
            return False
    return str(value).lower() == text.lower()
