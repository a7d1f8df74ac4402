"""Recomputes every checksum of a record and of what it names, and says of each what it came to. Nothing is moved or repaired."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from ddbench.api.protocol import ProtocolSpec
from ddbench.distilled import DATA, DistilledSet
from ddbench.errors import ArtefactDamaged, DdbenchError
from ddbench.exchange.manifests import MANIFEST, read_manifest
from ddbench.exchange.safety import refuse_stray, regular, shown
from ddbench.exchange.tensorfiles import read_arrays
from ddbench.provenance import beside, standing
from ddbench.records import MetricBlock, read_record
from ddbench.store import file_sha256

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ddbench.records import Record

State = Literal["ok", "missing", "damaged"]

KEY = re.compile(r"[0-9a-f]{8,64}")

RECORD_BYTES = 16 * 2**20
"""A larger file is no record."""

SIDECAR_BYTES = 2 * 2**30
"""Predictions and what evaluators keep, unpacked."""

CARD = "card.json"

NEED_KINDS = ("teachers", "priors", "experts")
"""Where what was made for a synthesizer may lie."""


@dataclass(frozen=True)
class Finding:
    """What one check came to."""

    what: str
    state: State
    about: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the same as JSON values."""
        return {"what": self.what, "state": self.state, "about": self.about}


@dataclass(frozen=True)
class Checked:
    """A record with every finding on it and on what it names."""

    path: Path
    record: Record | None
    """None where the file is no whole record."""
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged; what is missing was not there to be checked."""
        return self.record is not None and all(one.state != "damaged" for one in self.findings)


@dataclass(frozen=True)
class TestLabels:
    """The classes of a dataset's test images, to hold predictions against."""

    __test__ = False

    labels: NDArray[np.int64]
    """int64 (N,), in the split's order."""
    order_sha256: str


def check_record(path: Path, root: Path | None, test: TestLabels | None = None) -> Checked:
    """Return what a record's checks came to.

    Args:
        path: The record's file; its predictions and provenance lie beside it.
        root: A folder laid out as a store, where what it names is looked for; None looks nowhere.
        test: Test labels, for which the metric is computed again from the predictions; None leaves it.
    """
    try:
        record = read_record(regular(path, RECORD_BYTES).read_bytes(), where=shown(path))
    except DdbenchError as problem:
        return Checked(path, None, (Finding("record", "damaged", str(problem)),))
    findings = [Finding("record", "ok", f"sha256 {record.sha256}"), _named(record, path), _protocol(record)]
    findings += [_sidecar(record, path), _once(record), *_metric(record, path, test), *_unchecked(record)]
    findings += _artefacts(record, root) if root else []
    return Checked(path, record, (*findings, _provenance(record, path)))


def check_artefact(kind: str, key: str, root: Path) -> list[Finding]:
    """Return a finding for an artefact's card and for every file it names."""
    title = f"{kind} {shown(key)}"
    folder = root / kind / key
    if not KEY.fullmatch(key):
        return [Finding(title, "damaged", "that is no key")]
    if not folder.is_dir():
        return [Finding(title, "missing", "it is not here, and was not checked")]
    card = MANIFEST if kind == "distilled" else CARD
    try:
        content = read_manifest(folder / card)
    except DdbenchError as problem:
        return [Finding(f"{title}: {card}", "damaged", str(problem))]
    own = Finding(f"{title}: {card}", "ok", f"sha256 {content['sha256']}")
    return [own, *(_file(title, folder, name, entry) for name, entry in sorted(content["files"].items()))]


def predictions_of(record: Record, path: Path) -> NDArray[Any] | None:
    """Return the predictions beside a record, or None where there are none that match it."""
    sidecar = path.with_suffix(".npz")
    if record.sidecar is None or not sidecar.is_file() or file_sha256(sidecar) != record.sidecar:
        return None
    try:
        found = read_arrays(sidecar, SIDECAR_BYTES).get("predictions")
    except DdbenchError:
        return None
    return None if found is None else found.numpy()


def _named(record: Record, path: Path) -> Finding:
    if not KEY.fullmatch(record.key) or path.stem != record.key:
        return Finding("key", "damaged", f"the file is called {shown(path.name)}, and the record's key is {shown(record.key)!r}")
    return Finding("key", "ok", record.key)


def _protocol(record: Record) -> Finding:
    """Return whether the recipe in the record is the one its hash names."""
    try:
        sha256 = ProtocolSpec.model_validate(record.protocol).sha256
    except pydantic.ValidationError as error:
        return Finding("protocol", "damaged", f"it is no protocol: {shown(error.errors()[0]['msg'])}")
    if (sha256, record.protocol.get("name")) != (record.protocol_sha256, record.cell.protocol):
        return Finding(
            "protocol",
            "damaged",
            f"the recipe is not that of {shown(record.cell.protocol)}, sha256 {shown(record.protocol_sha256)}",
        )
    return Finding("protocol", "ok", f"{record.cell.protocol}, sha256 {sha256}")


def _sidecar(record: Record, path: Path) -> Finding:
    sidecar = path.with_suffix(".npz")
    if record.sidecar is None:
        return Finding("predictions", "missing", "the record has none")
    if not sidecar.is_file():
        return Finding("predictions", "missing", f"{shown(sidecar.name)} is not here, and was not checked")
    if file_sha256(sidecar) != record.sidecar:
        return Finding("predictions", "damaged", f"{shown(sidecar)} does not match its checksum in the record")
    return Finding("predictions", "ok", f"sha256 {shown(record.sidecar)}")


