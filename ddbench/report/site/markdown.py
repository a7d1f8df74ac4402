"""The board as Markdown between the markers of a page: whole rankings, or a digest of one line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ddbench.errors import BadRequest, DataMissing, EnvironmentProblem
from ddbench.report.formats import markdown_text
from ddbench.report.layout import Marks, bytes_text, change, score
from ddbench.report.site.downloads import seed_counts

if TYPE_CHECKING:
    from ddbench.report.site.board import Board, Line, Ranking

WHOLE, DIGEST = "leaderboard", "leaderboard-digest"
"""Names of the markers: `<!-- leaderboard:begin -->` and `<!-- leaderboard:end -->`."""

KEY = (
    "±: half a 95 % interval; ¹ given one distilled set; † student and teacher have the same architecture. rank: the places that "
    "the data can't tell apart. Δ random: difference to as many random images, trained on in the same way, with its 95 % interval; "
    "▲ better, ▼ worse. n: distilled sets × students of each."
)


def filled(page: str, board: Board, *, name: str) -> str:
    """Return a page's text with everything between its markers made anew.

    Raises:
        BadRequest: The page has no pair of markers, or one of them twice.
    """
    found = 0
    for marker, text in ((WHOLE, whole), (DIGEST, digest)):
        begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
        if (page.count(begin), page.count(end)) not in {(0, 0), (1, 1)} or page.find(begin) > page.find(end):
            raise BadRequest(f"{name} needs {begin} once, and {end} once after it")
        if begin in page:
            found += 1
            before, _, rest = page.partition(begin)
            page = f"{before}{begin}\n\n{text(board)}\n\n{end}{rest.partition(end)[2]}"
    if not found:
        raise BadRequest(f"{name} has no place for the table; put <!-- {WHOLE}:begin --> and <!-- {WHOLE}:end --> there")
    return page


def read_page(path: Path) -> str:
    """Return a page's text.

    Raises:
        DataMissing: It cannot be read.
    """
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataMissing(f"no page at {path} to write the table into: {error}") from error


def fill(path: Path, board: Board) -> bool:
    """Write the board between a page's markers; return whether that changed it.

    Raises:
        DataMissing: The page cannot be read.
        BadRequest: It has no markers.
        EnvironmentProblem: It cannot be written.
    """
    before = read_page(path)
    after = filled(before, board, name=str(path))
    if before == after:
        return False
    try:
        path.write_text(after, "utf-8")
    except OSError as error:
        raise EnvironmentProblem(f"{path} cannot be written ({error.strerror})") from error
    return True


def whole(board: Board) -> str:
    """Return a table for every ranking that has something to compare; rankings of one row share the last table."""
    parts = [_ranking(ranking) for ranking in board.rankings if len(ranking.lines) > 1]
    alone = [ranking for ranking in board.rankings if len(ranking.lines) == 1]
    if alone:
        parts.append("\n".join(["**Nothing to compare with yet**", "", *_table(("ranking", *HEADERS[1:]), map(_alone, alone))]))
    return "\n\n".join([*parts, KEY]) if parts else "No row yet."


def digest(board: Board) -> str:
    """Return a row for every ranking of two or more: who shares the first place, and by how much the best beats random."""
    rows = [_leaders(ranking) for ranking in board.rankings if ranking.ranked > 1]
    headers = ("dataset", "ipc", "protocol", "student", "methods", "first, or tied with the first", "best mean", "its Δ random")
    return "\n".join([*_table(headers, rows), "", KEY]) if rows else "No ranking yet."


HEADERS = ("rank", "method", "top1 %", "Δ random", "n", "bytes", "level")

BRIEF = 60
"""Characters of a row's label in the digest."""

NAMED = 4
"""Rows in the first place that the digest names; where there are more, the page about the board has them."""


def _ranking(ranking: Ranking) -> str:
    return "\n".join(
        [f"**{markdown_text(ranking.title)}**", "", *_table(HEADERS, (_cells(ranking, line) for line in ranking.lines))]
    )


def _alone(ranking: Ranking) -> tuple[str, ...]:
    return (ranking.title, *_cells(ranking, ranking.lines[0])[1:])


def _cells(ranking: Ranking, line: Line) -> tuple[str, ...]:
    result = line.result
    return (
        result.place.text or "–",
        line.label,
        score(ranking.table, result, Marks()),
        change(ranking.table, result.difference, Marks()) if result.difference else "",
        seed_counts(result),
        bytes_text(line.bytes),
        line.level,
    )


def _leaders(ranking: Ranking) -> tuple[str, ...]:
    first = [line for line in ranking.lines if line.result.tie_group == 1]
    best = max(first, key=lambda line: line.result.estimate.value)
    difference = best.result.difference
    return (
        ranking.heading.dataset,
        str(ranking.heading.ipc),
        ranking.heading.protocol,
        ranking.student,
        str(ranking.ranked),
        ", ".join(brief(line.label) for line in first) if len(first) <= NAMED else f"{len(first)} rows",
        f"{brief(best.label)}: {score(ranking.table, best.result, Marks())}",
        change(ranking.table, difference, Marks()) if difference else "the control itself",
    )


def brief(label: str) -> str:
    """Return a row's label with as many of its options as fit; the page about the board has them all."""
    if len(label) <= BRIEF:
        return label
    words = label.split(" ")
    kept = [word for place, word in enumerate(words) if len(" ".join(words[: place + 1])) < BRIEF]
    return f"{' '.join(kept or words[:1])} …"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [headers, ["---"] * len(headers)]
    return [f"| {' | '.join(cells)} |" for cells in (*lines, *([markdown_text(cell) for cell in row] for row in rows))]
