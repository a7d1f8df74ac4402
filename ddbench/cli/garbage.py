"""What of a store can go: leavings of killed runs, and artefacts that no record needs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ddbench.store import KINDS

if TYPE_CHECKING:
    from ddbench.store import Store

LEAVINGS = ("work", "temporary", "locks")
"""Folders that hold nothing a finished run needs."""

FILES = ("records", "failures", "suites", "suites/cells")
"""Folders of single files; a process that was killed while it wrote one leaves a part of it."""

SET_ASIDE = ("damaged", "replaced")
"""Folders of artefacts that were made again."""


@dataclass(frozen=True)
class Garbage:
    """Something that can be removed."""

    kind: str
    key: str
    path: Path
    bytes: int


def find_garbage(store: Store, *, older_than_s: float, unreferenced: bool) -> list[Garbage]:
    """Return what can go and was last touched longer ago than `older_than_s`.

    Args:
        store: The store.
        older_than_s: Age in seconds; a run in progress touches what it needs.
        unreferenced: Also artefacts that no record, and no artefact that a record needs, was made from, and what was made again.
    """
    limit = time.time() - older_than_s
    found = [*_leavings(store), *(_unreferenced(store) if unreferenced else ())]
    return [one for one in found if _touched(one.path) < limit]


def remove(store: Store, found: Sequence[Garbage]) -> list[Garbage]:
    """Remove what is found and not in use by another process; return what was removed."""
    return [one for one in found if _removed(store, one)]


def size_bytes(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def _leavings(store: Store) -> Iterator[Garbage]:
    yield from _contents(store, LEAVINGS)
    for folder in (store.root / name for name in FILES):
        yield from (Garbage("part", path.name, path, size_bytes(path)) for path in sorted(folder.glob(".*.part")))


def _contents(store: Store, kinds: Sequence[str]) -> Iterator[Garbage]:
    for kind in kinds:
        folder = store.root / kind
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            yield Garbage(kind, path.name.removesuffix(".lock"), path, size_bytes(path))


def _unreferenced(store: Store) -> Iterator[Garbage]:
    needed = _needed(store)
    for kind in KINDS:
        for key in store.keys(kind):
            if key not in needed:
                folder = store.root / kind / key
                yield Garbage(kind, key, folder, size_bytes(folder))
    yield from _contents(store, SET_ASIDE)


def _needed(store: Store) -> set[str]:
    """Return the keys that records name, and those that their distilled sets were made with."""
    from ddbench.errors import ArtefactDamaged

    needed: set[str] = set()
    for record in store.records():
        needed.update(key for key in (record.distilled_key, record.teacher_key, record.labels_key) if key)
        for block in record.evaluators.values():
            needed.update((*block.needs.values(), *((block.key,) if block.key else ())))
    for key in store.keys("distilled"):
        if key in needed:
            try:
                needed.update(str(need) for need in store.card("distilled", key).get("needs", {}).values())
            except ArtefactDamaged:
                continue  # it will be made again with a teacher of its own key
    return needed


def _touched(path: Path) -> float:
    """Return when a file, or the newest thing in a folder, was last changed."""
    times = [path.stat().st_mtime]
    times += [inner.stat().st_mtime for inner in path.rglob("*")] if path.is_dir() else []
    return max(times)


def _removed(store: Store, one: Garbage) -> bool:
    """Remove one thing under its lock; say no where another process holds it."""
    import filelock

    path = store.root / "locks" / f"{one.key}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        return False
    try:
        shutil.rmtree(one.path) if one.path.is_dir() else one.path.unlink(missing_ok=True)
    finally:
        lock.release()
        path.unlink(missing_ok=True)
    return True
