"""The board as data: script files for the page, since browsers fetch nothing from disk, and CSV and JSON to be downloaded."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ddbench.report.layout import Marks, bytes_text, change, score, seconds_text
from ddbench.report.site import claims
from ddbench.report.site.texts import cut, page_name

if TYPE_CHECKING:
    from ddbench.report.columns import Result
    from ddbench.report.published import Published
    from ddbench.report.site.board import Board, Line, Ranking
    from ddbench.report.site.claims import Stated

MOST_BYTES = 1_500_000
"""Of one file: well below the 2 MB that no page exceeds."""

SCRIPT_COLUMNS = (
    *("ranking", "url", "method", "level", "rank_from", "rank_to", "rank", "tie_group", "unranked"),
    *("top1", "low", "high", "score", "difference", "verdict", "change", "control", "n", "bytes", "size", "seconds", "time"),
)
"""What the page's table knows of a row."""

FORMULA = ("=", "+", "-", "@")
"""How text begins that a spreadsheet would run."""

Row = dict[str, Any]


def scripts(board: Board, stated: Sequence[Stated] = ()) -> Iterator[tuple[str, bytes]]:
    """Give the script files that hold the table, in the order in which the page must load them.

    A file calls `ddbench.add("rankings", [...])` or `ddbench.add("rows", [...])`; rows are lists in the order of `columns`, which
    the first file sets.
    """
    rows = [_script_row(number, ranking, line) for number, ranking in enumerate(board.rankings) for line in ranking.lines]
    methods = {line.method for _, line in board.lines}
    rows += [
        _script_claim(number, one, methods) for number, group in enumerate(stated, len(board.rankings)) for one in group.claims
    ]
    heads = [json.dumps(head) for head in (*map(_script_ranking, board.rankings), *map(_script_stated, stated))]
    start = f'"use strict";\nddbench.columns = {json.dumps(SCRIPT_COLUMNS)};\n'
    files = [*_calls("rankings", heads), *_calls("rows", [json.dumps([row[name] for name in SCRIPT_COLUMNS]) for row in rows])] or [
        ""
    ]
    for number, text in enumerate(files, 1):
        content = (start if number == 1 else '"use strict";\n') + text
        yield f"data/board-{number}.js", content.replace("<", "\\u003c").encode("ascii")


def tables(board: Board, stated: Sequence[Stated] = ()) -> Iterator[tuple[str, bytes]]:
    """Give every row as CSV and as JSON, each in as many files as keep them small."""
    rows = [flat_row(ranking, line) for ranking, line in board.lines]
    rows += [_flat_claim(group, one, rows[0]) for group in stated for one in group.claims]
    for number, part in enumerate(_parts([json.dumps(row, ensure_ascii=False) for row in rows]) or [[]], 1):
        yield f"data/leaderboard-{number}.json", ("[\n" + ",\n".join(part) + "\n]\n").encode()
    header = list(rows[0]) if rows else ["method"]
    for number, part in enumerate(_parts([_csv_line(row.values()) for row in rows]) or [[]], 1):
        yield f"data/leaderboard-{number}.csv", (_csv_line(header) + "".join(part)).encode()


def flat_row(ranking: Ranking, line: Line) -> Row:
    """Return a line with everything that says what it is; scores in percent, to four decimals."""
    heading, result = ranking.heading, line.result
    low, high = result.estimate.interval or (None, None)
    difference = result.difference
    against = (difference.interval if difference else None) or (None, None)
    rank = result.rank or (None, None)
    return {
        "method": cut(line.label),
        "dataset": cut(heading.dataset),
        "ipc": heading.ipc,
        "protocol": cut(heading.protocol),
        "label_regime": heading.label_regime,
        "student": cut(line.first.cell.student),
        "teacher": cut(heading.teacher) or None,
        "level": line.level,
        "rank_from": rank[0],
        "rank_to": rank[1],
        "ranked": ranking.ranked,
        "tie_group": result.tie_group,
        "unranked_because": result.place.why or None,
        "top1_percent": percent(result.estimate.value),
        "low_percent": percent(low),
        "high_percent": percent(high),
        "given_one_set": result.estimate.given_one_set,
        "same_architecture": result.same_architecture,
        "difference_to_random_percent": percent(difference.value if difference else None),
        "difference_low_percent": percent(against[0]),
        "difference_high_percent": percent(against[1]),
        "verdict": ranking.table.better(difference) if difference else None,
        "no_verdict_because": difference.why or None if difference else None,
        "sets": result.estimate.sets,
        "students": result.estimate.students,
        "bytes": round(line.bytes),
        "recover_seconds": _digits(line.row.seconds.get("recover")),
        "page": row_page(line),
        "source": None,
    }


