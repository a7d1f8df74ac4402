"""Label and augmentation robustness (DD-Ranking): views over tables of several protocols, accuracies as fractions.

HLR = real_hard - syn_hard; IOR = syn_any - random_any; alpha = w IOR - (1 - w) HLR, w = 1/2; and, over two protocols that differ
in augmentation, beta = g (syn_aug - random_aug) + (1 - g)(syn_noaug - random_noaug), g = 1/2.
LRS and ARS are (e^x - e^-1) / (e - e^-1) of alpha and beta.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import e, exp
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.report.grouping import CEILING, CONTROL
from ddbench.report.spread import block, of_contrast

if TYPE_CHECKING:
    from ddbench.report.statistics import Scores
    from ddbench.report.tables import Network, Row, Table

WEIGHT = 0.5
"""w of LRS and g of ARS, as on DD-Ranking's leaderboard."""

BESIDES = {"epochs", "steps"}
"""What else two protocols may differ in and still be compared for ARS; the table says so."""

NAMES = {"name", "title", "source", "augment"}


@dataclass(frozen=True)
class Value:
    """A number with its 95 % interval, where there is one."""

    value: float
    low: float | None = None
    high: float | None = None

    def through(self, function: Callable[[float], float]) -> Value:
        """Return the value and its interval through an increasing function, which moves no truth in or out of the interval."""
        ends = (None if end is None else function(end) for end in (self.low, self.high))
        return Value(function(self.value), *ends)


@dataclass(frozen=True)
class View:
    """A robustness score of one method, or what is missing for it."""

    kind: str
    """`LRS` or `ARS`."""
    method: str
    dataset: str
    ipc: int
    student: str
    protocols: tuple[str, ...]
    """Hard and soft, or with augmentation and without; as far as there are records."""
    score: Value | None = None
    parts: Mapping[str, Value] | None = None
    """`HLR` and `IOR`, or `beta`."""
    sets: int = 0
    seeds: int = 0
    note: str = ""
    """What the reader must know of this score."""
    why: str = ""
    """What is missing."""


def bounded(exponent: float) -> float:
    """Return alpha or beta in [-1, 1] as LRS or ARS in [0, 1]."""
    return (exp(exponent) - 1 / e) / (e - 1 / e)


def label_robustness(tables: Sequence[Table]) -> list[View]:
    """Return the label robustness of every method, for every pair of a hard and a soft protocol that has its sets."""
    usable = [table for table in tables if _usable(table)]
    hard = [table for table in usable if table.heading.label_regime == "hard"]
    soft = [table for table in usable if table.heading.label_regime != "hard"]
    found = [view for table in soft for row, student in _methods(table) for view in _label_views(table, row, student, hard)]
    seen = {_cell(table, row, student) for table in soft for row, student in _methods(table)}
    for table in hard:
        for row, student in _methods(table):
            if _cell(table, row, student) not in seen:
                found.append(_view("LRS", table, row, student, why="no records under soft labels"))
    return found


def _cell(table: Table, row: Row, student: str) -> tuple[str, str, int, Network]:
    return row.variant.synthesizer, table.heading.dataset, table.heading.ipc, table.networks[student]


def augmentation_robustness(tables: Sequence[Table]) -> list[View]:
    """Return the augmentation robustness of every method, for every pair of protocols that differ in augmentation only."""
    usable = [table for table in tables if _usable(table)]
    pairs = [(one, two) for one, two in permutations(usable, 2) if _alike(one, two) and _augmentation_only(one, two) is not None]
    return [view for one, two in pairs for row, student in _methods(one) if (view := _augmented(one, two, row, student))]


def contrast(sides: Sequence[tuple[float, Scores]], seeds: Sequence[int] | None = None) -> Value | None:
    """Return the sum of the sides' means, each times its coefficient; None where there is no eval seed.

    Eval seeds are paired over all sides; sets are those of each side alone (`spread.of_contrast`).

    Args:
        sides: Coefficients and scores.
        seeds: Eval seeds that all sets of all sides have; all of these unless given.
    """
    seeds = _shared([scores for _, scores in sides]) if seeds is None else seeds
    if not seeds:
        return None
    blocks = [factor * block(scores, seeds) for factor, scores in sides]
    value = float(sum(one.mean() for one in blocks))
    width = float(of_contrast(blocks).half_width())
    return Value(value) if np.isnan(width) else Value(value, value - width, value + width)


def _label_views(soft: Table, row: Row, student: str, hard: Sequence[Table]) -> Iterator[View]:
    """Give a view for every hard protocol that has the row's sets, or one that says what is missing."""
    tables = [table for table in hard if _alike(soft, table)]
    network = soft.networks[student]
    found = [(table, scores) for table in tables if (scores := _same_sets(row.results[student].scores, table, network))]
    if not found:
        yield _view("LRS", soft, row, student, why="no records of its sets under hard labels")
    for table, syn_hard in found:
        yield _label_view((table, soft), row, student, syn_hard, _ceiling(table, hard, network))


