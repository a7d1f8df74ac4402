"""What is printed under a table: its protocol and teacher, and how its numbers are to be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddbench.records import MetricBlock, Record
    from ddbench.report.columns import Result
    from ddbench.report.tables import Row

SHOWN = 4
"""How many rows a sentence names before it counts the rest."""

USUAL = "top1"
"""The metric that needs no explanation."""


def under_table(
    records: Sequence[Record], rows: Sequence[Row], *, left_out: int, averaged: Sequence[str] = (), again: int = 0
) -> tuple[str, ...]:
    """Return the sentences under a table, one per line.

    Args:
        records: Of the table.
        rows: Made of them.
        left_out: How many records are not among them, being of other code.
        averaged: The columns of the average.
        again: How many of the records are of sets that another one of the same distill seed stands for.
    """
    return (
        protocol_line(records[0]),
        *_teachers(records),
        *of_rows(rows),
        *average_notes(rows, averaged),
        *_costs(rows),
        *_cautions(records, left_out, again),
    )


def of_rows(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return how the intervals, differences and ranks of rows are to be read."""
    return (*_intervals(rows), *_differences(rows), *_ranks(rows))


def direction(metric: MetricBlock) -> Iterator[str]:
    """Give which way a metric is read, where it is not the usual one."""
    if metric.name != USUAL:
        better, side = ("more", "above") if metric.higher_is_better else ("less", "below")
        yield f"{metric.name}: {better} is better, so ▲ is {side} random."


def protocol_line(record: Record) -> str:
    """Return a protocol's name, hash, title, source, length and label regime."""
    recipe = record.protocol
    length = f"{recipe['steps']} steps" if recipe.get("steps") else f"{recipe.get('epochs')} epochs"
    bn = f", teacher BN {recipe['teacher_bn']}" if recipe.get("teacher_bn") else ""
    title = str(recipe.get("title", "")).rstrip(".")
    source = str(recipe.get("source", "")).rstrip(".")
    facts = f"{length}, batch {recipe.get('batch')}, label regime {record.cell.label_regime}{bn}"
    return f"protocol {record.cell.protocol} (sha256 {record.protocol_sha256[:8]}): {title}. Source: {source}. {facts}."


def _teachers(records: Sequence[Record]) -> Iterator[str]:
    answering = {record.cell.teacher for record in records if record.cell.label_regime != "hard" and record.cell.teacher}
    for name in sorted(answering):
        key = next(record.teacher_key for record in records if record.cell.teacher == name)
        yield f"teacher {name} (key {(key or '')[:8]}) answers during the students' training, random's too."
    making = sorted({(record.cell.synthesizer, record.cell.teacher) for record in records if record.cell.teacher and not answering})
    if making:
        yield f"teacher of the sets: {', '.join(f'{method} {teacher}' for method, teacher in making)}."


def _intervals(rows: Sequence[Row]) -> Iterator[str]:
    results = [result for row in rows for result in row.results.values()]
    if any(result.estimate.half_width is not None and not result.estimate.given_one_set for result in results):
        yield "±: 95 % t interval over distilled sets and eval seeds."
    if any(_seeds(result) == 2 for result in results):
        yield "With two eval seeds a 95 % interval covers as little as 84 % where seeds move a score more than sets do."
    if any(_one_seed(result) for result in results):
        yield "Where all students of a cell have one eval seed, its ±, Δ and rank say nothing of other eval seeds."
    if any(result.estimate.half_width is not None and result.estimate.given_one_set for result in results):
        yield "¹ given one distilled set: 95 % t interval on its eval seeds only."
    if any(result.estimate.half_width is None for result in results):
        yield "No ±: one student, or students that all score the same, tell no spread."
    if any(result.same_architecture for result in results):
        yield "† student and teacher have the same architecture."


def _one_seed(result: Result) -> bool:
    return result.estimate.sets > 1 and _seeds(result) == 1


def _seeds(result: Result) -> int:
    return len({seed for seeds in result.scores.values() for seed in seeds})


