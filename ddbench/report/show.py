"""What is known of one record, distilled set, teacher or set of labels: facts, options with sources, curve, files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddbench.errors import BadRequest, UnknownName
from ddbench.report.layout import bytes_text

if TYPE_CHECKING:
    from pathlib import Path

    from ddbench.provenance import Standing
    from ddbench.records import Record
    from ddbench.store import Store

KINDS = ("records", "distilled", "teachers", "labels")

SHORTEST_PREFIX = 4

BARS = "▁▂▃▄▅▆▇█"

CURVE_POINTS = 60


@dataclass(frozen=True)
class Section:
    """A titled list of names and values."""

    title: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class View:
    """One thing of the store, ready to be shown."""

    kind: str
    key: str
    title: str
    sections: tuple[Section, ...]
    content: Mapping[str, Any]
    """The record or card itself, for JSON."""

    def to_json(self) -> dict[str, Any]:
        """Return the view as JSON values."""
        files = [value for section in self.sections if section.title == "files" for _, value in section.lines]
        return {"kind": self.kind, "key": self.key, "title": self.title, "files": files, "content": dict(self.content)}


def view(store: Store, key: str) -> View:
    """Return what a key, or an unambiguous beginning of one, stands for.

    Raises:
        UnknownName: Nothing in the store has it.
        BadRequest: It is too short, or more than one thing begins with it.
        ArtefactDamaged: The thing is damaged.
    """
    kind, full = find(store, key)
    if kind == "records":
        return _record_view(store, full)
    card = {**store.card(kind, full), **store.annotations(kind, full)}
    folder = store.root / kind / full
    return _distilled_view(full, card, folder) if kind == "distilled" else _card_view(kind, full, card, folder)


def find(store: Store, key: str) -> tuple[str, str]:
    """Return the kind and the full key of the one thing that `key` is or begins.

    Raises:
        UnknownName: There is none.
        BadRequest: It is too short, or there are several.
    """
    if len(key) < SHORTEST_PREFIX or not key.isalnum():
        raise BadRequest(f"{key!r} is no key: give at least its first {SHORTEST_PREFIX} characters; see: ddbench store list")
    known = [(kind, full) for kind in KINDS for full in (store.record_keys() if kind == "records" else store.keys(kind))]
    matches = [(kind, full) for kind, full in known if full.startswith(key)]
    if not matches:
        raise UnknownName("key", key, [full for _, full in known], see="ddbench store list")
    if len(matches) > 1:
        raise BadRequest(
            f"{key!r} begins {len(matches)} keys: {', '.join(f'{full} ({kind})' for kind, full in matches[:5])}; give more of it"
        )
    return matches[0]


def sparkline(values: Sequence[float], points: int = CURVE_POINTS) -> str:
    """Return a curve as one line of bars between its smallest and its largest value."""
    if not values:
        return ""
    count = min(points, len(values))
    shown = [values[round(number * (len(values) - 1) / max(1, count - 1))] for number in range(count)]
    low, high = min(shown), max(shown)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in shown)


def _record_view(store: Store, key: str) -> View:
    record = store.read_record(key)
    if record is None:
        raise UnknownName("record", key, store.record_keys(), see="ddbench store list")
    cell = record.cell
    seeds = f"distill seed {cell.distill_seed}, eval seed {cell.eval_seed}"
    title = f"{cell.synthesizer} on {cell.dataset}, ipc {cell.ipc}: {cell.student}, {seeds}"
    sections = [
        Section("metrics", tuple((metric.name, _metric_text(metric.value, metric.unit)) for metric in record.metrics)),
        Section("cell", tuple((name, str(value)) for name, value in cell.model_dump().items())),
        *(_options(f"options of the {who}", block.values, block.sources) for who, block in record.options.items()),
        Section("training", _training(record)),
        Section("cost", tuple((stage, _cost_text(cost.seconds, cost.peak_bytes)) for stage, cost in record.cost.items())),
        Section("level", tuple(_level(store.standing(record)))),
        Section("made from", tuple(_origins(record))),
        Section("files", tuple(_record_files(store, record))),
    ]
    return View("record", key, title, tuple(sections), record.model_dump(mode="json"))


def _training(record: Record) -> tuple[tuple[str, str], ...]:
    training = record.training
    curve = [loss for _, loss in training.curve]
    ends = f" {curve[0]:.3g} → {curve[-1]:.3g}" if curve else ""
    return (
        ("optimiser steps", str(training.optimiser_steps)),
        ("images seen", str(training.images_seen)),
        ("parameters", str(training.parameters)),
        ("precision", _computed(record.precision.student)),
        ("precision of the set", _computed(record.precision.recover)),
        ("loss", f"{sparkline(curve)}{ends}"),
        *(("note", line) for line in record.precision.notes),
        *(("note on the set", line) for line in record.precision.recover.get("notes", ())),
    )


def _computed(settings: Mapping[str, Any]) -> str:
    """Return how something was computed, in words."""
    words = {"compile": "compiled", "channels_last": "channels last", "native": "native layers"}
    return ", ".join([str(settings.get("dtype", "unknown")), *(said for name, said in words.items() if settings.get(name))])


def _level(found: Standing) -> Iterable[tuple[str, str]]:
    """Give how far the record's number can be trusted, and every check of it."""
    yield "level", found.level
    if found.problem:
        yield "problem", found.problem
    for check in found.checks:
        values = ", ".join(_metric_text(one.value, "fraction") for one in check.measured)
        yield f"{check.how} by {check.by}", f"{check.when}: {values}"


