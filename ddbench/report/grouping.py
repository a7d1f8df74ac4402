"""Which records may stand together: one heading per table, one variant per row, one fitted network per column."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from ddbench.records import OptionsBlock, PluginBlock, Record
    from ddbench.report.statistics import Scores

BY_HAND = {"command line", "suite"}
"""Sources of options that were set by hand."""

CHEAP = "preset cpu"
"""Source of options that stand in for a recipe where it would take days."""

CONTROL = "random"
"""The synthesizer every other one is compared with, as in `ddbench.cells`, which a report does not import."""

CEILING = "full"
"""The synthesizer that keeps the whole train split: shown, and no rival of the others."""

MAKERS = {"synthesizer", "objective", "prior", "selector"}
"""Kinds of plugins that decide what a set is."""

Code = Literal["newest", "each", "any"]
"""Records of one version but of edited plugin files: only the newest files' records, a row for each, or all together."""

Column = TypeVar("Column", bound=Hashable)


@dataclass(frozen=True, order=True)
class Heading:
    """What all records of one table share: numbers that differ in any of it never share a column."""

    dataset: str
    ipc: int
    protocol: str
    label_regime: str
    smoke: bool
    num_classes: int
    shape: tuple[int, int, int]
    teacher: str
    """The teacher that answers during students' training; empty under hard labels."""
    teacher_key: str
    view_seed: int
    """Of stored labels; -1 where views are drawn anew for each eval seed."""
    dataset_sha256: str
    classes_sha256: str
    protocol_sha256: str
    numerics_version: int
    schema_version: int
    evaluator: str = ""
    """What made a metric, its options included, its unit, and which way it is read; empty where no metric was named."""

    @property
    def title(self) -> str:
        """One line for a person: `digits · 10 classes · 1×8×8 · ipc 10 · quick-soft/1 · soft_online`."""
        shape = "×".join(str(size) for size in self.shape)
        parts = [self.dataset, f"{self.num_classes} classes", shape, f"ipc {self.ipc}", self.protocol, self.label_regime]
        return " · ".join([*parts, *(["SMOKE: shortened training"] if self.smoke else [])])


@dataclass(frozen=True)
class Variant:
    """A synthesizer as it was configured: what makes a row."""

    synthesizer: str
    settings: tuple[tuple[str, str], ...]
    """Options and whatever else of it decides its numbers, as text."""


def heading_of(record: Record, evaluator: str = "") -> Heading:
    """Return the table a record belongs to; with what made a metric, if one is named."""
    cell, dataset = record.cell, record.dataset
    answers = cell.label_regime != "hard"
    return Heading(
        dataset=cell.dataset,
        ipc=cell.ipc,
        protocol=cell.protocol,
        label_regime=cell.label_regime,
        smoke=record.smoke,
        num_classes=dataset.num_classes,
        shape=dataset.shape,
        teacher=(cell.teacher or "") if answers else "",
        teacher_key=(record.teacher_key or "") if answers else "",
        view_seed=-1 if record.view_seed is None else record.view_seed,
        dataset_sha256=dataset.sha256,
        classes_sha256=dataset.classes_sha256,
        protocol_sha256=record.protocol_sha256,
        numerics_version=record.numerics_version,
        schema_version=record.schema_version,
        evaluator=evaluator,
    )


def heading_for(record: Record, metric: str) -> Heading:
    """Return the table a record's metric belongs to: one made with other options of its evaluator belongs to another."""
    block = next(block for block in record.metrics if block.name == metric)
    better = "more" if block.higher_is_better else "less"
    return heading_of(record, f"{block.evaluator} ({block.unit}, {better} is better)")


def titles(headings: Iterable[Heading]) -> dict[Heading, str]:
    """Return a title per heading, those that would read the same told apart by what else differs."""
    alike: dict[str, list[Heading]] = defaultdict(list)
    for heading in headings:
        alike[heading.title].append(heading)
    found = {}
    for title, group in alike.items():
        differing = [field.name for field in fields(Heading) if len({getattr(heading, field.name) for heading in group}) > 1]
        if "teacher" in differing and len({heading.teacher for heading in group}) == len(group):
            differing = [name for name in differing if name != "teacher_key"]
        for heading in group:
            extra = [f"{name.removesuffix('_sha256')} {_short(getattr(heading, name))}" for name in differing]
            found[heading] = " · ".join([title, *extra])
    return found


