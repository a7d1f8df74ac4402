"""`ddbench table`: the tables of the store's records, in any format."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddbench.cli import flags
from ddbench.cli.output import console, say, write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ddbench.records import Record
    from ddbench.report.sheets import Sheet
    from ddbench.report.tables import Table

TYPING = 0.84
"""How alike two names are of which one is a slip of the other, and not another name."""

SUFFIXES = {".md": "md", ".csv": "csv", ".tex": "latex", ".json": "json"}


def table(  # noqa: PLR0913 - a parameter per flag
    *,
    dataset: Annotated[str | None, typer.Option(help="Only this dataset.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Only this protocol.")] = None,
    ipc: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only this many images per class.")] = None,
    methods: Annotated[str | None, typer.Option(metavar="A,B", help="Only these methods, and random.")] = None,
    students: Annotated[str | None, typer.Option(metavar="A,B", help="Only these students: convnet3, ddbench/convnet3.")] = None,
    suite: Annotated[Path | None, typer.Option(metavar="FILE", help="Only the cells of a suite that was run.")] = None,
    format: Annotated[flags.Format | None, typer.Option(help="Default: rich, or what the suffix of --out says.")] = None,  # noqa: A002
    metric: Annotated[str, typer.Option(help="The metric shown.")] = "top1",
    records: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A folder of record files, besides the store. May be repeated.")
    ] = None,
    code: Annotated[
        flags.Code, typer.Option(help="Records made by edited files of one version: newest only, a row each, or any.")
    ] = (flags.Code.newest),
    by: Annotated[flags.By, typer.Option(help="What the columns are; along ipcs and datasets, a table for each student.")] = (
        flags.By.student
    ),
    published: Annotated[bool, typer.Option("--published", help="Published numbers beside the measured ones.")] = False,
    robustness: Annotated[bool, typer.Option("--robustness", help="Label and augmentation robustness over protocols.")] = False,
    pairs: Annotated[bool, typer.Option("--pairs", help="Every two methods of a column, and whether they are told apart.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there instead of stdout.")] = None,
    store: flags.StoreFlag = None,
    json: flags.JsonFlag = False,
) -> None:
    """Show methods × students with intervals and the difference to random.

    Every dataset, ipc, protocol, label regime and resolution has a table of its own.
    """
    from ddbench.errors import BadRequest
    from ddbench.report.axes import along
    from ddbench.report.levels import with_levels
    from ddbench.report.sources import load
    from ddbench.report.tables import summary
    from ddbench.settings import load_settings
    from ddbench.store import Store

    if by is not flags.By.student and (published or robustness or pairs):
        raise BadRequest("--by goes with tables alone; --published, --robustness and --pairs have columns of their own")
    if robustness and metric != "top1":
        raise BadRequest("--robustness is of top1; leave --metric out")
    where = Store(load_settings(store=store).store)
    loaded = load(where, records or ())
    for problem in loaded.problems:
        say(problem)
    names = _of_suite(suite, where.root)
    ours = [record for record in loaded.records if names is None or record.key in names]
    wanted = {"dataset": dataset, "protocol": protocol, "ipc": ipc, "synthesizer": methods, "student": students}
    chosen = chosen_records(ours, {name: value for name, value in wanted.items() if value is not None})
    _refuse_metric(metric, chosen)
    levels = {key: standing.level for key, standing in loaded.standings.items()}
    tables = summary(chosen, metric=metric, code=code.value, sidecars=loaded.sidecars, names=names)
    if not tables:
        say(_nothing(where.root, loaded.records, chosen, metric))
    views = _views(tables, published=published, robustness=robustness, pairs=pairs)
    shown: Sequence[Table | Sheet] = views or [with_levels(one, levels) for one in along(tables, by.value)]
    form = "json" if json else format.value if format else SUFFIXES.get(out.suffix if out else "", "rich")
    _write(shown, form, out)


def _views(tables: "Sequence[Table]", *, published: bool, robustness: bool, pairs: bool) -> "list[Sheet]":
    """Return the views asked for, to be shown instead of the tables they are computed from; none of those with nothing to say."""
    from ddbench.report.pairs import pair_sheets
    from ddbench.report.published import published_sheet
    from ddbench.report.robustness_sheet import robustness_sheets

    sheets: list[Sheet] = []
    if published and tables:
        sheet = published_sheet(tables)
        if sheet is None:
            say("no record matches a published number by method, dataset, ipc, student and protocol: here is what was measured")
        else:
            sheets.append(sheet)
    sheets += robustness_sheets(tables) if robustness and tables else []
    found = pair_sheets(tables) if pairs else []
    if pairs and tables and not found:
        say("no column ranks two methods, so that there are no pairs: here is what was measured")
    return sheets + found


def _of_suite(suite: Path | None, root: Path) -> "dict[str, str] | None":
    """Return what a suite calls the methods of its cells, by record key, as it was last run into the store; None without one."""
    if suite is None:
        return None
    from ddbench.suites.contents import cells_of
    from ddbench.suites.files import read_suite

    return cells_of(root, read_suite(suite).name)


def chosen_records(records: "Sequence[Record]", wanted: "Mapping[str, str | int]") -> "list[Record]":
    """Return the records that fit; of methods, `random` is kept as well, which others are compared with.

    Args:
        records: Of the store and of folders.
        wanted: By field of the cell: a value, or several of `synthesizer` and `student` with commas between them.

    Raises:
        BadRequest: No record has such a value.
    """
    from ddbench.report.grouping import CONTROL

    for name, value in wanted.items():
        parts = flags.split_names(value) if isinstance(value, str) else (value,)
        known = {alias for record in records for alias in _aliases(record, name)}
        unknown = [part for part in parts if part not in known]
        if records and unknown:
            raise no_such(name, unknown[0], sorted({getattr(record.cell, name) for record in records}, key=str))
        kept = {*parts, *([CONTROL] if name == "synthesizer" else [])}
        records = [record for record in records if kept & _aliases(record, name)]
    return list(records)


def _aliases(record: "Record", name: str) -> set[str | int]:
    """Return what a value of the record's cell may be called: of a student, its name without its family too."""
    value: str | int = getattr(record.cell, name)
    return {value, value.rpartition("/")[2]} if name == "student" and isinstance(value, str) else {value}


