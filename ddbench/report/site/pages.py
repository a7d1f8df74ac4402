"""The files of the site, one by one: the same board gives the same bytes. Every text of a record is escaped and cut."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ddbench.report.layout import Marks, bytes_text, change, score, seconds_text
from ddbench.report.site import charts, claims, details, downloads, pictures
from ddbench.report.site.board import by_method
from ddbench.report.site.command import reproduce
from ddbench.report.site.examples import Example, example
from ddbench.report.site.texts import Whole, cut

if TYPE_CHECKING:
    import jinja2
    import markupsafe

    from ddbench.report.site.board import Board, Line, Ranking
    from ddbench.report.site.quarantine import Quarantined

HERE = "ddbench.report.site"

ASSETS = ("tabulator.min.js", "tabulator.min.css", "tabulator-LICENSE.txt", "site.js", "site.css")

LINES_A_PAGE = 400
"""Of a method; a method with more has several pages."""

MOST_LEFT_OUT = 1000
"""Sentences about what was left out, on the page about the board; the rest is counted."""

LEVELS = (
    ("claimed", "○", "somebody states the number, such as a paper; nobody can recompute it from here"),
    ("submitted", "◔", "there is a record with every option and checksums; nobody else has repeated it"),
    ("verified", "◑", "the student was trained again from the same distilled set, and agreed"),
    ("reproduced", "●", "the set was distilled again too, and its students agreed"),
)


def site(board: Board, quarantine: Sequence[Quarantined] = ()) -> Iterator[tuple[str, bytes]]:
    """Give the path and the bytes of every file of the site."""
    for name in ASSETS:
        yield f"assets/{name}", files(HERE).joinpath("assets", name).read_bytes()
    stated = claims.stated(ranking.heading.dataset for ranking in board.rankings)
    beside = claims.beside(list({id(ranking.table): ranking.table for ranking in board.rankings}.values()))
    scripts = list(downloads.scripts(board, stated))
    tables = list(downloads.tables(board, stated))
    yield from scripts
    yield from tables
    methods = by_method(board.rankings)
    yield (
        "index.html",
        _page(
            "index.html",
            "",
            **_index(board, methods, [name for name, _ in scripts], [name for name, _ in tables]),
            claims=sum(len(group.claims) for group in stated),
        ),
    )
    yield "about.html", _page("about.html", "", **_about(board, quarantine))
    for name, lines in methods.items():
        yield from _method_pages(name, lines, claims.of_method(stated, name))
    shown: set[str] = set()
    for ranking, line in board.lines:
        found = pictures.beside(line.entries)
        for picture in found:
            if picture.name not in shown:
                shown.add(picture.name)
                yield picture.name, picture.content
        yield (
            downloads.row_page(line),
            _page(
                "row.html",
                "../",
                **_row(ranking, line, found),
                published=claims.compared(beside.get((id(line.row), ranking.student), ())),
            ),
        )


def _index(board: Board, methods: dict[str, Any], scripts: list[str], tables: list[str]) -> dict[str, Any]:
    counts = [(downloads.method_page(name), name, len(lines)) for name, lines in methods.items()]
    return {
        "board": board,
        "lines": sum(len(ranking.lines) for ranking in board.rankings),
        "datasets": len({ranking.heading.dataset for ranking in board.rankings}),
        "methods": counts,
        "scripts": scripts,
        "tables": tables,
        "levels": LEVELS,
    }


def _about(board: Board, quarantine: Sequence[Quarantined]) -> dict[str, Any]:
    reasons = Counter(one.reason for one in board.left_out)
    return {
        "board": board,
        "levels": LEVELS,
        "quarantine": quarantine,
        "reasons": sorted(reasons.items()),
        "left_out": board.left_out[:MOST_LEFT_OUT],
        "more": max(0, len(board.left_out) - MOST_LEFT_OUT),
    }


def _method_pages(name: str, lines: Sequence[tuple[Ranking, Line]], published: details.Facts) -> Iterator[tuple[str, bytes]]:
    parts = [lines[start : start + LINES_A_PAGE] for start in range(0, len(lines), LINES_A_PAGE)]
    whiskers = charts.differences(lines)
    verdicts = Counter(
        ranking.table.better(line.result.difference)
        for ranking, line in lines
        if line.result.difference is not None and not line.result.difference.why
    )
    for number, part in enumerate(parts, 1):
        content = {
            "name": name,
            "lines": [(ranking, line, _numbers(ranking, line), whiskers.get(line.id)) for ranking, line in part],
            "count": len(lines),
            "published": published,
            "verdicts": verdicts,
            "plugins": sorted(
                {(b.distribution, b.distribution_version, str(b.version)) for _, one in lines for b in _made_by(one)}
            ),
            "pages": [downloads.method_page(name, one + 1) for one in range(len(parts))] if len(parts) > 1 else [],
            "number": number,
            "whiskers_width": charts.WHISKERS,
        }
        yield downloads.method_page(name, number), _method_page(content, example(lines) if number == 1 else None)


def _method_page(content: dict[str, Any], shown: Example | None) -> bytes:
    """Return a page of a method, with its example where there is one and room for it."""
    if shown:
        close_up = {**_close_up(shown.line, shown.pictures), "machines": details.machines(shown.line)}
        page = _page("method.html", "../", **content, example=shown, page=downloads.row_page(shown.line), **close_up)
        if len(page) <= downloads.MOST_BYTES:
            return page
    return _page("method.html", "../", **content, example=None)


def _close_up(line: Line, found: Sequence[pictures.Picture]) -> dict[str, Any]:
    """Return what a line's own page and its method's page show of it."""
    return {
        "pictures": found,
        "curves": charts.curves(line.entries),
        "plot": (charts.WIDTH, charts.HEIGHT),
        "command": Whole(reproduce([entry.record for entry in line.entries])),
        "options": details.options(line),
    }


def _made_by(line: Line) -> list[Any]:
    return [block for entry in line.entries for block in entry.record.plugins if block.kind == "synthesizer"]


def _row(ranking: Ranking, line: Line, found: Sequence[pictures.Picture]) -> dict[str, Any]:
    return {
        "ranking": ranking,
        "line": line,
        "numbers": _numbers(ranking, line),
        **_close_up(line, found),
        "method_page": downloads.method_page(line.method),
        "scores": details.scores(line.entries),
        "others": [
            details.metrics(line),
            details.student(line),
            details.protocol(line.first),
            details.origin(line),
            details.cost(line),
            details.sizes(line),
            details.machines(line),
            details.plugins(line),
        ],
        "records": details.records(line),
        "checks": details.checks(line),
        "notes": ranking.table.notes,
    }


def _numbers(ranking: Ranking, line: Line) -> dict[str, Any]:
    """Return a line's numbers as texts."""
    result, difference = line.result, line.result.difference
    level = next(one for one in LEVELS if one[0] == line.level)
    return {
        "rank": result.place.text,
        "unranked": result.place.why,
        "tie_group": result.tie_group,
        "score": score(ranking.table, result, Marks()),
        "change": change(ranking.table, difference, Marks()) if difference else "",
        "better": ranking.table.better(difference) if difference else 0,
        "why": difference.why if difference else "",
        "n": downloads.seed_counts(result),
        "size": bytes_text(line.bytes),
        "seconds": seconds_text(line.row.seconds.get("recover")),
        "level": level,
        "page": downloads.row_page(line),
    }


def _page(template: str, up: str, **content: Any) -> bytes:
    """Return a page; `up` leads from it to the site's root."""
    return _environment().get_template(template).render(up=up, **content).encode()


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(HERE),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"fingerprint": _fingerprint(), "facts": _facts}
    return environment


@lru_cache(maxsize=1000)
def _facts(table: details.Facts) -> markupsafe.Markup:
    """Return a table of facts; many rows share a protocol, a machine, and the options of their method."""
    import markupsafe

    return markupsafe.Markup(_environment().get_template("facts.html").render(table=table))  # noqa: S704 - escaped by the template


def _shown(value: Any) -> Any:
    """Return what an expression of a template puts on a page: text is cut and loses its control characters."""
    return cut(value) if type(value) is str else value


def _fingerprint() -> str:
    """Return a hash of the assets, so that a browser does not mix old ones with new pages."""
    found = hashlib.sha256()
    for name in ASSETS:
        found.update(files(HERE).joinpath("assets", name).read_bytes())
    return found.hexdigest()[:8]
