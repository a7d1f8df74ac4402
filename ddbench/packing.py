"""Packing: an artefact, a record or a stage's work as one value of bytes that leaves one store and enters another.

The bytes are mapped from the files, not read, so that whoever sends a parcel copies them once at most. They are checked where they
arrive. A place that is taken stays as it is.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ddbench.errors import ArtefactDamaged
from ddbench.store import KINDS, file_sha256, write_synced

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ddbench.store import Store

RECORDS = "records"
WORK = "work"
FOLDER = "folder"
"""Kinds of parcels besides those of artefacts: a record with its sidecar, what a stage has finished, a folder outside any store."""

WHOLE = ""
"""Stands for all files of a key."""


@dataclass(frozen=True)
class Parcel:
    """The files of one key of a store, each with its checksum."""

    kind: str
    key: str
    files: Mapping[str, NDArray[np.uint8]]
    """uint8 (bytes,) by name."""
    sha256: Mapping[str, str]
    """By name."""

    @property
    def nbytes(self) -> int:
        return sum(content.nbytes for content in self.files.values())


def pack(store: Store, kind: str, key: str, names: Collection[str] = ()) -> Parcel | None:
    """Return an artefact with what was added to it, a record with its sidecar, or a stage's work; None where there is none.

    Of files only those named, where names are given. What is damaged is moved aside and as good as none, as where it is read.
    """
    paths = [path for path in _paths(store, kind, key) if not names or path.name in names]
    if not paths:
        return None
    return Parcel(kind, key, _mapped_all(paths), {path.name: store.checked_sha256(path) for path in paths})


def pack_folder(folder: Path, key: str, names: Iterable[str]) -> Parcel:
    """Return named files of a folder outside any store, of kind `folder`: a dataset in prepared form."""
    paths = [folder / name for name in names]
    return Parcel(FOLDER, key, _mapped_all(paths), {path.name: file_sha256(path) for path in paths})


def pack_paths(store: Store, paths: Iterable[str]) -> list[Parcel]:
    """Return parcels of what is there of some paths of a store: `teachers/KEY`, `work/KEY/settings.json`, `records/KEY.json`."""
    wanted: dict[tuple[str, str], set[str]] = {}
    for path in paths:
        kind, key, *name = path.split("/")
        wanted.setdefault((kind, key.partition(".")[0]), set()).update(name or [WHOLE])
    found = [pack(store, kind, key, () if WHOLE in names else names) for (kind, key), names in wanted.items()]
    return [parcel for parcel in found if parcel is not None]


def unpack(store: Store, parcel: Parcel) -> None:
    """Put a parcel's files where they belong; what is there already stays as it is, and what lacks is added.

    Raises:
        ArtefactDamaged: A file does not match its checksum; it is named, and nothing of the parcel is put anywhere.
        StoreProblem: The store cannot be written.
    """
    _check(parcel)
    if parcel.kind in KINDS:
        _unpack_artefact(store, parcel)
        return
    folder = store.work(parcel.key) if parcel.kind == WORK else store.root / RECORDS
    for name, content in _record_last(parcel):
        _add_file(store, folder / name, content)


def unpack_folder(parcel: Parcel, target: Path) -> None:
    """Write a parcel's files as a folder, whole or not at all; one that is there already stays as it is.

    Raises:
        ArtefactDamaged: A file does not match its checksum; it is named.
    """
    _check(parcel)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
    try:
        for name, content in parcel.files.items():
            write_synced(temporary / name, content.data)
        temporary.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check(parcel: Parcel) -> None:
    for name, content in parcel.files.items():
        if hashlib.sha256(content.data).hexdigest() != parcel.sha256[name]:
            raise ArtefactDamaged(f"{name} of {parcel.kind}/{parcel.key} does not match its checksum after it travelled")


def _paths(store: Store, kind: str, key: str) -> list[Path]:
    """Return the files of a key, verified as far as they are of a kind that can be."""
    if kind == RECORDS:
        record, path = store.record(key), store.root / RECORDS / f"{key}.json"
        return [] if record is None else [path, path.with_suffix(".npz")] if record.sidecar else [path]
    folder = store.root / kind / key
    if (kind in KINDS and store.find(kind, key) is None) or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.endswith(".part"))


def _mapped_all(paths: Iterable[Path]) -> dict[str, NDArray[np.uint8]]:
    return {path.name: _mapped(path) for path in paths}


def _mapped(path: Path) -> NDArray[np.uint8]:
    """Return uint8 (bytes,): a file's content, which is read when it is looked at."""
    if not path.stat().st_size:
        return np.empty(0, np.uint8)  # nothing cannot be mapped
    return np.asarray(np.memmap(path, np.uint8, mode="r"))


def _unpack_artefact(store: Store, parcel: Parcel) -> None:
    folder = store.root / parcel.kind / parcel.key
    if not folder.is_dir():
        with store.placing(parcel.kind, parcel.key) as temporary:
            for name, content in parcel.files.items():
                write_synced(temporary / name, content.data)
    for name, content in parcel.files.items():
        _add_file(store, folder / name, content)


def _record_last(parcel: Parcel) -> list[tuple[str, NDArray[np.uint8]]]:
    """Return the files in the order they are written: a record that is there has the sidecar it names."""
    return sorted(parcel.files.items(), key=lambda item: item[0].endswith(".json"))


def _add_file(store: Store, path: Path, content: NDArray[np.uint8]) -> None:
    if not path.exists():
        store.write_file(path, content.tobytes())
