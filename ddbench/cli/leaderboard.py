"""`ddbench leaderboard`: build the static site and the tables, serve them on loopback, check that what is kept is not stale."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddbench.cli import flags
from ddbench.cli.output import say, write, write_json

if TYPE_CHECKING:
    from ddbench.report.site.board import Board
    from ddbench.report.site.quarantine import Quarantined

MOST_SENTENCES = 20
"""About single records on stderr; the site's page has them all."""

SHOWN_FILES = 5

leaderboard = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Build, serve and check the leaderboard site.")

RecordsArgument = Annotated[
    list[Path], typer.Argument(metavar="RECORDS...", help="Record files, folders of them, or stores.", show_default=False)
]
OutFlag = Annotated[Path | None, typer.Option(metavar="DIR", help="The site's folder.")]
TableFlag = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="A Markdown page with markers between which the table is written. May be repeated."),
]
QuarantineFlag = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A list of further protocol versions whose records may not enter.")
]
CodeFlag = Annotated[flags.Code, typer.Option(help="Records made by edited files of one version: newest only, a row each, or any.")]


@leaderboard.command("build", no_args_is_help=True)
def build(  # noqa: PLR0913 - a parameter per flag
    records: RecordsArgument,
    *,
    out: OutFlag = None,
    table: TableFlag = None,
    quarantine: QuarantineFlag = None,
    code: CodeFlag = flags.Code.newest,
    json: flags.JsonFlag = False,
) -> None:
    """Build the static site from records; it opens from disk without a network.

    The same records give the same bytes. Smoke runs, damaged records and quarantined protocols are left out, and told.
    """
    from ddbench.report.site import markdown, pages, writing

    board, quarantined = _board(records, quarantine, code)
    folder = out or (None if table else Path("site"))
    for page in table or ():
        markdown.read_page(page)
    made = writing.write(pages.site(board, quarantined), folder) if folder else None
    filled = [str(page) for page in table or () if markdown.fill(page, board)]
    _tell_left_out(board)
    if json:
        sizes = {"files": made.files, "bytes": made.bytes, "changed": made.changed, "removed": made.removed} if made else {}
        write_json({**_answer(board), "out": str(folder) if folder else None, **sizes, "tables_changed": filled})
    elif made:
        say(f"{_summary(board)}; {made.files} files, {made.bytes / 1e6:.1f} MB, {made.changed} changed, {made.removed} removed")
        write(str(folder / writing.MARK) if folder else "")
    else:
        say(f"{_summary(board)}; {len(filled)} pages changed")


@leaderboard.command("check", no_args_is_help=True)
def check(  # noqa: PLR0913 - a parameter per flag
    records: RecordsArgument,
    *,
    out: OutFlag = None,
    table: TableFlag = None,
    quarantine: QuarantineFlag = None,
    code: CodeFlag = flags.Code.newest,
    json: flags.JsonFlag = False,
) -> None:
    """Fail where the site in --out or the table in --table is not what the records give."""
    from ddbench.errors import LeaderboardStale
    from ddbench.report.site import markdown, pages, writing

    board, quarantined = _board(records, quarantine, code)
    folder = out or (None if table else Path("site"))
    stale = writing.differences(pages.site(board, quarantined), folder) if folder else []
    texts = [(str(page), markdown.read_page(page)) for page in table or ()]
    tables = [name for name, text in texts if markdown.filled(text, board, name=name) != text]
    if json:
        write_json({**_answer(board), "stale_files": stale, "stale_tables": tables})
    if stale or tables:
        named = [*(f"{folder}/{name}" for name in stale), *tables]
        more = f" and {len(named) - SHOWN_FILES} more" if len(named) > SHOWN_FILES else ""
        raise LeaderboardStale(
            f"the leaderboard is stale: {', '.join(named[:SHOWN_FILES])}{more}; make it again with ddbench leaderboard build "
            "and the same arguments"
        )
    say(f"{_summary(board)}; up to date")


@leaderboard.command("serve")
def serve(
    site: Annotated[Path, typer.Argument(metavar="[SITE]", help="The site's folder.")] = Path("site"),
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
) -> None:
    """Show a site on this machine's loopback address until Ctrl-C."""
    from ddbench.report.site.serving import LOOPBACK, server

    with server(site, port) as running:
        write(f"http://{LOOPBACK}:{running.server_address[1]}/")
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            say("stopped")


def _board(records: list[Path], quarantine: Path | None, code: flags.Code) -> "tuple[Board, tuple[Quarantined, ...]]":
    from ddbench.report.site.admission import admit
    from ddbench.report.site.board import board
    from ddbench.report.site.quarantine import read_quarantine, shipped

    quarantined = (*shipped(), *(read_quarantine(quarantine) if quarantine else ()))
    return board(admit(records, quarantined), code.value), quarantined


def _tell_left_out(board: "Board") -> None:
    for one in board.left_out[:MOST_SENTENCES]:
        say(f"left out: {one.why}")
    if len(board.left_out) > MOST_SENTENCES:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(Counter(one.reason for one in board.left_out).items()))
        say(f"left out in all: {len(board.left_out)} ({reasons}); the site's page about.html has every one with its reason")


def _summary(board: "Board") -> str:
    lines = sum(len(ranking.lines) for ranking in board.rankings)
    return f"{lines} rows in {len(board.rankings)} rankings from {board.records} records"


def _answer(board: "Board") -> dict[str, Any]:
    return {
        "rows": sum(len(ranking.lines) for ranking in board.rankings),
        "rankings": len(board.rankings),
        "records": board.records,
        "left_out": [{"name": one.name, "reason": one.reason, "why": one.why} for one in board.left_out],
    }
