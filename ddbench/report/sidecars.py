"""Which test images a record's student got right, read from its sidecar: checked, bounded, and never a pickle."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ddbench.records import Record
    from ddbench.report.hits import Hits

ARRAY = "correct.npy"

LARGEST_BYTES = 256_000_000
"""Of a sidecar that is read: far above what evaluators keep, far below what would fill the memory."""

HEADER_BYTES = 4096
"""More than the header of an array takes."""


@dataclass
class Sidecars:
    """Sidecars by the keys of their records; each is read once, when it is asked for."""

    paths: Mapping[str, Path]
    _read: dict[str, NDArray[np.bool_] | None] = field(default_factory=dict)

    def correct(self, record: Record) -> NDArray[np.bool_] | None:
        """Return bool (test images,), or None where there is no sidecar that matches the record and says it."""
        if record.key not in self._read:
            path = self.paths.get(record.key)
            self._read[record.key] = _correct(record, path) if path is not None and record.sidecar is not None else None
        return self._read[record.key]

    def hits(self, records: Iterable[Record]) -> Hits | None:
        """Return what is known of all records' test images by distilled set and eval seed, or None where one is not known."""
        found: dict[str, dict[int, NDArray[np.bool_]]] = {}
        for record in records:
            correct = self.correct(record)
            if correct is None:
                return None
            found.setdefault(record.distilled_sha256, {})[record.cell.eval_seed] = correct
        return found


def _correct(record: Record, path: Path) -> NDArray[np.bool_] | None:
    images = record.dataset.test_images
    try:
        if path.stat().st_size > LARGEST_BYTES:
            return None
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != record.sidecar:
            return None
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if ARRAY not in archive.namelist() or archive.getinfo(ARRAY).file_size > images + HEADER_BYTES:
                return None
            bits = np.lib.format.read_array(io.BytesIO(archive.read(ARRAY)), allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    if bits.dtype != np.uint8 or bits.shape != ((images + 7) // 8,):
        return None
    return np.unpackbits(bits, count=images).astype(bool)