def variant_of(record: Record, code: Code = "newest") -> Variant:
    """Return the row a record belongs to.

    The options of its teacher count where no teacher answers the students: under soft labels the table has one teacher.
    """
    settings = _texts("", record.options.get("synthesizer"))
    if record.cell.label_regime == "hard" and record.cell.teacher:
        settings |= {"teacher": record.cell.teacher} | _texts("teacher.", record.options.get("teacher"))
    for name in set(record.options) - {"synthesizer", "teacher"}:  # objective, selector, and what else was needed
        settings |= _texts(f"{name}.", record.options[name])
    settings |= {f"{block.kind}.version": str(block.version) for block in _makers(record) if block.kind != "synthesizer"}
    settings |= {"version": synthesizer_version(record), "recover": str(record.precision.recover.get("dtype", ""))}
    if code == "each":
        settings["code"] = code_of(record)[:8]
    return Variant(record.cell.synthesizer, tuple(sorted(settings.items())))


def synthesizer_version(record: Record) -> str:
    """Return the version a synthesizer gives itself."""
    return next((str(block.version) for block in record.plugins if block.kind == "synthesizer"), "")


def code_of(record: Record) -> str:
    """Return the hash of the files that a record's synthesizer came from, and what it works with; empty where none is known."""
    hashes = sorted(block.files_sha256 for block in _makers(record))
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest() if hashes else ""


def _makers(record: Record) -> Iterator[PluginBlock]:
    """Give the plugins that decide what a record's set is.

    A teacher counts under hard labels, where the sets of one table may have several; else the table's heading names it.
    """
    hard = record.cell.label_regime == "hard"
    for block in record.plugins:
        if block.kind in MAKERS or (hard and block.kind == "teacher"):
            yield block


def altered(record: Record) -> Iterator[str]:
    """Give the options of a record, its teacher's too, that make another recipe than a dataset's or a paper's preset."""
    for part, block in record.options.items():
        prefix = "" if part == "synthesizer" else f"{part}."
        for name, source in block.chosen:
            if source in BY_HAND or source.startswith(CHEAP):
                yield f"{prefix}{name}"


def asked_for(records: Iterable[Record]) -> dict[str, set[str]]:
    """Return by synthesizer the options that somebody set by hand, on the command line or in a suite, and so wants to see."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for name in set(record.options) - {"teacher"}:
            prefix = "" if name == "synthesizer" else f"{name}."
            chosen = record.options[name].chosen
            found[record.cell.synthesizer] |= {f"{prefix}{key}" for key, source in chosen if source in BY_HAND}
    return found


def labels(
    variants: Iterable[Variant], shown: Mapping[str, set[str]] | None = None, named: Mapping[Variant, str] | None = None
) -> dict[Variant, str]:
    """Return a row label per variant: the synthesizer, the settings in which its variants differ, and those to be shown anyway.

    A setting that some variants lack, such as an option of another part that they work with, is shown only where variants could not
    be told apart without.

    Args:
        variants: Of every synthesizer of a table.
        shown: By synthesizer, the options named also where all its variants agree (`dwa rho=0`).
        named: What some variants are called instead.
    """
    by_name: dict[str, list[Variant]] = defaultdict(list)
    for variant in variants:
        by_name[variant.synthesizer].append(variant)
    found = {}
    for name, group in by_name.items():
        settings = {variant: dict(variant.settings) for variant in group}
        keys = sorted({key for values in settings.values() for key in values})
        asked = set((shown or {}).get(name, ()))
        differing = [key for key in keys if len({values[key] for values in settings.values() if key in values}) > 1]
        if len({tuple(values.get(key) for key in differing) for values in settings.values()}) < len(settings):
            differing = [key for key in keys if len({values.get(key) for values in settings.values()}) > 1]
        differing += sorted(asked - set(differing))
        for variant, values in settings.items():
            found[variant] = " ".join([name, *(f"{key}={values[key]}" for key in differing if key in values)])
    return found | {variant: name for variant, name in (named or {}).items() if variant in found}


def named(variants: Mapping[str, Variant], names: Mapping[str, str]) -> dict[Variant, str]:
    """Return what a suite calls its variants, where it has one name for all records of one, and the name for no other.

    Args:
        variants: By record key.
        names: By record key; of some records, or empty, where there is none.
    """
    found: dict[Variant, set[str]] = defaultdict(set)
    for key, variant in variants.items():
        found[variant].add(names.get(key, ""))
    one = {variant: next(iter(called)) for variant, called in found.items() if len(called) == 1}
    times = Counter(one.values())
    return {variant: name for variant, name in one.items() if name and times[name] == 1}


def newest_code(records: Sequence[Record], code: Code) -> tuple[list[Record], int]:
    """Return the records whose sets were made by the newest files seen for their row and table, and how many that leaves out.

    An author who edits a plugin without giving it a new version never sees old and new sets averaged. `each` and `any`
    leave out none.
    """
    if code != "newest" or len({(record.cell.synthesizer, code_of(record)) for record in records}) == len(_methods(records)):
        return list(records), 0
    keys = [(heading_of(record), variant_of(record)) for record in records]
    newest: dict[tuple[Heading, Variant], Record] = {}
    for key, record in zip(keys, records, strict=True):
        if key not in newest or finished(record) > finished(newest[key]):
            newest[key] = record
    kept = [record for key, record in zip(keys, records, strict=True) if code_of(record) == code_of(newest[key])]
    return kept, len(records) - len(kept)


def _methods(records: Iterable[Record]) -> set[str]:
    return {record.cell.synthesizer for record in records}


def finished(record: Record) -> tuple[str, str]:
    """Return when a record was made, as text that sorts, with its key to break ties."""
    return (max(record.time.values(), default=""), record.key)


def one_per_coordinate(row: Mapping[Column, Iterable[Record]]) -> dict[Column, list[Record]]:
    """Return the records of a row that count, by column: of each distill seed one set, and each of its eval seeds once, the newest.

    A set that was distilled again under its seed, and came out otherwise, is no further draw. Of several sets that one counts which
    most students of the row were trained on, of equals the newest; where a column lacks it, the next.
    """
    students: dict[tuple[int, str], set[tuple[Column, int]]] = defaultdict(set)
    made: dict[tuple[int, str], tuple[str, str]] = {}
    for column, records in row.items():
        for record in records:
            students[_draw(record)].add((column, record.cell.eval_seed))
            made[_draw(record)] = max(finished(record), made.get(_draw(record), ("", "")))
    order = sorted(made, key=lambda draw: (len(students[draw]), made[draw]))
    return {column: _counted(list(records), order) for column, records in row.items()}


def _counted(records: Sequence[Record], order: Sequence[tuple[int, str]]) -> list[Record]:
    """Return the records of one row and column that count.

    Args:
        records: All that are there.
        order: Of the row's draws, those last that are rather taken.
    """
    here = {_draw(record) for record in records}
    chosen = dict(draw for draw in order if draw in here)
    used = [record for record in records if chosen[record.cell.distill_seed] == record.distilled_sha256]
    return list({(record.cell.distill_seed, record.cell.eval_seed): record for record in sorted(used, key=finished)}.values())


def _draw(record: Record) -> tuple[int, str]:
    """Return a distill seed, and the set that came of it."""
    return (record.cell.distill_seed, record.distilled_sha256)


def scores(records: Iterable[Record], metric: str) -> Scores:
    """Return a metric by distilled set and eval seed; distill seeds that gave the same bytes are one set."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for record in records:
        found[record.distilled_sha256][record.cell.eval_seed] = record.metric(metric)
    return found