def _once(record: Record) -> Finding:
    """Return whether every metric stands once: a table might show one value where another was checked."""
    twice = [shown(name) for name, count in Counter(one.name for one in record.metrics).items() if count > 1]
    return Finding("metrics", "damaged" if twice else "ok", f"the record states {', '.join(twice)} more than once" if twice else "")


def _unchecked(record: Record) -> Iterator[Finding]:
    """Give metrics that neither predictions nor an evaluation tell: of a trained student, or with no evaluation named."""
    stated: dict[str, list[str]] = {}
    for one in record.metrics:
        name = one.evaluator.partition(" ")[0]
        block = record.evaluators.get(name)
        if one.name != "top1" and (block is None or block.key is None):
            stated.setdefault(name, []).append(shown(one.name))
    for name, metrics in stated.items():
        about = f"{', '.join(metrics)}: as the record states them, and not checked"
        yield Finding(f"metrics of {shown(name)}", "missing", about)


def _metric(record: Record, path: Path, test: TestLabels | None) -> Iterator[Finding]:
    """Give what top1 comes to when it is computed again from the predictions."""
    predictions = predictions_of(record, path)
    stated = {one.name: one.value for one in record.metrics}.get("top1")
    if test is None or predictions is None or stated is None:
        return
    if test.order_sha256 != record.dataset.test_order_sha256 or predictions.shape != test.labels.shape:
        yield Finding("top1", "missing", f"{shown(record.cell.dataset)} has other test images here, and it was not computed again")
        return
    value = float((predictions == test.labels).mean())
    same = abs(value - stated) < 0.5 / len(predictions)
    yield Finding("top1", "ok" if same else "damaged", f"{value:.6f} by the predictions, {stated:.6f} in the record")


def _artefacts(record: Record, root: Path) -> Iterator[Finding]:
    """Give the findings on everything the record names."""
    yield from check_artefact("distilled", record.distilled_key, root)
    yield from _same_set(record, root)
    if record.teacher_key is not None:
        yield from check_artefact("teachers", record.teacher_key, root)
    for name, key in record.needs.items():
        kinds = [kind for kind in NEED_KINDS if (root / kind / key).is_dir()] if KEY.fullmatch(key) else []
        if key != record.teacher_key:
            yield from check_artefact(kinds[0] if kinds else f"need {shown(name)}", key, root)
    if record.labels_key is not None:
        yield from check_artefact("labels", record.labels_key, root)
    for name, block in record.evaluators.items():
        if block.key is not None:
            yield from check_artefact("evaluations", block.key, root)
            yield from _same_metrics(record, name, root / "evaluations" / block.key)


def _same_set(record: Record, root: Path) -> Iterator[Finding]:
    """Give whether the set here is the one that the student learned from."""
    folder = root / "distilled" / record.distilled_key
    if not KEY.fullmatch(record.distilled_key) or not (folder / MANIFEST).is_file():
        return
    try:
        content = read_manifest(folder / MANIFEST)
    except ArtefactDamaged:
        return
    entry = content["files"].get(DATA)
    same = isinstance(entry, dict) and entry.get("sha256") == record.distilled_sha256
    yield Finding(
        "the record's set", "ok" if same else "damaged", "" if same else "the set here is not the one the student learned from"
    )
    if same and (folder / DATA).is_file() and file_sha256(folder / DATA) == record.distilled_sha256:
        yield _same_bytes(record, DistilledSet(folder, content))


def _same_bytes(record: Record, found: DistilledSet) -> Finding:
    """Return whether the record states the bytes that the parts of its set have."""
    from safetensors import SafetensorError

    try:
        parts = found.bytes
    except (SafetensorError, OSError, ValueError) as error:
        return Finding("the set's bytes", "damaged", f"{DATA} is no safetensors file ({shown(error)})")
    wrong = [f"{part} {record.bytes.get(part)}, not {size}" for part, size in parts.items() if record.bytes.get(part) != size]
    return Finding("the set's bytes", "damaged" if wrong else "ok", f"the record states {', '.join(wrong)}" if wrong else "")


def _same_metrics(record: Record, evaluator: str, folder: Path) -> Iterator[Finding]:
    """Give whether the record says of its set what the evaluation that it names says of that set."""
    try:
        card = read_manifest(folder / CARD)
        given = tuple(MetricBlock.model_validate(metric) for metric in card["metrics"])
    except (DdbenchError, pydantic.ValidationError, KeyError, TypeError):
        return  # the card's own finding tells
    stated = tuple(one for one in record.metrics if one.evaluator.partition(" ")[0] == evaluator)
    same = stated == given and card.get("distilled") == record.distilled_key
    why = "the record states other metrics than the evaluation it names, or that is of another set"
    yield Finding(f"metrics of {shown(evaluator)}", "ok" if same else "damaged", "" if same else why)


def _file(title: str, folder: Path, name: str, entry: object) -> Finding:
    """Return what a file's checksum came to; one that was left out on purpose is missing."""
    what = f"{title}: {shown(name)}"
    try:
        refuse_stray(name, folder)
    except DdbenchError as problem:
        return Finding(what, "damaged", str(problem))
    path = folder / name
    if not path.is_file():
        return Finding(what, "missing", "it is not here, and was not checked")
    expected = entry.get("sha256") if isinstance(entry, Mapping) else None
    found = file_sha256(path)
    return (
        Finding(what, "ok", f"sha256 {found}") if found == expected else Finding(what, "damaged", "it does not match its checksum")
    )


def _provenance(record: Record, path: Path) -> Finding:
    found = standing(record, path)
    if found.problem:
        return Finding("level", "damaged", found.problem)
    how = f"{len(found.checks)} checks in {beside(path).name}" if found.checks else "nothing raised it yet"
    return Finding("level", "ok", f"{found.level}: {how}")
