"""What a file from elsewhere may not do: run, unpack to more than it should, or name a place outside its folder."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from ddbench.errors import BadSet, DataDamaged, DataMissing, UnsafeFile
from ddbench.store import file_sha256

if TYPE_CHECKING:
    from ddbench.api.dataset import DatasetFacts

ALWAYS_BYTES = 64 * 2**20
"""What a file may hold whatever the dataset; several experiments in one file need room."""

MOST_MEMBERS = 100_000
"""Files in an archive, at most."""

SHOWN = 120
"""Characters of a foreign name that a message shows."""


def most_bytes(facts: DatasetFacts) -> int:
    """Return the bytes that a distilled set made elsewhere may come to: twice the real train split as float32.

    A set larger than what it was distilled from is none; files may hold several.
    """
    return max(ALWAYS_BYTES, 2 * 4 * sum(facts.counts) * prod(facts.shape))


def shown(name: object) -> str:
    """Return a foreign name as one short line."""
    text = repr(str(name))[1:-1]
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def regular(path: Path, most: int) -> Path:
    """Return a path that is a file of at most `most` bytes.

    Raises:
        DataMissing: There is none.
        UnsafeFile: It is something else than a file, or larger.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise DataMissing(f"{shown(path)} cannot be opened ({error.strerror}); name a file or a folder that is there") from error
    if not stat.S_ISREG(found.st_mode):
        raise UnsafeFile(f"{shown(path)} is no ordinary file")
    refuse_large(path, found.st_size, most)
    return path


def refuse_large(what: object, size: int, most: int) -> None:
    """Raise UnsafeFile if something comes to more bytes than it may."""
    if size > most:
        raise UnsafeFile(
            f"{shown(what)} comes to {size} bytes, and {most} are the most a distilled set may have here; it was not unpacked"
        )


def members(archive: zipfile.ZipFile, path: Path, most: int) -> list[zipfile.ZipInfo]:
    """Return an archive's files once their names and declared sizes are known to be harmless.

    Raises:
        UnsafeFile: One has a name that leads elsewhere, is a link, is encrypted, stands twice, or all come to too much.
    """
    found = [info for info in archive.infolist() if not info.is_dir()]
    names = [info.filename for info in found]
    if len(found) > MOST_MEMBERS or len(set(names)) != len(names):
        raise UnsafeFile(f"{shown(path)} holds {len(found)} files under {len(set(names))} names; nothing was unpacked")
    for info in found:
        refuse_stray(info.filename, path)
        if stat.S_ISLNK(info.external_attr >> 16) or info.flag_bits & 1:
            raise UnsafeFile(f"{shown(path)} holds {shown(info.filename)!r}, which is a link or encrypted; it was not unpacked")
    refuse_large(path, sum(info.file_size for info in found), most)
    return found


def refuse_stray(name: str, where: Path) -> None:
    """Raise UnsafeFile unless a name stays below the folder it is put in, on any system."""
    parts = re.split(r"[/\\]", name)
    if name.startswith(("/", "\\")) or ".." in parts or ":" in name or "\0" in name:
        raise UnsafeFile(f"{shown(where)} names {shown(name)!r}, which leads out of its folder; nothing was written")


def opened_zip(path: Path) -> zipfile.ZipFile:
    """Return an archive.

    Raises:
        DataDamaged: It is cut short, or no archive.
    """
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataDamaged(f"{shown(path)} is cut short or no zip archive ({error}); fetch it again") from error


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> bytes:
    """Return a member's bytes, never more than it declares.

    Raises:
        DataDamaged: It is cut short, or does not match its checksum or its size.
    """
    try:
        with archive.open(info) as file:
            content = file.read(info.file_size + 1)
    except Exception as error:  # a hostile archive makes zipfile and its decompressors raise many things
        raise DataDamaged(f"{shown(path)}: {shown(info.filename)!r} cannot be unpacked ({error}); fetch the file again") from error
    if len(content) != info.file_size:
        raise DataDamaged(f"{shown(path)}: {shown(info.filename)!r} is not of the size it declares; fetch the file again")
    return content


def files_below(folder: Path, most: int) -> list[Path]:
    """Return every file of a folder that is not hidden, sorted; links may lead only to places within it.

    Raises:
        UnsafeFile: A link leads out of the folder, or all files come to more than `most` bytes or are too many.
    """
    root = folder.resolve()
    found: list[Path] = []
    total = 0
    for path in _walk(folder):
        if not path.resolve().is_relative_to(root):
            raise UnsafeFile(f"{shown(path)} is a link that leads out of {shown(folder)}; copy what it names into the folder")
        if path.is_file():
            found.append(path)
            total += path.stat().st_size
            refuse_large(folder, total, most)
        if len(found) > MOST_MEMBERS:
            raise UnsafeFile(f"{shown(folder)} holds more than {MOST_MEMBERS} files, which is no distilled set")
    return sorted(found)


def _walk(folder: Path) -> Iterator[Path]:
    """Give what a folder holds, links to folders not followed, hidden names left out."""
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent) / name for name in (*folders, *names) if not name.startswith("."))


def listing_sha256(files: Iterable[tuple[str, str]]) -> str:
    """Return the checksum of a listing of names and checksums, whatever its order."""
    lines = sorted(f"{name}\0{sha256}\n" for name, sha256 in files)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def sha256_of(paths: Sequence[Path], root: Path) -> str:
    """Return the checksum of a file, or of the listing of several."""
    if len(paths) == 1:
        return file_sha256(paths[0])
    return listing_sha256((path.relative_to(root).as_posix(), file_sha256(path)) for path in paths)


def refuse(where: object, what: str) -> BadSet:
    """Return the error for content that is no distilled set, with where it was found."""
    return BadSet(f"{shown(where)}: {what}")
