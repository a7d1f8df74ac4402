"""Downloads one file of known size and checksum, for dataset sources."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ddbench.errors import BadRequest, DataDamaged, DataMissing, Offline

if TYPE_CHECKING:
    from ddbench.api.dataset import Report

CHUNK_BYTES = 1 << 20

TIMEOUT_S = 60.0
"""Of silence on the connection."""


@dataclass(frozen=True)
class Remote:
    """A file on the network."""

    url: str
    md5: str
    """As the publisher or torchvision states it; it tells a damaged file, not a forged one."""
    size_bytes: int = 0
    """0 where it is not known beforehand."""


def fetch(remote: Remote, path: Path, *, offline: bool, report: Report) -> None:
    """Download a file to `path`, which appears only when it is whole; what and from where is reported first.

    Raises:
        Offline: Downloads are forbidden.
        DataMissing: The network or the server does not give the file.
        DataDamaged: What came is cut short or has the wrong checksum.
    """
    size = f"{remote.size_bytes / 1e6:.0f} MB" if remote.size_bytes else "of unknown size"
    if offline:
        raise Offline(f"{remote.url} ({size}) would have to be downloaded, which --offline forbids; run once without it")
    if not remote.url.startswith(("http://", "https://")):
        raise BadRequest(f"{remote.url} is no http address")
    report(f"downloading {remote.url} ({size})", 0, remote.size_bytes)
    part = path.with_name(f"{path.name}.part")
    try:
        digest = _receive(remote, part, report)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataMissing(
            f"{remote.url} cannot be downloaded ({reason}); get the file elsewhere and name its folder with --from"
        ) from error
    if digest != remote.md5:
        received = part.stat().st_size
        part.unlink()
        raise DataDamaged(f"{remote.url} gave {received} bytes whose checksum is wrong (cut short or changed); try again later")
    part.replace(path)


def check_file(path: Path, md5: str) -> None:
    """Raise DataDamaged if a file that is already here has the wrong checksum."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if digest != md5:
        raise DataDamaged(
            f"{path} ({path.stat().st_size} bytes) is cut short or changed: its checksum is wrong; remove it and get it again"
        )


def _receive(remote: Remote, part: Path, report: Report) -> str:
    """Write what the server sends and return its md5."""
    digest = hashlib.md5(usedforsecurity=False)
    request = urllib.request.Request(remote.url, headers={"User-Agent": "ddbench"})  # noqa: S310 - the caller checked the scheme
    done = 0
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response, part.open("wb") as file:  # noqa: S310 - the same
        total = int(response.headers.get("Content-Length") or remote.size_bytes)
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            report(f"downloading {remote.url}", done, total)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()
