"""The store: content-addressed, atomic, append-only, safe for several processes; it never reads a pickle."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock
from safetensors import SafetensorError

from ddbench.errors import ArtefactDamaged, StoreProblem
from ddbench.provenance import SUFFIX, Check, Standing, as_bytes, beside, standing, with_check
from ddbench.reading import RecordReader
from ddbench.records import Record, canonical, checksum, record_text

KINDS = ("teachers", "priors", "experts", "distilled", "labels", "evaluations")
"""Artefacts that are folders with a card."""

EVALUATED = "kept.npz"
"""In an evaluation: the tensors that the evaluator keeps."""

KEY_LENGTH = 20

NUMERICS_VERSION = 1
"""Bumped when a change in ddbench itself (not in a plugin) moves a number; part of every key."""

OS_ERROR = re.compile(r"os error (\d+)")
"""In what safetensors says where the operating system refused; it raises no OSError."""

LOCK_TIMEOUT_S = 24 * 3600.0


def key_of(**parts: object) -> str:
    """Return the key of a stage: a hash of everything that decides its result, ddbench's numerics included."""
    return hashlib.sha256(canonical({"numerics": NUMERICS_VERSION, **parts})).hexdigest()[:KEY_LENGTH]


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Artefact:
    """A whole, verified folder of the store."""

    kind: str
    key: str
    folder: Path
    card: Mapping[str, Any]

    def path(self, name: str) -> Path:
        return self.folder / name

    def file_sha256(self, name: str) -> str:
        """Return a file's checksum as its card holds it."""
        return str(self.card["files"][name]["sha256"])