def no_such(name: str, value: str | int, known: "Sequence[str | int]") -> Exception:
    """Return the error for a value that no record has: the nearest that is there, and all that are."""
    from difflib import get_close_matches

    from ddbench.errors import BadRequest

    near = get_close_matches(str(value), [str(one) for one in known], n=1, cutoff=TYPING)
    hint = f"did you mean {near[0]!r}? " if near else ""
    what = "method" if name == "synthesizer" else name
    return BadRequest(f"no record has {what} {str(value)!r}; {hint}the records have: {', '.join(map(str, known))}")


def _refuse_metric(metric: str, records: "Sequence[Record]") -> None:
    """Do nothing where some record has the metric, or there are no records.

    Raises:
        UnknownName: None has it.
    """
    from ddbench.errors import UnknownName

    known = {one.name for record in records for one in record.metrics}
    if records and metric not in known:
        raise UnknownName("metric", metric, known, see="ddbench list evaluators")


def _nothing(store: Path, records: "Sequence[Record]", chosen: "Sequence[Record]", metric: str) -> str:
    """Return the sentence for an empty table."""
    if not records:
        return f"no records in {store}; make some with: ddbench run dwa"
    if not chosen:
        return "no record has all of that; see what there is: ddbench store list records"
    return f"no table could be made of {metric!r}"


def _write(tables: "Sequence[Table | Sheet]", form: str, out: Path | None) -> None:
    from ddbench.report.formats import print_rich, render

    if form != "rich":
        text = render(tables, form)
    elif out is None:
        print_rich(tables, console())
        return
    else:
        text = _plain(tables)
    if out is None:
        write(text)
    else:
        _save(out, text)


def _plain(tables: "Sequence[Table | Sheet]") -> str:
    """Return what the terminal would show, without colours."""
    from io import StringIO

    from rich.console import Console

    from ddbench.cli.output import PIPED_WIDTH
    from ddbench.report.formats import print_rich

    target = StringIO()
    print_rich(tables, Console(file=target, width=PIPED_WIDTH, highlight=False))
    return target.getvalue()


def _save(out: Path, text: str) -> None:
    from ddbench.errors import EnvironmentProblem

    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise EnvironmentProblem(f"{out} cannot be written ({error.strerror}); name another file with --out") from error
    say(f"written: {out}")
