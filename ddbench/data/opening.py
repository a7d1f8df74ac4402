"""Finds a dataset by name: under the data roots, shipped with its plugin, or prepared from its source."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from ddbench.data.folder import FolderSource
from ddbench.data.prepared import Prepared, describe, is_prepared, open_prepared
from ddbench.data.writing import silent
from ddbench.errors import BadRequest, DataDamaged, DataMissing, EnvironmentProblem, PluginFailed, UnknownName

if TYPE_CHECKING:
    from ddbench.api.dataset import DatasetSource, Report

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

SEE = "ddbench data list"


@dataclass(frozen=True)
class Listed:
    """A dataset that can be asked for by name."""

    name: str
    folder: Path | None
    """Where it lies in prepared form; None where it must be prepared first."""
    num_classes: int | None = None
    shape: tuple[int, int, int] | None = None
    download_bytes: int = 0
    """What preparing it would download."""
    origin: str = ""
    problem: str = ""
    """Why what lies there cannot be used; empty where it can."""


def open_dataset(
    name: str, *, roots: Sequence[Path], sources: Mapping[str, DatasetSource], offline: bool = False, report: Report = silent
) -> Prepared:
    """Return a dataset by name, prepared first if that is possible and was not done yet.

    Args:
        name: A folder in prepared form under a data root, or the name of a source.
        roots: Data roots, searched in order; a dataset is prepared in the first that can be written.
        sources: What plugins registered, by name.
        offline: Whether downloads are forbidden.
        report: Called with what is being done, the bytes done and the bytes in all; a download is announced through it.

    Raises:
        BadRequest: The name could not be a folder's.
        UnknownName: It is neither a source nor a folder under a root.
        DataMissing: It is nowhere, and cannot be downloaded; one sentence says where it was looked for and what to do.
        DataDamaged: What lies there is not whole.
    """
    check_name(name)
    for root in roots:
        if is_prepared(root / name):
            return open_prepared(root / name, name=name)
    if name not in sources:
        raise UnknownName("dataset", name, {*sources, *_folders(roots)}, see=SEE)
    source = sources[name]
    if source.folder is not None:
        return _open_shipped(source, source.folder)
    place = None if offline and source.download_bytes else _first_writable(roots)
    if place is None:
        raise DataMissing(_nowhere(source, roots))
    try:
        return prepare(source, place, offline=offline, report=report)
    except DataMissing as error:
        if not source.download_bytes:
            raise DataMissing(_nowhere(source, roots)) from error
        raise DataMissing(
            f"dataset {name!r} is not in {_listed(roots)}, and {error}, or name a data root that has it with --data-root"
        ) from error


def prepare(
    source: DatasetSource, root: Path, *, originals: Path | None = None, offline: bool = False, report: Report = silent
) -> Prepared:
    """Return a source's dataset, written into `root/<name>` in prepared form unless it is there already.

    It is written beside its place and renamed when it is whole; of several processes one writes and the others then
    find it.

    Raises:
        DataMissing: The original files are not there and cannot be downloaded.
        DataDamaged: A file is cut short or has the wrong checksum.
        Offline: A download would be needed.
        EnvironmentProblem: The root cannot be written, is full, or holds something else under that name.
    """
    check_name(source.name)
    target = root / source.name
    if not is_prepared(target):
        with _writing(source.name, root), _locked(source.name, root, report):
            if not is_prepared(target):
                _refuse_occupied(target)
                _write(source, target, originals=originals, offline=offline, report=report)
    return open_prepared(target, name=source.name)


def source_for(name: str, sources: Mapping[str, DatasetSource], *, originals: Path | None, size: int | None) -> DatasetSource:
    """Return what `ddbench data prepare NAME [--from DIR] [--size N]` means: a registered source, or the folder as a dataset.

    Raises:
        UnknownName: No source has the name and no folder was given.
        BadRequest: The name could not be a folder's, or a size was given for a source that has its own.
    """
    check_name(name)
    if name in sources:
        if size is not None:
            raise BadRequest(f"dataset {name!r} has its own image size; give --size with a new name, for example {name}-{size}")
        return sources[name]
    if originals is None:
        raise UnknownName("dataset", name, sources, see=f"{SEE}; a folder of images becomes a dataset with --from DIR")
    return FolderSource(name, originals, size)


def list_datasets(roots: Sequence[Path], sources: Mapping[str, DatasetSource]) -> list[Listed]:
    """Return every dataset that can be asked for, by name, without looking at images."""
    found: dict[str, Listed] = {}
    for name in sorted({*sources, *_folders(roots)}):
        source = sources.get(name)
        places = [root / name for root in roots if is_prepared(root / name)]
        folder = places[0] if places else source.folder if source else None
        found[name] = _entry(name, folder, source)
    return list(found.values())


def check_name(name: str) -> None:
    """Raise BadRequest if a dataset's name could lead out of a data root or to a hidden folder."""
    if not NAME.fullmatch(name) or ".." in name:
        raise BadRequest(f"{name!r} is no dataset name; letters, digits, '-', '_' and '.' are accepted, a letter or digit first")