@dataclass
class Store:
    """A folder of artefacts, records and failures."""

    root: Path
    damaged: list[str] = field(default_factory=list)
    """A sentence for every artefact found damaged and moved aside."""
    _verified: dict[tuple[str, int, int], str] = field(default_factory=dict)

    def find(self, kind: str, key: str) -> Artefact | None:
        """Return a verified artefact, or None where there is none.

        A damaged one is noted in `damaged`, moved aside and treated as absent, so that it is made again.
        """
        folder = self.root / kind / key
        if not folder.is_dir():
            return None
        try:
            return Artefact(kind, key, folder, self._verified_card(folder, _card_name(kind)))
        except ArtefactDamaged as problem:
            self._set_aside(folder, f"{kind}-{key}", str(problem))
            return None

    def holds(self, kind: str, key: str) -> bool:
        """Return whether there is an artefact, whole or damaged."""
        return (self.root / kind / key).is_dir()

    def card(self, kind: str, key: str) -> dict[str, Any]:
        """Return an artefact's card without verifying the files it names.

        Raises:
            ArtefactDamaged: The card is missing or does not match its own checksum.
        """
        return _read_card(self.root / kind / key / _card_name(kind))

    @contextmanager
    def writing(self, kind: str, key: str, card: dict[str, Any]) -> Iterator[Path]:
        """Give a temporary folder; at the end of the block it becomes the artefact, whole and checksummed, in one rename.

        Whatever the block adds to `card` is written with it.
        """
        with self.placing(kind, key) as temporary:
            yield temporary
            card["files"] = {path.name: _file_entry(path) for path in sorted(temporary.iterdir())}
            card["sha256"] = checksum(card)
            write_synced(temporary / _card_name(kind), json.dumps(card, indent=1, sort_keys=True, allow_nan=False).encode())

    @contextmanager
    def placing(self, kind: str, key: str) -> Iterator[Path]:
        """Give a temporary folder; at the end of the block it becomes the artefact as it is, in one rename.

        An artefact that is there already stays.
        """
        with self._storing():
            temporary = self._temporary_folder()
            try:
                yield temporary
                target = self.root / kind / key
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    temporary.rename(target)
                    _sync_folder(target.parent)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold a key, so that of several processes one makes the artefact and the others then find it."""
        with self._storing():
            lock = self._file_lock(key)
            lock.acquire(timeout=LOCK_TIMEOUT_S)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def lock_if_free(self, key: str) -> Iterator[bool]:
        """Hold a key and give True, or give False at once where another process holds it."""
        with self._storing():
            lock = self._file_lock(key)
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                free = False
            else:
                free = True
        try:
            yield free
        finally:
            lock.release()

    def _file_lock(self, key: str) -> filelock.BaseFileLock:
        path = self.root / "locks" / f"{key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(path)

    def work(self, key: str) -> Path:
        """Return the folder of what a running stage needs to go on, made if it was not there."""
        with self._storing():
            folder = self.root / "work" / key
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def discard_work(self, key: str) -> None:
        """Remove what a finished stage no longer needs."""
        shutil.rmtree(self.root / "work" / key, ignore_errors=True)

    def write_file(self, path: Path, content: bytes) -> None:
        """Write one file atomically: a reader sees the old one or the new one, whole."""
        with self._storing():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
            try:
                write_synced(temporary, content)
                temporary.replace(path)
                _sync_folder(path.parent)
            finally:
                temporary.unlink(missing_ok=True)

    def has_record(self, key: str) -> bool:
        """Return whether a cell's record is there; nothing of it is read."""
        return (self.root / "records" / f"{key}.json").is_file()

    def record(self, key: str) -> Record | None:
        """Return a cell's record, or None; a damaged one is moved aside, so that it is made again."""
        try:
            return self.read_record(key)
        except ArtefactDamaged as problem:
            self._set_aside(self.root / "records" / f"{key}.json", f"record-{key}", str(problem))
            return None

    def read_record(self, key: str, reader: RecordReader | None = None) -> Record | None:
        """Return a cell's record, or None where there is none; nothing is moved.

        Raises:
            ArtefactDamaged: It, or its sidecar, is not as it was written.
        """
        path = self.root / "records" / f"{key}.json"
        if not path.is_file():
            return None
        record = (reader or RecordReader()).read(path.read_bytes(), where=str(path))
        sidecar = path.with_suffix(".npz")
        if record.sidecar is not None and (not sidecar.is_file() or file_sha256(sidecar) != record.sidecar):
            raise ArtefactDamaged(f"{sidecar} is missing or does not match its record")
        return record

    def add_record(self, record: Record, sidecar: bytes | None) -> Record:
        """Write a record and its sidecar; an existing record is never replaced."""
        path = self.root / "records" / f"{record.key}.json"
        if sidecar is not None:
            self.write_file(path.with_suffix(".npz"), sidecar)
            record = record.model_copy(update={"sidecar": hashlib.sha256(sidecar).hexdigest()})
        sealed = record.sealed()
        self.write_file(path, record_text(sealed.model_dump(mode="json")))
        return sealed

    def standing(self, record: Record) -> Standing:
        """Return the level of a record of this store, and what it rests on."""
        return standing(record, self.root / "records" / f"{record.key}.json")

    def add_check(self, record: Record, check: Check) -> Standing:
        """Keep a check beside a record, after earlier ones, and return the level it now has."""
        path = self.root / "records" / f"{record.key}.json"
        self.write_file(beside(path), as_bytes(with_check(standing(record, path).provenance, record, check)))
        return standing(record, path)

    def record_keys(self) -> list[str]:
        """Return the keys of all records, sorted."""
        folder = self.root / "records"
        return sorted(entry.name[:-5] for entry in os.scandir(folder) if entry.name.endswith(".json")) if folder.is_dir() else []

    def records(self, reader: RecordReader | None = None) -> Iterator[Record]:
        """Give every whole record, by key; a damaged one is told, and stays where it is."""
        reader = reader or RecordReader()
        for key in self.record_keys():
            try:
                record = self.read_record(key, reader)
            except ArtefactDamaged as problem:
                self.damaged.append(f"left out: {problem}")
            else:
                if record is not None:
                    yield record

    def add_failure(self, key: str, content: Mapping[str, Any]) -> Path:
        """Keep why a cell failed, beside earlier failures of the same cell."""
        path = _free(self.root / "failures", key, ".json")
        self.write_file(path, json.dumps(content, indent=1, sort_keys=True).encode())
        return path

    def failures(self) -> list[dict[str, Any]]:
        """Return the failures kept, by key and number."""
        folder = self.root / "failures"
        return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []

    def failure_keys(self) -> set[str]:
        """Return the keys of cells that failed at some time."""
        folder = self.root / "failures"
        names = (entry.name for entry in os.scandir(folder)) if folder.is_dir() else ()
        return {name.rpartition("-")[0] for name in names if name.endswith(".json")}

    def keys(self, kind: str) -> list[str]:
        """Return the keys of one kind of artefact, sorted."""
        folder = self.root / kind
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []

    def replace(self, kind: str, key: str) -> None:
        """Move an artefact or a record (kind `records`) aside, so that it is made afresh; nothing is deleted."""
        names = [f"{key}.json", f"{key}.npz", f"{key}{SUFFIX}"] if kind == "records" else [key]
        with self._storing():
            for path in (self.root / kind / name for name in names):
                if path.exists():
                    folder = self.root / "replaced"
                    folder.mkdir(parents=True, exist_ok=True)
                    path.rename(_free(folder, f"{kind}-{path.stem}", path.suffix))

    def annotate(self, kind: str, key: str, name: str, content: Mapping[str, Any]) -> None:
        """Add what is known of an artefact only after it was stored, such as a teacher's test top1."""
        sealed = {**content, "sha256": checksum(content)}
        self.write_file(self.root / kind / key / f"after-{name}.json", json.dumps(sealed, allow_nan=False).encode())

    def annotations(self, kind: str, key: str) -> dict[str, dict[str, Any]]:
        """Return what was added to an artefact after it was stored, by name; damaged additions are as good as none."""
        found = {}
        for path in sorted((self.root / kind / key).glob("after-*.json")):
            try:
                content = json.loads(path.read_bytes())
            except ValueError:
                continue
            if content.get("sha256") == checksum(content):
                found[path.stem.removeprefix("after-")] = {name: value for name, value in content.items() if name != "sha256"}
        return found

    def remove(self, kind: str, key: str) -> int:
        """Remove an artefact and return how many bytes that freed."""
        folder = self.root / kind / key
        freed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        shutil.rmtree(folder, ignore_errors=True)
        return freed

    def check_writable(self) -> None:
        """Raise StoreProblem before any work is done if nothing could be kept."""
        with self._storing():
            shutil.rmtree(self._temporary_folder())

    def checked_sha256(self, path: Path) -> str:
        """Return a file's sha256, computed once per size and time stamp in this process."""
        stat = path.stat()
        known = (str(path), stat.st_size, stat.st_mtime_ns)
        if known not in self._verified:
            self._verified[known] = file_sha256(path)
        return self._verified[known]

    def _temporary_folder(self) -> Path:
        parent = self.root / "temporary"
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=parent))

    def _verified_card(self, folder: Path, name: str) -> dict[str, Any]:
        card = _read_card(folder / name)
        for file, entry in card["files"].items():
            path = folder / file
            if not path.is_file() or self.checked_sha256(path) != entry["sha256"]:
                raise ArtefactDamaged(f"{path} is missing or does not match the checksum in its card")
        return card

    def _set_aside(self, path: Path, label: str, why: str) -> None:
        with self._storing():
            folder = self.root / "damaged"
            folder.mkdir(parents=True, exist_ok=True)
            path.rename(_free(folder, label, path.suffix))
        self.damaged.append(f"{why}; moved to {folder} and made again")

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except filelock.Timeout as error:
            raise StoreProblem(
                f"store {self.root}: another process has held {error.lock_file} for a day; end it or remove the file"
            ) from error
        except OSError as error:
            raise StoreProblem(_sentence(self.root, error)) from error
        except SafetensorError as error:
            number = OS_ERROR.search(str(error))
            if number is None:
                raise
            code = int(number[1])
            raise StoreProblem(_sentence(self.root, OSError(code, os.strerror(code)))) from error


def _sentence(root: Path, error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"store {root}: no space left on the device; free some or name another with --store. What was finished is kept"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}:
        return f"store {root} cannot be written ({error.strerror}: {error.filename}); name another with --store or DDBENCH_STORE"
    return f"store {root}: {error}"


def _free(folder: Path, label: str, suffix: str) -> Path:
    """Return the first path `label-N` in a folder that nothing has; other files there are not looked at, however many."""
    return next(path for number in itertools.count() if not (path := folder / f"{label}-{number}{suffix}").exists())


def _card_name(kind: str) -> str:
    return "manifest.json" if kind == "distilled" else "card.json"


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ArtefactDamaged(f"{path} cannot be read: {error}") from error
    if not isinstance(card, dict) or card.get("sha256") != checksum(card) or not isinstance(card.get("files"), dict):
        raise ArtefactDamaged(f"{path} does not match its own checksum")
    return card


def _file_entry(path: Path) -> dict[str, object]:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}


def write_synced(path: Path, content: bytes | memoryview) -> None:
    """Write a file, and return when it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
