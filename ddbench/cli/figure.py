"""`ddbench figure`: pictures from records and what lies beside them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddbench.cli import flags
from ddbench.cli.output import say, write_json
from ddbench.cli.table import chosen_records, no_such

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
        list[str] | None,
        typer.Option(metavar="K=V", help="Only sets made so, as labels name it, and random. May be repeated."),
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
    wanted = {"dataset": dataset, "protocol": protocol, "ipc": ipc, "student": student, "synthesizer": method}
    found = chosen_records(loaded.records, {name: value for name, value in wanted.items() if value is not None})
    methods = flags.split_names(method)
    found = _made_with([one for one in found if not methods or one.cell.synthesizer in methods], parse_assignments(where or []))
    sidecars = Sidecars(where_kept, tuple(records or ()))
    asked = Asked(tuple(found), sidecars, metric, tuple(option or ()), classes, images)
    drawing = drawn.draw(asked)
    files = save(drawing, out or Path(kind)) if out or not json else []
    for file in files:
        say(f"written: {file}")
    if json:
        write_json({"kind": kind, "caption": drawing.caption, "files": [str(file) for file in files], "data": drawing.data})


def _made_with(records: "Sequence[Record]", where: dict[str, str]) -> "list[Record]":
    """Return the records whose sets were made with some options, and the random control, which has none.

    Raises:
        BadRequest: No record has such an option, or such a value of it.
    """
    from ddbench.report.grouping import CONTROL

    kept = list(records)
    for name, text in where.items():
        options = {record.key: _options(record) for record in kept if record.cell.synthesizer != CONTROL}
        values = {key: made[name] for key, made in options.items() if name in made}
        fitting = {key for key, value in values.items() if _same(value, text)}
        if kept and not values:
            known = {key for made in options.values() for key in made}
            raise no_such("option", name, sorted({key for key in known if "." in name or "." not in key}) or ["none"])
        if kept and not fitting:
            raise no_such(name, text, sorted({str(value) for value in values.values()}))
        kept = [record for record in kept if record.cell.synthesizer == CONTROL or record.key in fitting]
    return kept


def _options(record: "Record") -> "dict[str, object]":
    """Return what a set was made with, by the names and in the texts of labels, numbers whole; of parts as `objective.network`."""
    from ddbench.report.grouping import variant_of

    found: dict[str, object] = dict(variant_of(record).settings)
    for part, block in record.options.items():
        made = {**block.texts, **{name: value for name, value in block.values.items() if _is_number(value)}}
        found |= {name if part == "synthesizer" else f"{part}.{name}": value for name, value in made.items()}
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(value: object, text: str) -> bool:
    """Return whether an option has the value that a text means: numbers are compared as numbers."""
    if isinstance(value, int | float):
        try:
            return float(text) == value
        except ValueError:
            return False
    return str(value).lower() == text.lower()
