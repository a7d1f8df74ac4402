"""What a line's own page tells: scores by seeds, every option with its source, the recipe, teacher, cost, hardware and versions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from ddbench.report import grouping
from ddbench.report.layout import bytes_text, seconds_text
from ddbench.report.site.admission import METRIC
from ddbench.report.site.texts import flat, value_text

if TYPE_CHECKING:
    from ddbench.records import Record
    from ddbench.report.site.admission import Entry
    from ddbench.report.site.board import Line

MOST_ROWS = 300
"""Rows of one table on a page; a record with more options than any plugin has is cut there, and the page says so."""

Cells = tuple[str, ...]

_FactsOf = Callable[["Record"], Sequence[Cells]]


@dataclass(frozen=True)
class Facts:
    """A titled table."""

    title: str
    headers: Cells
    rows: tuple[Cells, ...]
    more: int = 0
    """Rows that were left away."""


def scores(entries: Sequence[Entry]) -> Facts:
    """Return top1 in percent: a row per distill seed, a column per eval seed."""
    by_seeds = {(one.record.cell.distill_seed, one.record.cell.eval_seed): one.record.metric(METRIC) for one in entries}
    columns = sorted({seed for _, seed in by_seeds})[:MOST_ROWS]
    rows = []
    for distill in sorted({seed for seed, _ in by_seeds}):
        values = [by_seeds.get((distill, seed)) for seed in columns]
        measured = [value for value in values if value is not None]
        mean = _percent(fmean(measured)) if measured else ""
        rows.append((str(distill), *("–" if value is None else _percent(value) for value in values), mean))
    return _facts("Every student", ("distill seed", *(f"eval seed {seed}" for seed in columns), "mean of the set"), rows)


def options(line: Line) -> list[Facts]:
    """Return the options of everything that took part, each value with where it came from."""
    owners = list(dict.fromkeys(name for entry in line.entries for name in entry.record.options))
    owners.sort(key=lambda name: (name != "synthesizer", name == "teacher", name))
    found = []
    for owner in owners:
        rows = _options(owner, [entry.record for entry in line.entries])
        title = f"Options of {line.method}" if owner == "synthesizer" else f"Options of its {owner}"
        found.append(_facts(title, ("option", "value", "source"), rows))
    return [facts for facts in found if facts.rows]


def protocol(record: Record) -> Facts:
    """Return the whole recipe."""
    rows = [*flat(record.protocol), ("sha256", record.protocol_sha256)]
    return _facts("Protocol", ("setting", "value"), rows)


def student(line: Line) -> Facts:
    """Return the fitted network and what its training took."""
    record = line.first
    rows = [
        *flat(record.student),
        ("parameters", f"{record.training.parameters:,}"),
        ("optimiser steps", f"{record.training.optimiser_steps:,}"),
        ("images seen", f"{record.training.images_seen:,}"),
        *_each(line, lambda one: flat(one.precision.student, "precision.")),
        *_each(line, lambda one: [("note", note) for note in one.precision.notes]),
    ]
    return _facts("Student and training", ("fact", "value"), rows)


def origin(line: Line) -> Facts:
    """Return what the sets were made from."""
    record = line.first
    pairs: list[Cells] = [
        ("dataset", f"{record.dataset.name}, sha256 {record.dataset.sha256[:12]}, {record.dataset.test_images:,} test images"),
        ("starts from", record.start),
        ("images", f"{record.images:,}"),
        ("images from elsewhere", "yes, by way of a prior" if record.external_data else "none: only the train split"),
        ("teacher", record.cell.teacher or "none"),
        *(("teacher key", key) for key in _distinct(one.teacher_key for one in _records(line))),
        *((f"needs {name}", key) for name, key in sorted({item for one in _records(line) for item in one.needs.items()})),
        *(("distilled set", key) for key in _distinct(one.distilled_key for one in _records(line))),
        *(("stored labels", key) for key in _distinct(one.labels_key for one in _records(line))),
        *_each(line, lambda one: flat(one.precision.recover, "recover.")),
    ]
    return _facts("Made from", ("what", "which"), pairs)


def plugins(line: Line) -> Facts:
    """Return who made each part, with versions and a hash of the files."""
    rows = _each(
        line,
        lambda one: [
            (
                f"{block.kind} {block.name}",
                str(block.version)[:12],
                f"{block.distribution} {block.distribution_version}",
                block.files_sha256[:12],
            )
            for block in one.plugins
        ],
    )
    return _facts("Plugins", ("part", "version", "from", "files sha256"), rows)


def cost(line: Line) -> Facts:
    """Return seconds and peak memory by stage, means over what the records hold."""
    records = list(_records(line))
    peaks: dict[str, int] = {}
    for record in records:
        for stage, one in record.cost.items():
            peaks[stage] = max(peaks.get(stage, 0), one.peak_bytes or 0)
    rows = [
        (stage, seconds_text(seconds), bytes_text(peaks[stage]) if peaks.get(stage) else "–")
        for stage, seconds in line.row.seconds.items()
        if stage in peaks
    ]
    return _facts("Cost by stage", ("stage", "seconds, mean", "peak memory, highest"), rows)


def sizes(line: Line) -> Facts:
    """Return bytes by part."""
    rows = [(part.replace("_", " "), bytes_text(size)) for part, size in line.first.bytes.items()]
    return _facts("Bytes by part", ("part", "size"), rows)


def machines(line: Line) -> Facts:
    """Return hardware and library versions, those of several machines told apart by their differing values."""
    return _facts("Hardware and versions", ("what", "which"), _each(line, _machine))


def metrics(line: Line) -> Facts:
    """Return every other metric, as the mean over the line's records."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for record in _records(line):
        for metric in record.metrics:
            if metric.name != METRIC:
                values.setdefault((metric.name, metric.unit, metric.evaluator), []).append(metric.value)
    rows = [
        (name, _metric(fmean(found), unit), evaluator, str(len(found))) for (name, unit, evaluator), found in sorted(values.items())
    ]
    return _facts("Other metrics", ("metric", "mean", "evaluator", "records"), rows)