def _entry(name: str, folder: Path | None, source: DatasetSource | None) -> Listed:
    download_bytes, origin = (source.download_bytes, source.origin) if source else (0, "")
    if folder is None:
        return Listed(name, None, download_bytes=download_bytes, origin=origin)
    try:
        contents = describe(folder)
    except (DataDamaged, DataMissing) as error:
        return Listed(name, folder, download_bytes=download_bytes, origin=origin, problem=str(error))
    return Listed(name, folder, len(contents.classes), contents.shape, download_bytes, contents.source or origin)


def _open_shipped(source: DatasetSource, folder: Path) -> Prepared:
    """Return a shipped dataset; nothing is ever written into a plugin's folder, whose hash says which plugin it is."""
    try:
        return open_prepared(folder, name=source.name, cached=False)
    except (DataDamaged, DataMissing) as error:
        raise DataDamaged(
            f"dataset {source.name!r}, shipped in {folder}, is damaged; reinstall the package that ships it"
        ) from error


def _write(source: DatasetSource, target: Path, *, originals: Path | None, offline: bool, report: Report) -> None:
    """Let the source write beside its place, then rename."""
    temporary = target.parent / ".preparing" / source.name
    shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed: we hold the lock
    temporary.mkdir(parents=True)
    try:
        source.prepare(temporary, originals=originals, offline=offline, report=report)
        if not is_prepared(temporary):
            raise PluginFailed(f"dataset source {source.name!r} wrote no dataset.json")
        temporary.rename(target)
        _sync_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _locked(name: str, root: Path, report: Report) -> Iterator[None]:
    """Hold a dataset's name under a root, so that one process prepares it."""
    path = root / ".locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        report(f"waiting for another process that prepares {name}", 0, 0)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writing(name: str, root: Path) -> Iterator[None]:
    """Turn what the operating system says while a dataset is written into a sentence."""
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        what = "no space is left" if full else f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
        raise EnvironmentProblem(
            f"dataset {name!r} cannot be prepared in {root} ({what}); name another folder with --data-root"
        ) from error


def _refuse_occupied(target: Path) -> None:
    """Raise unless the place is free; an empty folder is."""
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()
    elif os.path.lexists(target):
        raise EnvironmentProblem(
            f"{target} exists and is no dataset in prepared form; move it away or name another root with --data-root"
        )


def _first_writable(roots: Sequence[Path]) -> Path | None:
    for root in roots:
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                return root
        except OSError:
            continue  # read-only or no folder: the next root may do
    return None


def _folders(roots: Sequence[Path]) -> set[str]:
    """Return the names of all folders in prepared form under the roots."""
    names = {path.name for root in roots if root.is_dir() for path in _children(root) if is_prepared(path)}
    return {name for name in names if NAME.fullmatch(name)}


def _children(root: Path) -> list[Path]:
    try:
        return list(root.iterdir())
    except OSError:
        return []  # a root that may not be listed holds nothing for us


def _nowhere(source: DatasetSource, roots: Sequence[Path]) -> str:
    """Return the one sentence for a dataset that is not there."""
    way = (
        f"ddbench data prepare {source.name} (downloads {source.download_bytes / 1e6:.0f} MB from {source.origin})"
        if source.download_bytes
        else f"ddbench data prepare {source.name} --from DIR, where DIR holds {source.origin}"
    )
    return f"dataset {source.name!r} is not in {_listed(roots)}; run {way}, or name a data root that has it with --data-root DIR"


def _listed(roots: Sequence[Path]) -> str:
    return ", ".join(str(root) for root in roots) or "any data root (none is set)"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