def has_metric(record: Record, metric: str) -> bool:
    """Return whether a record holds a metric."""
    return any(one.name == metric for one in record.metrics)


def column_of(record: Record) -> str:
    """Return what tells a record's student from others: its fitted network, as text that sorts by name."""
    return f"{record.cell.student} {json.dumps(record.student, sort_keys=True)}"


def column_titles(columns: Mapping[Column, str]) -> dict[Column, str]:
    """Return a short name per column: without the family where that is clear, with a number where fittings differ.

    Args:
        columns: By column, its student's full name.
    """
    full = list(columns.values())
    bare = [name.rpartition("/")[2] for name in full]
    found: dict[Column, str] = {}
    for column, name, long in zip(columns, bare, full, strict=True):
        clear = name if len({other for other in full if other.rpartition("/")[2] == name}) == 1 else long
        same = [other for other, other_long in zip(columns, full, strict=True) if other_long == long]
        found[column] = clear if len(same) == 1 else f"{clear} (fitting {same.index(column) + 1})"
    return found


def same_architecture(record: Record) -> bool:
    """Return whether the student has the architecture of the teacher that the set or its labels were made with."""
    return record.cell.teacher is not None and record.cell.teacher.partition(":")[2] == record.cell.student


def heading_json(heading: Heading) -> dict[str, object]:
    """Return a heading as JSON values; without an evaluator where it names none."""
    values = {**asdict(heading), "shape": list(heading.shape)}
    return values if heading.evaluator else {name: value for name, value in values.items() if name != "evaluator"}


def _texts(prefix: str, block: OptionsBlock | None) -> dict[str, str]:
    return {f"{prefix}{key}": text for key, text in block.texts.items()} if block else {}


def _short(value: object) -> str:
    """Return a value whole, but of a hash its beginning."""
    text = str(value)
    return text[:8] if len(text) >= 20 and text.isalnum() else text