def records(line: Line) -> Facts:
    """Return the records behind the line."""
    rows = [
        (
            one.record.key,
            str(one.record.cell.distill_seed),
            str(one.record.cell.eval_seed),
            f"{_percent(one.record.metric(METRIC))} %",
            one.standing.level,
            grouping.finished(one.record)[0],
            one.record.sha256[:12],
        )
        for one in line.entries
    ]
    headers = ("key", "distill seed", "eval seed", METRIC, "level", "finished", "sha256")
    return _facts("Records", headers, rows)


def checks(line: Line) -> Facts:
    """Return who checked which record, and what came of it."""
    rows = [
        (
            one.record.key,
            check.level,
            check.how,
            check.by,
            check.when,
            ", ".join(f"{_percent(found.value)} % (eval seed {found.eval_seed})" for found in check.measured) or "–",
            {True: "same predictions", False: "other predictions", None: ""}[check.same_predictions],
        )
        for one in line.entries
        for check in one.standing.checks
    ]
    headers = ("record", "level", "how", "by", "when", "measured again", "predictions")
    return _facts("Checks", headers, rows)


def _machine(record: Record) -> list[Cells]:
    packages = record.host.get("packages", {})
    host = {name: value for name, value in record.host.items() if name != "packages"}
    versions = flat(packages) if isinstance(packages, dict) else []
    return [*flat(host), ("ddbench", f"{record.ddbench_version}, numerics {record.numerics_version}"), *versions]


def _options(owner: str, found: Sequence[Record]) -> list[Cells]:
    """Return one option a row; where records name different sources of an equal value, all of them."""
    values: dict[str, dict[str, None]] = {}
    sources: dict[str, dict[str, None]] = {}
    for record in found:
        block = record.options.get(owner)
        for name, value in block.values.items() if block else ():
            values.setdefault(name, {})[value_text(value)] = None
            sources.setdefault(name, {})[block.sources.get(name, "unknown") if block else ""] = None
    return [(name, "; ".join(values[name]), "; ".join(sources[name])) for name in values]


def _each(line: Line, facts_of: _FactsOf) -> list[Cells]:
    """Return the facts of all records, equal ones once."""
    return list(dict.fromkeys(tuple(row) for record in _records(line) for row in facts_of(record)))


def _records(line: Line) -> Iterator[Record]:
    return (entry.record for entry in line.entries)


def _distinct(keys: Iterable[str | None]) -> list[str]:
    return sorted({key for key in keys if key})


def _facts(title: str, headers: Cells, rows: Sequence[Cells]) -> Facts:
    return Facts(title, headers, tuple(rows[:MOST_ROWS]), max(0, len(rows) - MOST_ROWS))


def _metric(value: float, unit: str) -> str:
    if unit == "fraction":
        return f"{_percent(value)} %"
    return bytes_text(value) if unit == "bytes" else f"{value:.5g} {unit}".strip()


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"
