"""Verifies records: checksums first, then, if asked, students trained again; what agrees raises the record's level."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.data import open_dataset
from ddbench.errors import BadRequest, DdbenchError
from ddbench.exchange.checking import Checked, TestLabels, check_record
from ddbench.exchange.manifests import MANIFEST, read_manifest
from ddbench.exchange.safety import shown
from ddbench.provenance import as_bytes, beside, standing, with_check
from ddbench.records import read_record

if TYPE_CHECKING:
    from ddbench.exchange.retraining import Asked, Verdict
    from ddbench.provenance import Level
    from ddbench.records import Record
    from ddbench.workspace import Workspace


@dataclass(frozen=True)
class Result:
    """What verifying a record came to."""

    checked: Checked
    verdict: Verdict | None = None
    """Of students trained again; None where that was not asked, or where a checksum already failed."""
    level: Level | None = None
    """The record's level now; None where there is no whole record."""
    raised: Path | None = None
    """The file that the level was written into; None where nothing was."""

    @property
    def passed(self) -> bool:
        """Whether nothing was found damaged and students, if trained, agreed."""
        return self.checked.sound and (self.verdict is None or self.verdict.agrees)

    def to_json(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        record, verdict = self.checked.record, self.verdict
        return {
            "key": record.key if record else self.checked.path.stem,
            "passed": self.passed,
            "level": self.level,
            "findings": [finding.to_json() for finding in self.checked.findings],
            "retrained": verdict and {"agrees": verdict.agrees, "why": verdict.why, "check": verdict.check.model_dump(mode="json")},
        }


def verify(path: Path, root: Path | None, workspace: Workspace, asked: Asked | None, keep: Path | None = None) -> Result:
    """Return what a record's checks came to; one whose students agree is raised to `verified` or `reproduced`.

    Args:
        path: The record's file.
        root: A folder laid out as a store, which holds what the record names; None where there is none.
        workspace: Knows datasets, networks and protocols.
        asked: How students are trained again; None trains none.
        keep: A folder that gets a copy of the record, its predictions and the file with its level; None keeps the level beside
            the record itself.

    Raises:
        BadRequest: `keep` holds another record under the same key.
        DdbenchError: Students cannot be trained again here.
    """
    checked = check_record(path, root, _test_labels(path, workspace))
    record = checked.record
    if record is None or not checked.sound or asked is None:
        return Result(checked, None, standing(record, path).level if record else None)
    target = path if keep is None else _place(record, keep)
    verdict = _judged(record, path, root or path.parent, workspace, asked)
    if not verdict.agrees:
        return Result(checked, verdict, standing(record, path).level)
    if target != path:
        _copy(path, target)
        _draw(record, root, target.parent)
    known = standing(record, target).provenance
    workspace.store.write_file(beside(target), as_bytes(with_check(known, record, verdict.check)))
    return Result(checked, verdict, standing(record, target).level, beside(target))


def _judged(record: Record, path: Path, source: Path, workspace: Workspace, asked: Asked) -> Verdict:
    if asked.redistil:
        from ddbench.exchange.redistilling import redistil

        return redistil(record, path, workspace, asked)
    from ddbench.exchange.retraining import retrain

    return retrain(record, path, source, workspace, asked)


def _place(record: Record, keep: Path) -> Path:
    """Return where a record is kept in a folder.

    Raises:
        BadRequest: Another record is there.
    """
    target = keep / f"{record.key}.json"
    if target.exists() and read_record(target.read_bytes(), where=shown(target)).sha256 != record.sha256:
        raise BadRequest(f"{target} holds another record under the key {record.key}; name another folder with --out")
    return target


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".npz", ".json"):  # a record that is there has its predictions
        if path.with_suffix(suffix).is_file() and not target.with_suffix(suffix).exists():
            shutil.copyfile(path.with_suffix(suffix), target.with_suffix(suffix))


def _draw(record: Record, root: Path | None, folder: Path) -> None:
    """Write a picture of the set, drawn anew, under the name by which a leaderboard finds it."""
    from ddbench.distilled import DistilledSet, shown_in_preview, to_pixels, write_preview

    target = folder / f"{record.distilled_key}.png"
    if root is None or target.exists():
        return
    kept = root / "distilled" / record.distilled_key
    found = DistilledSet(kept, read_manifest(kept / MANIFEST))
    shown_images = shown_in_preview(found.labels)
    facts = found.manifest["dataset"]
    pixels = to_pixels(found.images[shown_images], found.space, facts["mean"], facts["std"])
    write_preview(pixels, found.labels[shown_images], target)


def _test_labels(path: Path, workspace: Workspace) -> TestLabels | None:
    """Return the test labels of a record's dataset, or None where this machine does not have it; nothing is downloaded."""
    try:
        name = read_record(path.read_bytes()).cell.dataset
        sources = workspace.plugins.all("dataset")
        data = open_dataset(name, roots=workspace.settings.data_roots, sources=sources, offline=True, report=_silent)
    except (DdbenchError, OSError):
        return None
    return TestLabels(np.asarray(data.test.labels), data.order_sha256["test"])


def _silent(what: str, done: int, total: int) -> None:
    """Say nothing."""
