"""What a full pass over a prepared dataset found, kept so that it happens once per size and time stamp of its files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from ddbench.data.identity import IDENTITY_VERSION

NAME = ".facts.json"


@dataclass(frozen=True)
class Measured:
    """The result of a full pass."""

    content: Mapping[str, str]
    """By split: hash that is independent of the order of images."""
    order: Mapping[str, str]
    """By split: hash of the images and labels in their order."""
    mean: tuple[float, ...]
    std: tuple[float, ...]


def recall(folder: Path, files: Sequence[str], description: bytes) -> Measured | None:
    """Return what an earlier pass found, or None where a file has changed since or what was kept was tampered with.

    Args:
        folder: The dataset in prepared form.
        files: Names of the files the pass read.
        description: The bytes of `dataset.json`.
    """
    for path in _places(folder):
        try:
            kept = json.loads(path.read_bytes())
            if kept["checksum"] == _checksum(kept["measured"], _key(folder, files, description)):
                found = kept["measured"]
                return Measured(found["content"], found["order"], tuple(found["mean"]), tuple(found["std"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not there, not ours, or damaged: the pass is made again
    return None


def remember(measured: Measured, folder: Path, files: Sequence[str], description: bytes) -> None:
    """Keep what a pass found beside the dataset, or in the user's cache directory where the data root is read-only."""
    content = asdict(measured)
    text = json.dumps({"measured": content, "checksum": _checksum(content, _key(folder, files, description))}, indent=1)
    for path in _places(folder):
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(text, "utf-8")
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True) if part.parent.is_dir() else None
            continue  # a read-only place: the next one serves, and without any the pass is merely made again
        return


def _places(folder: Path) -> tuple[Path, Path]:
    """Return where results are kept: beside the data, and in the user's cache directory under a hash of its path."""
    label = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:20]
    return folder / NAME, Path(platformdirs.user_cache_dir("ddbench", appauthor=False)) / "facts" / f"{label}.json"


def _key(folder: Path, files: Sequence[str], description: bytes) -> dict[str, object]:
    stats = {name: (folder / name).stat() for name in files}
    return {
        "identity": IDENTITY_VERSION,
        "folder": str(folder.resolve()),
        "description": hashlib.sha256(description).hexdigest(),
        "files": {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()},
    }


def _checksum(measured: object, key: Mapping[str, object]) -> str:
    """Return a hash that binds what was found to the files it was found in."""
    text = json.dumps([measured, key], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