def _differences(rows: Sequence[Row]) -> Iterator[str]:
    found = [result.difference for row in rows for result in row.results.values() if result.difference is not None]
    if not found:
        return
    yield (
        "Δ random: difference to random under the same protocol, student and eval seeds, with its 95 % interval "
        "(random's draws included); ▲ better, ▼ worse."
    )
    known = [result.hits is not None for row in rows for result in row.results.values()]
    if all(known):
        yield "Δ and rank count the test images as a sample, paired image by image."
    elif any(known):
        yield "Δ counts the test images as a sample where predictions of both are at hand, and rank where those of all are."
    else:
        yield "Δ and rank take the test split as given: which of its images a student got right is not at hand."
    for why in sorted({difference.why for difference in found if difference.why}):
        yield f"No verdict for some differences: {why}."


def _ranks(rows: Sequence[Row]) -> Iterator[str]:
    results = [result for row in rows for result in row.results.values()]
    if any(result.rank for result in results):
        yield (
            "rank: where a row may stand among the ranked rows of its column: all pairs are compared, and only those told apart "
            "at a family-wise error of 5 % (Holm) are put in order."
        )
        for why, labels in sorted(_unranked(rows).items()):
            yield f"Not ranked: {', '.join(labels)} ({why})."
        for same in _same(rows):
            more = [f"{len(same) - SHOWN} more"] if len(same) > SHOWN else []
            yield f"The same sets with the same scores, so one competitor, compared once: {', '.join([*same[:SHOWN], *more])}."


def _same(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the labels of ranked rows that are the same in some column, together."""
    found: dict[object, dict[str, None]] = {}
    for row in rows:
        for column, result in row.results.items():
            if result.rank:
                sets = frozenset((name, frozenset(one_set.items())) for name, one_set in result.scores.items())
                found.setdefault((column, sets), {})[row.label] = None
    return list(dict.fromkeys(tuple(labels) for labels in found.values() if len(labels) > 1))


def average_notes(rows: Sequence[Row], averaged: Sequence[str]) -> Iterator[str]:
    """Give what an average over columns is, and which rows have none."""
    if not averaged:
        return
    yield (
        f"mean of {len(averaged)}: over {', '.join(averaged)}, set by set and seed by seed, compared and ranked like a column; "
        "columns marked † are left out. Rows are in order of its difference to random."
    )
    without = [row.label for row in rows if row.average is None]
    if without:
        yield f"No mean: {', '.join(without)} (not in all these columns with equally many sets and a common eval seed)."
    for why, labels in sorted(_reasons({row.label: row.average.place.why for row in rows if row.average}).items()):
        yield f"Mean not ranked: {', '.join(labels)} ({why})."


def _reasons(by_label: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for label, why in by_label.items():
        if why:
            found.setdefault(why, []).append(label)
    return found


def _unranked(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the labels of rows that have no rank in some column, by reason."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for why in {result.place.why for result in row.results.values() if result.place.why}:
            found.setdefault(why, []).append(row.label)
    return found


def _costs(rows: Sequence[Row]) -> Iterator[str]:
    stages = sorted({stage for row in rows for stage in row.seconds} - {"recover"})
    others = ", ".join(f"{stage} {fmean(row.seconds[stage] for row in rows if stage in row.seconds):.1f}" for stage in stages)
    apart = f"; counted apart: {others}" if others else ""
    yield f"n: distilled sets × students of each. bytes: the set with its labels. seconds: recover, per distilled set{apart}."


def _cautions(records: Sequence[Record], left_out: int, again: int) -> Iterator[str]:
    if records[0].smoke:
        yield "SMOKE: training was shortened; these numbers can enter no leaderboard."
    dtypes = sorted({str(record.precision.student.get("dtype")) for record in records})
    if len(dtypes) > 1:
        yield f"Students were trained in {' and '.join(dtypes)}."
    if left_out:
        yield f"{left_out} records made by other code of the same version are left out; see them with --code each."
    if again:
        yield f"{again} records are left out: their sets were distilled again under the same seed, which makes no further draw."
