"""Writes a site into a folder, and tells whether a folder still is what the records give. Nobody else's files are touched."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ddbench.errors import BadRequest, EnvironmentProblem

MARK = "index.html"

OWN = re.compile(
    r"(index|about)\.html|assets/[\w.-]+\.(js|css|txt)|data/(board|leaderboard)-\d+\.(js|csv|json)"
    r"|(row|method)/[a-z0-9-]+\.html|image/[0-9a-f]+\.png"
)
"""Names of the files a site has; whatever else lies in the folder is somebody's."""


@dataclass(frozen=True)
class Written:
    """What writing changed."""

    files: int
    bytes: int
    changed: int
    removed: int


def write(site: Iterable[tuple[str, bytes]], folder: Path) -> Written:
    """Make a folder hold the site: changed files are replaced one by one, files of an earlier site that are none of this one go.

    Raises:
        BadRequest: The folder holds something else than a site.
        EnvironmentProblem: It cannot be written.
    """
    refuse_other(folder)
    seen: set[str] = set()
    changed = size = 0
    try:
        for name, content in site:
            seen.add(name)
            size += len(content)
            changed += _put(folder / name, content)
        stale = sorted(own_files(folder) - seen)
        for name in stale:
            (folder / name).unlink()
    except OSError as error:
        raise EnvironmentProblem(
            f"the site cannot be written to {folder} ({error.strerror}: {error.filename}); see --out"
        ) from error
    return Written(len(seen), size, changed, len(stale))


def differences(site: Iterable[tuple[str, bytes]], folder: Path) -> list[str]:
    """Return the names of files that are missing, differ or should not be there, sorted."""
    seen: set[str] = set()
    found: set[str] = set()
    for name, content in site:
        seen.add(name)
        if not _holds(folder / name, content):
            found.add(name)
    return sorted(found | (own_files(folder) - seen))


def own_files(folder: Path) -> set[str]:
    """Return the files of a folder that have a site's names."""
    found = (Path(root, name).relative_to(folder).as_posix() for root, _, names in os.walk(folder) for name in names)
    return {name for name in found if OWN.fullmatch(name)}


def refuse_other(folder: Path) -> None:
    """Raise BadRequest where a folder is in use for something else than a site."""
    if folder.exists() and not folder.is_dir():
        raise BadRequest(f"{folder} is a file; name a folder with --out")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise BadRequest(f"{folder} is not empty and holds no site; name another folder with --out")


def _put(path: Path, content: bytes) -> bool:
    """Write a file where it is not the same already, so that a reader sees the old one or the new one."""
    if _holds(path, content):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    temporary.replace(path)
    return True


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False
