"""Submissions: records with the manifests and images of their sets in one file, every part with its checksum."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ddbench
from ddbench.distilled import DATA
from ddbench.errors import ArtefactDamaged, BadRequest, DataDamaged, EnvironmentProblem, UnknownName, UnsafeFile
from ddbench.exchange.checking import KEY, check_record
from ddbench.exchange.safety import members, opened_zip, read_member, regular, shown
from ddbench.records import checksum
from ddbench.store import file_sha256

if TYPE_CHECKING:
    from ddbench.records import Record
    from ddbench.store import Store

CONTENTS = "submission.json"

PARTS = re.compile(
    r"records/[0-9a-f]{8,64}\.(?:json|npz)|distilled/[0-9a-f]{8,64}/(?:manifest\.json|data\.safetensors|preview\.png)"
)
"""Every file that a submission may hold besides its contents: it is laid out like a store."""

MOST_BYTES = 8 * 2**30
"""What a submission may come to, unpacked."""

CONTENTS_BYTES = 16 * 2**20

BEGINNING = (1980, 1, 1, 0, 0, 0)
"""Time stamp of every part, so that equal parts make equal files."""

BLOCK = 2**20


def submit(store: Store, keys: Sequence[str], out: Path, *, images: bool = True) -> list[Record]:
    """Write records, with the sets they were made from, into one file, and return them.

    Args:
        store: Where they are.
        keys: Of records.
        out: A file that is not there yet; it is written whole or not at all.
        images: Whether the sets' images go with them; without, nobody can train their students again.

    Raises:
        UnknownName: There is no such record.
        BadRequest: A record is of a smoke run, or `out` is there.
        ArtefactDamaged: Something of a record does not match its checksum, or is gone.
    """
    if out.exists():
        raise BadRequest(f"{out} is there already; name a file that is not, with --out")
    records = [_sound(store, key) for key in dict.fromkeys(keys)]
    parts = list(dict.fromkeys(part for record in records for part in _parts(store, record, images=images)))
    content = {
        "card": "submission",
        "schema_version": 1,
        "ddbench_version": ddbench.__version__,
        "records": [record.key for record in records],
        "images": images,
        "files": {part: _entry(store.root / part) for part in parts},
    }
    try:
        _write(out, {**content, "sha256": checksum(content)}, store.root)
    except OSError as error:
        raise EnvironmentProblem(f"{out} cannot be written ({error.strerror}); name another file with --out") from error
    return records


def unpack(path: Path, folder: Path, most: int = MOST_BYTES) -> list[str]:
    """Write a submission's parts into an empty folder, laid out as a store, and return the keys of its records.

    Raises:
        UnsafeFile: It holds something else than a submission may, or comes to too much.
        DataDamaged: It is cut short.
        ArtefactDamaged: A part does not match its checksum.
    """
    regular(path, most)
    with opened_zip(path) as archive:
        parts = {info.filename: info for info in members(archive, path, most)}
        content = _contents(archive, parts, path)
        strange = [name for name in parts if name != CONTENTS and not PARTS.fullmatch(name)]
        if strange or set(parts) - {CONTENTS} != set(content["files"]):
            named = strange or sorted(set(parts) ^ {*content["files"], CONTENTS})
            raise UnsafeFile(
                f"{shown(path)}: {shown(named[0])!r} is no part of a submission, or is not listed; nothing was unpacked"
            )
        for name, info in parts.items():
            if name != CONTENTS:
                _unpack_part(archive, info, folder / name, content["files"][name])
    return list(content["records"])


def is_submission(path: Path) -> bool:
    """Return whether a file is an archive."""
    return path.is_file() and zipfile.is_zipfile(path)


def _sound(store: Store, key: str) -> Record:
    path = store.root / "records" / f"{key}.json"
    if not path.is_file():
        raise UnknownName("record", key, store.record_keys(), see="ddbench store list records")
    checked = check_record(path, store.root)
    needed = ("predictions", "distilled ")  # a teacher need not be there: it is made again
    wrong = [one for one in checked.findings if one.state == "damaged" or (one.state == "missing" and one.what.startswith(needed))]
    if checked.record is None or wrong:
        raise ArtefactDamaged(f"record {key} cannot be submitted: {wrong[0].what}: {wrong[0].about}")
    if checked.record.smoke:
        raise BadRequest(f"record {key} is of a smoke run, which no leaderboard takes; run it again without --smoke")
    return checked.record


def _parts(store: Store, record: Record, *, images: bool) -> Iterator[str]:
    yield f"records/{record.key}.json"
    yield f"records/{record.key}.npz"
    names = ("manifest.json", "preview.png", *([DATA] if images else []))
    yield from (part for name in names if (store.root / (part := f"distilled/{record.distilled_key}/{name}")).is_file())


def _entry(path: Path) -> dict[str, Any]:
    return {"sha256": file_sha256(path), "bytes": path.stat().st_size}


def _write(out: Path, content: Mapping[str, Any], root: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_info(CONTENTS), json.dumps(content, indent=1, sort_keys=True))
            for part in content["files"]:
                with (root / part).open("rb") as source, archive.open(_info(part), "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, BLOCK)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, BEGINNING)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


def _contents(archive: zipfile.ZipFile, parts: Mapping[str, zipfile.ZipInfo], path: Path) -> dict[str, Any]:
    """Return what a submission says it holds, held against its checksum."""
    if CONTENTS not in parts or parts[CONTENTS].file_size > CONTENTS_BYTES:
        raise UnsafeFile(f"{shown(path)} is no submission: it has no {CONTENTS} of a fitting size; see: ddbench submit")
    try:
        content = json.loads(read_member(archive, parts[CONTENTS], path))
        whole = _is_whole(content) and content["sha256"] == checksum(content)
    except (ValueError, RecursionError) as error:
        raise DataDamaged(f"{shown(path)}: {CONTENTS} cannot be read ({shown(error)})") from error
    if not whole:
        raise ArtefactDamaged(f"{shown(path)}: {CONTENTS} does not match its own checksum, or is of an unknown form")
    found: dict[str, Any] = content
    return found


def _is_whole(content: object) -> bool:
    if not isinstance(content, dict) or (content.get("card"), content.get("schema_version")) != ("submission", 1):
        return False
    files, keys = content.get("files"), content.get("records")
    return isinstance(files, dict) and isinstance(keys, list) and bool(keys) and _are_keys(keys, files) and "sha256" in content


def _are_keys(keys: Iterable[object], files: Mapping[str, object]) -> bool:
    return all(isinstance(key, str) and KEY.fullmatch(key) and f"records/{key}.json" in files for key in keys)


def _unpack_part(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, entry: object) -> None:
    """Write one part, never more than it declares, and hold it against its checksum."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), info.file_size
    try:
        with archive.open(info) as source, target.open("wb") as file:
            while block := source.read(min(BLOCK, left + 1)):
                left -= len(block)
                digest.update(block)
                file.write(block)
                if left < 0:
                    break
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, zlib.error) as error:
        raise DataDamaged(f"{shown(info.filename)!r} cannot be unpacked ({shown(error)}); fetch the submission again") from error
    if left or not isinstance(entry, dict) or digest.hexdigest() != entry.get("sha256"):
        raise ArtefactDamaged(f"{shown(info.filename)!r} does not match its checksum in the submission")