def _label_view(tables: tuple[Table, Table], row: Row, student: str, syn_hard: Scores, ceiling: tuple[Scores, str] | None) -> View:
    hard, soft = tables
    protocols = (hard.heading.protocol, soft.heading.protocol)
    random = _of(soft, CONTROL, soft.networks[student])
    if random is None or ceiling is None:
        lacks = "random under soft labels" if random is None else "`full` under hard labels"
        return _view("LRS", soft, row, student, protocols=protocols, why=f"no records of {lacks}")
    syn, (real, note) = row.results[student].scores, ceiling
    both = _combined(syn, syn_hard, WEIGHT)
    seeds = _shared([both, random, real])
    syn, syn_hard = ({name: one[name] for name in both} for one in (syn, syn_hard))
    hlr, ior = contrast([(1, real), (-1, syn_hard)], seeds), contrast([(1, syn), (-1, random)], seeds)
    alpha = contrast([(1, both), (-WEIGHT, random), (-(1 - WEIGHT), real)], seeds)
    if hlr is None or ior is None or alpha is None:
        return _view("LRS", soft, row, student, protocols=protocols, why="no eval seed in common with random and `full`")
    score = alpha.through(bounded)
    return _view(
        "LRS",
        soft,
        row,
        student,
        protocols=protocols,
        score=score,
        parts={"HLR": hlr, "IOR": ior},
        sets=len(both),
        seeds=len(seeds),
        note=note,
    )


def _augmented(aug: Table, plain: Table, row: Row, student: str) -> View | None:
    """Return a method's augmentation robustness; None where it has no records without augmentation."""
    network = aug.networks[student]
    without = _same_sets(row.results[student].scores, plain, network)
    if not without:
        return None
    protocols = (aug.heading.protocol, plain.heading.protocol)
    random = [_of(table, CONTROL, network) for table in (aug, plain)]
    if random[0] is None or random[1] is None:
        return _view("ARS", aug, row, student, protocols=protocols, why="no records of random under both protocols")
    syn = _combined(row.results[student].scores, without, WEIGHT)
    control = _combined(random[0], random[1], WEIGHT)
    beta = contrast([(1, syn), (-1, control)]) if syn and control else None
    if beta is None:
        return _view("ARS", aug, row, student, protocols=protocols, why="no eval seed in common with random")
    also = _augmentation_only(aug, plain)
    note = f"{protocols[0]} and {protocols[1]} also differ in {', '.join(sorted(also))}" if also else ""
    sets, seeds = len(syn), len(_shared([syn, control]))
    score = beta.through(bounded)
    return _view(
        "ARS", aug, row, student, protocols=protocols, score=score, parts={"beta": beta}, sets=sets, seeds=seeds, note=note
    )


def _view(kind: str, table: Table, row: Row, student: str, **known: Any) -> View:
    protocols = known.pop("protocols", (table.heading.protocol,))
    return View(kind, row.label, table.heading.dataset, table.heading.ipc, student, protocols, **known)


def _usable(table: Table) -> bool:
    return table.metric == "top1" and not table.heading.smoke


def _methods(table: Table) -> Iterator[tuple[Row, str]]:
    """Give every measured cell of a method, the control and the ceiling left out."""
    for row in table.rows:
        if row.variant.synthesizer not in {CONTROL, CEILING}:
            yield from ((row, student) for student in row.results)


def _alike(one: Table, other: Table) -> bool:
    """Return whether two tables are of the same images, classes, resolution and ipc."""
    names = ("dataset_sha256", "classes_sha256", "shape", "ipc", "numerics_version")
    return all(getattr(one.heading, name) == getattr(other.heading, name) for name in names)


def _augmentation_only(aug: Table, plain: Table) -> set[str] | None:
    """Return what else than augmentation two protocols differ in, where the second has none and the rest may differ; else None."""
    one, other = aug.protocol, plain.protocol
    differing = {key for key in {*one, *other} if one.get(key) != other.get(key)}
    same_teacher = aug.heading.teacher_key == plain.heading.teacher_key
    if "augment" not in differing or other.get("augment") or not same_teacher or not differing - NAMES <= BESIDES:
        return None
    return differing - NAMES


def _of(table: Table, synthesizer: str, network: Network) -> Scores | None:
    """Return a baseline's scores in a table: of several rows of the control that of the table, else the one with most students."""
    rows = [row for row in table.rows if row.variant.synthesizer == synthesizer]
    if synthesizer == CONTROL:
        rows = [row for row in rows if row.variant == table.control]
    found = [result for row in rows if (result := row.results.get(table.column_like(network) or "")) is not None]
    return max(found, key=lambda result: result.estimate.students).scores if found else None


def _ceiling(table: Table, hard: Sequence[Table], network: Network) -> tuple[Scores, str] | None:
    """Return the whole train split's scores under the table's protocol, else under another hard one, which the note names."""
    names = ("dataset_sha256", "classes_sha256", "shape", "numerics_version")
    for other in sorted(hard, key=lambda one: (one is not table, one.heading.protocol != table.heading.protocol, one.title)):
        if all(getattr(table.heading, name) == getattr(other.heading, name) for name in names):
            scores = _of(other, CEILING, network)
            if scores is not None:
                same = other.heading.protocol == table.heading.protocol
                return scores, "" if same else f"`full` of HLR was trained under {other.heading.protocol}"
    return None


def _same_sets(scores: Scores, table: Table, network: Network) -> Scores:
    """Return the scores of the same distilled sets in another table."""
    student = table.column_like(network)
    for row in table.rows:
        if student in row.results:
            shared = {name: one for name, one in row.results[student].scores.items() if name in scores}
            if shared:
                return shared
    return {}


def _combined(first: Scores, second: Scores, weight: float) -> dict[str, dict[int, float]]:
    """Return weight first + (1 - weight) second, set by set and seed by seed, where both have them."""
    both = {
        name: {seed: weight * value + (1 - weight) * second[name][seed] for seed, value in one.items() if seed in second[name]}
        for name, one in first.items()
        if name in second
    }
    return {name: one for name, one in both.items() if one}


def _shared(sides: Sequence[Scores]) -> list[int]:
    """Return the eval seeds that every set of every side has."""
    every = [set(one) for scores in sides for one in scores.values()]
    return sorted(set.intersection(*every)) if every and all(sides) else []
