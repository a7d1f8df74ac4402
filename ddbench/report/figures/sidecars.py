"""What lies beside records: kept tensors of evaluations, and distilled sets; read as numpy, checked by their checksums."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddbench.errors import ArtefactDamaged, DataMissing
from ddbench.store import EVALUATED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ddbench.records import EvaluatorBlock, Record
    from ddbench.store import Store

Arrays = dict[str, "NDArray[Any]"]


@dataclass(frozen=True)
class Sidecars:
    """Where to look: a store, and folders of kept records."""

    store: Store
    folders: tuple[Path, ...] = ()

    def kept(self, record: Record, evaluator: str) -> Arrays:
        """Return the tensors that an evaluator of scope `set` kept of a record's distilled set.

        Raises:
            DataMissing: The record was not measured by it, or its tensors are nowhere.
            ArtefactDamaged: They do not match the record.
        """
        block = record.evaluators.get(evaluator)
        if block is None or block.key is None or block.sidecar is None:
            raise DataMissing(f"{_named(record)} was not measured by {evaluator!r}; {measure_again(record, evaluator)}")
        path = self._found(block)
        if path is None:
            raise DataMissing(
                f"what {evaluator!r} keeps of {_named(record)} is not there (evaluations/{block.key}/{EVALUATED}, or "
                f"{block.key}.npz beside kept records); {measure_again(record, evaluator)}"
            )
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != block.sidecar:
            raise ArtefactDamaged(f"{path} does not match the record {record.key}; {measure_again(record, evaluator)}")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def distilled(self, record: Record, names: Sequence[str] = ("images", "labels")) -> tuple[Arrays, dict[str, Any]]:
        """Return tensors of a record's distilled set, those it has, and its manifest.

        Raises:
            DataMissing: The store has not got the set.
            ArtefactDamaged: It does not match the record.
        """
        from safetensors import safe_open

        from ddbench.distilled import DATA

        artefact = self.store.find("distilled", record.distilled_key)
        if artefact is None:
            raise DataMissing(
                f"the store {self.store.root} has not got the images of {_named(record)} (distilled/{record.distilled_key}); "
                f"make them with: {command(record)}"
            )
        if artefact.file_sha256(DATA) != record.distilled_sha256:
            raise ArtefactDamaged(f"{artefact.path(DATA)} is not the set of record {record.key}")
        with safe_open(artefact.path(DATA), framework="numpy") as file:
            known = set(file.keys())
            return {name: file.get_tensor(name) for name in names if name in known}, dict(artefact.card)

    def card(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return the card of an artefact in the store, or None where there is none that can be read."""
        try:
            return self.store.card(kind, key)
        except ArtefactDamaged:
            return None

    def _found(self, block: EvaluatorBlock) -> Path | None:
        places = [self.store.root / "evaluations" / str(block.key) / EVALUATED]
        places += [folder / f"{block.key}.npz" for folder in self.folders]
        places += [folder.parent / "evaluations" / str(block.key) / EVALUATED for folder in self.folders]
        return next((path for path in places if path.is_file()), None)


def command(record: Record, evaluator: str | None = None) -> str:
    """Return a command that makes a record's set again, as far as its coordinate and hand-set options tell."""
    cell = record.cell
    words = ["ddbench run", cell.synthesizer, "--dataset", cell.dataset, "--ipc", str(cell.ipc), "--protocol", cell.protocol]
    words += ["--students", cell.student]
    for name, block in sorted(record.options.items()):
        prefix = "" if name == "synthesizer" else f"{name}."
        hand = [key for key, source in sorted(block.sources.items()) if source in {"command line", "suite"}]
        words += [word for key in hand for word in ("-o", f"{prefix}{key}={json.dumps(block.values[key])}")]
    if evaluator:
        words += ["--evaluators", evaluator]
    return " ".join(words)


def measure_again(record: Record, evaluator: str) -> str:
    """Return the half sentence that says which command measures."""
    return f"make it with: {command(record, evaluator)}"


def pixels(images: NDArray[Any], manifest: dict[str, Any]) -> NDArray[np.uint8]:
    """Return images of any space as uint8 (N, C, H, W), clamped; whitened ones are stretched each to its own range."""
    space, shape = manifest["space"], (1, -1, 1, 1)
    if space == "uint8":
        return images.astype(np.uint8)
    values = images.astype(np.float64)
    if space == "normalised":
        mean, std = (np.asarray(manifest["dataset"][name]).reshape(shape) for name in ("mean", "std"))
        values = values * std + mean
    elif space == "zca":
        low, high = (found(values, axis=(1, 2, 3), keepdims=True) for found in (np.min, np.max))
        values = (values - low) / np.maximum(high - low, 1e-8)
    rounded: NDArray[np.uint8] = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return rounded


def _named(record: Record) -> str:
    cell = record.cell
    return f"{cell.synthesizer} on {cell.dataset}, ipc {cell.ipc}, distill seed {cell.distill_seed}"
