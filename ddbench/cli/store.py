"""`ddbench store`: what the store holds, and what can go."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddbench.cli import flags
from ddbench.cli.output import columns, say, write, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ddbench.cli.garbage import Garbage
    from ddbench.records import Record
    from ddbench.store import Store

store = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="See what the store holds, and clear what can go.")

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@store.command("list")
def list_store(
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="records, distilled, teachers, labels or failures: one line each.")
    ] = None,
    *,
    store: flags.StoreFlag = None,
    json: flags.JsonFlag = False,
) -> None:
    """List how much there is of each kind, or every entry of one kind."""
    from ddbench.settings import load_settings
    from ddbench.store import Store

    where = Store(load_settings(store=store).store)
    rows = _entries(where, kind) if kind else _kinds(where)
    for sentence in where.damaged:
        say(sentence)
    if json:
        write_json({"store": str(where.root), "kind": kind, "entries": rows})
        return
    say(f"store {where.root}")
    write(columns([tuple(_cell(name, value) for name, value in row.items()) for row in rows]))


@store.command("gc")
def collect(
    *,
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Only what was last touched longer ago: 12h, 7d.")] = "7d",
    unreferenced: Annotated[
        bool, typer.Option("--unreferenced", help="Also what no record needs, and what was made again.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this nothing is removed.")] = False,
    store: flags.StoreFlag = None,
    json: flags.JsonFlag = False,
) -> None:
    """Show, and with --yes remove, what killed or finished runs left: work folders, temporary files, locks nobody holds."""
    from ddbench.cli.garbage import find_garbage, remove
    from ddbench.settings import load_settings
    from ddbench.store import Store

    where = Store(load_settings(store=store).store)
    found = find_garbage(where, older_than_s=age_s(older_than), unreferenced=unreferenced)
    removed = remove(where, found) if yes else []
    if json:
        shown = [{"kind": one.kind, "path": str(one.path), "bytes": one.bytes, "removed": one in removed} for one in found]
        write_json({"store": str(where.root), "found": shown, "bytes": sum(one.bytes for one in found)})
        return
    _tell(found, removed, yes=yes)


def age_s(text: str) -> float:
    """Return seconds from `90s`, `30m`, `12h` or `7d`.

    Raises:
        BadRequest: It is not of that form.
    """
    from ddbench.errors import BadRequest

    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None:
        raise BadRequest(f"--older-than {text!r} is no age; give a number with s, m, h or d, for example 12h or 7d")
    return float(match[1]) * UNITS[match[2]]


def _kinds(where: "Store") -> list[dict[str, object]]:
    """Return count and bytes of every folder of the store."""
    from ddbench.cli.garbage import size_bytes

    folders = sorted(path for path in where.root.iterdir() if path.is_dir()) if where.root.is_dir() else []
    return [{"kind": folder.name, "count": _count(where, folder), "bytes": size_bytes(folder)} for folder in folders]


def _count(where: "Store", folder: Path) -> int:
    return len(where.record_keys()) if folder.name == "records" else sum(1 for _ in folder.iterdir())


def _entries(where: "Store", kind: str) -> list[dict[str, object]]:
    """Return every entry of one kind.

    Raises:
        UnknownName: There is no such kind.
    """
    from ddbench.errors import UnknownName
    from ddbench.store import KINDS

    if kind == "records":
        return [_record(where, record) for record in sorted(where.records(), key=finished, reverse=True)]
    if kind == "failures":
        made = set(where.record_keys())
        return [_failure(failure, made) for failure in where.failures()]
    if kind not in KINDS:
        raise UnknownName("kind", kind, [*KINDS, "records", "failures"], see="ddbench store list")
    return [_artefact(where, kind, key) for key in where.keys(kind)]


def _failure(failure: "Mapping[str, object]", made: set[str]) -> dict[str, object]:
    """Return why a cell failed, and what became of it."""
    key = failure.get("key", "")
    what = f"{failure.get('error')}: {failure.get('message')}"
    return {"key": key, "what": what, "since": "made since" if key in made else "not made yet"}


def finished(record: "Record") -> tuple[str, str]:
    """Return when a record was finished, by which lists are sorted, and its key."""
    return record.time.get("finished", ""), record.key


def _record(where: "Store", record: "Record") -> dict[str, object]:
    """Return a record as a list shows it: its coordinate, what was set by hand, score, when it was made, level."""
    top1 = next((metric.value for metric in record.metrics if metric.name == "top1"), None)
    day = record.time.get("finished", "")[:16].replace("T", " ")
    score = "" if top1 is None else f"top1 {100 * top1:.1f}"
    level = where.standing(record).level + (" · smoke" if record.smoke else "")
    what = _cell_text(dict(record.cell), _by_hand(record))
    return {"key": record.key, "what": what, "top1": score, "finished": day, "level": level}


def _by_hand(record: "Record") -> str:
    """Return the options that somebody set by hand, and evaluators besides the usual ones."""
    from ddbench.cells import ALWAYS
    from ddbench.report.grouping import BY_HAND

    words = [
        f"{'' if owner == 'synthesizer' else f'{owner}.'}{name}={block.texts[name]}"
        for owner, block in record.options.items()
        for name, source in block.sources.items()
        if source in BY_HAND
    ]
    words += [f"+{name}" for name in record.evaluators if name not in ALWAYS]
    return " ".join(words)


def _artefact(where: "Store", kind: str, key: str) -> dict[str, object]:
    from ddbench.errors import ArtefactDamaged

    try:
        card = where.card(kind, key)
    except ArtefactDamaged as problem:
        return {"key": key, "bytes": 0, "what": f"DAMAGED: {problem}"}
    words = [card.get("synthesizer") or card.get("teacher") or card.get("protocol"), card.get("dataset", {}).get("name")]
    words += [f"ipc {card['ipc']}", f"distill seed {card['distill_seed']}"] if "ipc" in card else []
    size = sum(int(entry["bytes"]) for entry in card["files"].values())
    return {"key": key, "bytes": size, "what": " · ".join(str(word) for word in words if word)}


def _cell_text(cell: dict[str, object], by_hand: str) -> str:
    method = f"{cell['synthesizer']} {by_hand}".rstrip()
    names = ("dataset", "ipc", "student", "protocol")
    return " · ".join([method, *(str(cell[name]) for name in names), f"seeds {cell['distill_seed']}, {cell['eval_seed']}"])


def _cell(name: str, value: object) -> str:
    from ddbench.report.layout import bytes_text

    return bytes_text(float(str(value))) if name == "bytes" else str(value)


def _tell(found: "Sequence[Garbage]", removed: "Sequence[Garbage]", *, yes: bool) -> None:
    from ddbench.report.layout import bytes_text

    write(columns([(one.kind, bytes_text(one.bytes), str(one.path)) for one in (removed if yes else found)]))
    total = bytes_text(sum(one.bytes for one in (removed if yes else found)))
    if not found:
        say("nothing to remove")
    elif yes:
        held = f"; {len(found) - len(removed)} are in use and stay" if len(removed) < len(found) else ""
        say(f"removed {len(removed)}, {total}{held}")
    else:
        say(f"{len(found)} can go, {total}; nothing was removed: add --yes")
