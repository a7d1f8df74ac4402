"""Files of tensors: `.pt` without code, safetensors, npz without objects. Sizes are looked at before anything is unpacked."""

from __future__ import annotations

import re
import warnings
from io import BytesIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ddbench.errors import DataDamaged, UnsafeFile
from ddbench.exchange.raw import RawFile, RawSet, sets_in
from ddbench.exchange.safety import members, opened_zip, read_member, refuse, regular, sha256_of, shown

if TYPE_CHECKING:
    import zipfile

    from torch import Tensor

TORCH = (".pt", ".pth")

SIBLING = re.compile(r"^(?:images|image|data)(?P<rest>.*)$")
"""Trajectory matching saves `images_best.pt` beside `labels_best.pt` and, in some forks, `lr_best.pt`."""


def read_torch(path: Path, most: int) -> RawFile:
    """Return what a `.pt` holds, with labels and step size from the files beside it where it holds images alone.

    Raises:
        UnsafeFile: It holds code or objects, or comes to too much.
        DataDamaged: It is cut short.
        BadSet: What it holds is no distilled set.
    """
    found = sets_in(_loaded(path, most), path, most)
    beside = _beside(path) if len(found) == 1 and found[0].labels is None else {}
    if beside:
        whole = {"images": found[0].images, **{name: _loaded(file, most) for name, file in beside.items()}}
        found = sets_in(whole, path, most)
    files = [path, *beside.values()]
    return RawFile(path, "pt", sha256_of(files, path.parent), found)


def read_safetensors(path: Path, most: int) -> RawFile:
    """Return what a safetensors file holds.

    Raises:
        DataDamaged: It is cut short.
        BadSet: What it holds is no distilled set.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    regular(path, most)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataDamaged(f"{shown(path)} is cut short or no safetensors file ({error}); fetch it again") from error
    return RawFile(path, "safetensors", sha256_of([path], path.parent), sets_in(tensors, path, most))


def read_npz(path: Path, most: int) -> RawFile:
    """Return what an npz holds; arrays of objects are refused unread.

    Raises:
        UnsafeFile: It holds objects, or comes to too much.
        DataDamaged: It is cut short.
        BadSet: What it holds is no distilled set.
    """
    return RawFile(path, "npz", sha256_of([path], path.parent), sets_in(read_arrays(path, most), path, most))


def read_arrays(path: Path, most: int) -> dict[str, Tensor]:
    """Return the arrays of an npz by name, as tensors."""
    regular(path, most)
    with opened_zip(path) as archive:
        arrays = {info.filename: _array(archive, info, path) for info in members(archive, path, most)}
    return {name.removesuffix(".npy"): _tensor(array, path) for name, array in arrays.items()}


def single(found: RawFile, where: Path) -> RawSet:
    """Return the one set of a file.

    Raises:
        BadSet: It holds several.
    """
    if len(found.sets) != 1:
        raise refuse(where, f"{len(found.sets)} distilled sets in a file that should hold one")
    return found.sets[0]


def _loaded(path: Path, most: int) -> Any:
    """Return a `.pt`'s content, tensors on the CPU, nothing run."""
    regular(path, most)
    _refuse_packed(path, most)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on storage classes and flags of old files
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a hostile or broken file makes the reader raise
        raise _refusal(path, error) from error


def _refuse_packed(path: Path, most: int) -> None:
    """Raise UnsafeFile if a `.pt` that is an archive unpacks to too much; torch itself never packs its members."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return  # the older form, whose tensors lie in the file as they are
    with opened_zip(path) as archive:
        for info in members(archive, path, most):
            if info.compress_type or info.file_size != info.compress_size:
                raise UnsafeFile(f"{shown(path)}: {shown(info.filename)!r} is compressed, as torch never does; it was not unpacked")


def _refusal(path: Path, error: Exception) -> Exception:
    text = str(error)
    if "weights_only" in text or "Weights only" in text or "Unsupported" in text:
        named = re.search(r"GLOBAL ([\w.]+)", text)
        what = f"{named[1]!r}" if named else "more than tensors"
        return UnsafeFile(
            f"{shown(path)} holds {what}: only tensors, numbers, lists and dicts are read, and nothing of it was run; "
            "save images and labels as tensors, or as safetensors"
        )
    reason = " ".join(text.split())[:200] or type(error).__name__
    return DataDamaged(f"{shown(path)} is cut short or no file of tensors ({reason}); fetch it again")


def _beside(path: Path) -> dict[str, Path]:
    """Return the files of labels and step size that belong to a file of images."""
    match = SIBLING.match(path.stem)
    if match is None:
        return {}
    found: dict[str, Path] = {}
    for what, starts in {"labels": ("labels", "label"), "lr": ("lr", "syn_lr")}.items():
        candidates = [path.with_name(f"{start}{match['rest']}{path.suffix}") for start in starts]
        there = [candidate for candidate in candidates if candidate.is_file()]
        if there:
            found[what] = there[0]
    return found


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    """Return one array; its header is held against the bytes there are before anything is allocated."""
    content = read_member(archive, info, path)
    stream = BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(stream)
    except (ValueError, EOFError, SyntaxError, RecursionError, MemoryError) as error:
        raise DataDamaged(f"{shown(path)}: {shown(info.filename)!r} is no array ({str(error)[:200]})") from error
    if dtype.hasobject or dtype.names:
        raise UnsafeFile(f"{shown(path)}: {shown(info.filename)!r} holds Python objects, not numbers; nothing of it was read")
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise DataDamaged(f"{shown(path)}: {shown(info.filename)!r} is not of the size its header declares; fetch the file again")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape, order="F" if fortran else "C")


def _tensor(array: np.ndarray[Any, np.dtype[Any]], path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))))
    except TypeError as error:
        raise refuse(path, f"an array of {array.dtype} is neither images nor labels; numbers are read only") from error