def _flat_claim(group: Stated, claim: Published, keys: Iterable[str]) -> Row:
    """Return a published number with what is known of it; everything else is empty."""
    known: Row = {
        "method": claim.method,
        "dataset": group.dataset,
        "ipc": group.ipc,
        "protocol": f"as published: {group.recipe}",
        "label_regime": group.label_regime,
        "student": group.student,
        "level": claims.LEVEL,
        "unranked_because": claims.WHY,
        "top1_percent": percent(claim.value),
        "source": claim.source,
    }
    return {**dict.fromkeys(keys), **known}


def _script_stated(group: Stated) -> Row:
    return {
        "id": "",
        "dataset": group.dataset,
        "ipc": group.ipc or "any",
        "protocol": f"as published: {group.recipe}",
        "labels": group.label_regime,
        "student": group.student.rpartition("/")[2],
        "teacher": "",
        "ranked": 0,
        "control": None,
        "claimed": True,
    }


def _script_claim(number: int, claim: Published, with_page: Container[str]) -> Row:
    known: Row = {
        "ranking": number,
        "url": method_page(claim.method) if claim.method in with_page else "",
        "method": claim.method,
        "level": claims.LEVEL,
        "rank": "",
        "unranked": f"{claims.WHY}: {claim.source}",
        "top1": percent(claim.value),
        "score": claims.text(claim),
        "verdict": 0,
        "change": "",
        "control": False,
        "n": "",
        "size": "",
        "time": "",
    }
    return {name: known.get(name) for name in SCRIPT_COLUMNS}


def _script_ranking(ranking: Ranking) -> Row:
    """Return what the page needs to know of a ranking."""
    heading = ranking.heading
    return {
        "id": ranking.id,
        "dataset": cut(heading.dataset),
        "ipc": heading.ipc,
        "protocol": cut(heading.protocol),
        "labels": heading.label_regime,
        "student": cut(ranking.student),
        "teacher": cut(heading.teacher),
        "ranked": ranking.ranked,
        "control": percent(ranking.control),
        "claimed": False,
    }


def row_page(line: Line) -> str:
    """Return where a line's own page is."""
    return f"row/{line.id}.html"


def method_page(name: str, number: int = 1) -> str:
    """Return where a page of a method is."""
    return f"method/{page_name(name)}{f'-{number}' if number > 1 else ''}.html"


def seed_counts(result: Result) -> str:
    """Return `3 × 5`: three distilled sets with five students each."""
    per_set = sorted({len(seeds) for seeds in result.scores.values()})
    return f"{result.estimate.sets} × {'–'.join(str(count) for count in per_set)}"


def percent(value: float | None) -> float | None:
    """Return a fraction as percent, to four decimals: the same on every machine."""
    return None if value is None else round(100 * value, 4) + 0.0


def _script_row(number: int, ranking: Ranking, line: Line) -> Row:
    """Return a line as the page's table needs it, in the order of `SCRIPT_COLUMNS`."""
    result = line.result
    low, high = result.estimate.interval or (None, None)
    difference = result.difference
    rank = result.rank or (None, None)
    seconds = line.row.seconds.get("recover")
    return {
        "ranking": number,
        "url": row_page(line),
        "method": cut(line.label),
        "level": line.level,
        "rank_from": rank[0],
        "rank_to": rank[1],
        "rank": result.place.text,
        "tie_group": result.tie_group,
        "unranked": result.place.why,
        "top1": percent(result.estimate.value),
        "low": percent(low),
        "high": percent(high),
        "score": score(ranking.table, result, Marks()),
        "difference": percent(difference.value if difference else None),
        "verdict": ranking.table.better(difference) if difference else 0,
        "change": change(ranking.table, difference, Marks()) if difference else "",
        "control": line.row.control,
        "n": seed_counts(result),
        "bytes": round(line.bytes),
        "size": bytes_text(line.bytes),
        "seconds": _digits(seconds),
        "time": seconds_text(seconds),
    }


def _digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _calls(kind: str, items: Sequence[str]) -> list[str]:
    return [f'ddbench.add("{kind}", [\n' + ",\n".join(part) + "\n]);\n" for part in _parts(items)]


def _parts(items: Sequence[str]) -> list[list[str]]:
    """Return items in parts of at most `MOST_BYTES`."""
    parts: list[list[str]] = []
    size = MOST_BYTES
    for item in items:
        grown = size + len(item.encode()) + 2
        if grown > MOST_BYTES:
            parts.append([])
            grown = len(item.encode()) + 2
        parts[-1].append(item)
        size = grown
    return parts


def _csv_line(values: Iterable[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([_csv_cell(value) for value in values])
    return out.getvalue()


def _csv_cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