def _origins(record: Record) -> Iterable[tuple[str, str]]:
    yield "distilled set", record.distilled_key
    if record.teacher_key:
        yield "teacher", record.teacher_key
    if record.labels_key:
        yield "labels", record.labels_key
    yield "ddbench", f"{record.ddbench_version}, numerics {record.numerics_version}"
    for block in record.plugins:
        yield (
            f"{block.kind} {block.name}",
            f"version {str(block.version)[:8]}, {block.distribution} {block.distribution_version}, files {block.files_sha256[:8]}",
        )
    yield "made", ", ".join(f"{name} {value}" for name, value in record.time.items())
    yield "host", ", ".join(f"{name} {value}" for name, value in record.host.items() if not isinstance(value, Mapping))


def _record_files(store: Store, record: Record) -> Iterable[tuple[str, str]]:
    path = store.root / "records" / f"{record.key}.json"
    yield "record", str(path)
    if record.sidecar:
        yield "predictions", str(path.with_suffix(".npz"))
    preview = store.root / "distilled" / record.distilled_key / "preview.png"
    if preview.is_file():
        yield "picture", str(preview)


def _distilled_view(key: str, card: Mapping[str, Any], folder: Path) -> View:
    data = card.get("dataset", {})
    seed = f"distill seed {card.get('distill_seed')}"
    title = f"distilled set: {card.get('synthesizer')} on {data.get('name')}, ipc {card.get('ipc')}, {seed}"
    facts = [
        ("images", f"{card.get('images')} of shape {'×'.join(map(str, card.get('shape', ())))}, space {card.get('space')}"),
        ("starts from", str(card.get("start"))),
        ("jobs", str(card.get("jobs"))),
        *((f"needs {name}", str(need)) for name, need in card.get("needs", {}).items()),
        *_common(card),
    ]
    sections = (
        Section("facts", tuple(facts)),
        _options("options", card.get("options", {}), card.get("sources", {})),
        _files(card, folder),
    )
    return View("distilled", key, title, sections, card)


def _card_view(kind: str, key: str, card: Mapping[str, Any], folder: Path) -> View:
    name = card.get("teacher") or card.get("protocol") or ""
    made = card.get("made", {})
    facts = [(name, _value_text(value)) for name, value in made.items() if not isinstance(value, list)]
    curves = [(name, sparkline(curve)) for name, value in made.items() if (curve := _curve(value))]
    sections = (
        Section("facts", (*facts, *curves, *_common(card))),
        _options("options", card.get("options", {}), card.get("sources", {})),
        _files(card, folder),
    )
    return View(kind, key, f"{kind.rstrip('s')} {name} on {card.get('dataset', {}).get('name')}", sections, card)


def _common(card: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    cost, plugin = card.get("cost", {}), card.get("plugin", {})
    if "test" in card:
        yield "test top1, measured once", f"{100 * card['test']['top1']:.1f} %"
    if cost:
        yield "cost", _cost_text(cost.get("seconds", 0.0), cost.get("peak_bytes"))
    if plugin:
        by = f"{plugin.get('distribution')} {plugin.get('distribution_version')}"
        yield "plugin", f"{plugin.get('name')} version {plugin.get('version')}, {by}"
    settings = dict(card.get("precision", {}))
    notes = settings.pop("notes", ())
    yield "precision", ", ".join(f"{name} {value}" for name, value in settings.items())
    yield from (("note", line) for line in notes)


def _options(title: str, values: Mapping[str, Any], sources: Mapping[str, str]) -> Section:
    return Section(
        title, tuple((name, f"{_value_text(value)}   ({sources.get(name, 'unknown')})") for name, value in values.items())
    )


def _files(card: Mapping[str, Any], folder: Path) -> Section:
    return Section("files", tuple((bytes_text(entry.get("bytes")), str(folder / name)) for name, entry in card["files"].items()))


def _metric_text(value: float, unit: str) -> str:
    return f"{100 * value:.2f} %" if unit == "fraction" else bytes_text(value) if unit == "bytes" else f"{value:.6g} {unit}".strip()


def _cost_text(seconds: float, peak_bytes: int | None) -> str:
    return f"{seconds:.1f} s" + (f", peak memory {bytes_text(peak_bytes)}" if peak_bytes else "")


def _value_text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _curve(value: object) -> list[float]:
    """Return the heights of a curve given as numbers or as pairs with the epoch first; nothing else is one."""
    points = value if isinstance(value, list) and len(value) > 1 else []
    heights = [point[-1] if isinstance(point, list) and len(point) == 2 else point for point in points]
    return heights if all(isinstance(height, int | float) for height in heights) else []
