"""Distilled sets of ours: a folder of a store, or an export of one, each with the manifest that says all of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
import torch

from ddbench.distilled import DATA, TENSORS
from ddbench.errors import ArtefactDamaged, DataDamaged
from ddbench.exchange.imagefolder import read_images
from ddbench.exchange.raw import RawFile, RawSet, Stated, plain
from ddbench.exchange.safety import files_below, refuse, refuse_stray, regular, shown
from ddbench.exchange.tensorfiles import read_arrays
from ddbench.records import checksum
from ddbench.store import file_sha256

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.dataset import DatasetFacts
    from ddbench.external import Format

MANIFEST = "manifest.json"
ARRAYS = "data.npz"
REST = "rest.safetensors"
"""Of an image folder: what is no image and no label."""

MANIFEST_BYTES = 64 * 2**20
"""A manifest names every image file of an exported folder, and no more."""


class SetCard(pydantic.BaseModel, frozen=True):
    """What is read of a distilled set's manifest; the rest of it is kept and not needed."""

    class Dataset(pydantic.BaseModel, frozen=True):
        """What the manifest says of the dataset."""

        class_names: tuple[str, ...]
        mean: tuple[float, ...]
        std: tuple[float, ...]

    synthesizer: str
    space: str = pydantic.Field(pattern="^(uint8|unit|normalised|zca)$")
    dataset: Dataset


class ExportCard(pydantic.BaseModel, frozen=True):
    """The manifest of an export: that of the set, and what became of it."""

    card: str = pydantic.Field(pattern="^export$")
    format: str = pydantic.Field(pattern="^(imagefolder|safetensors|npz)$")
    lossy: bool
    order: tuple[str, ...] = ()
    """Of an image folder: the files in the order of the set's images."""
    set: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]


def has_manifest(path: Path) -> bool:
    """Return whether a folder has a manifest of ours."""
    return (path / MANIFEST).is_file()


def read_own(path: Path, facts: DatasetFacts, most: int) -> RawFile:
    """Return a set of ours from a folder of a store or an export, every file held against its checksum.

    Raises:
        ArtefactDamaged: The manifest or a file does not match its checksum.
        UnsafeFile: The manifest names a place outside the folder, or files come to too much.
        BadSet: It was made for other classes, or is no set.
    """
    content = read_manifest(path / MANIFEST)
    files_below(path, most)
    _verify(path, content)
    try:
        export = ExportCard.model_validate(content) if content.get("card") == "export" else None
        card = SetCard.model_validate(export.set if export else content)
    except pydantic.ValidationError as error:
        raise refuse(path / MANIFEST, f"is no manifest of a distilled set ({shown(error.errors()[0]['msg'])})") from error
    if card.dataset.class_names != facts.classes:
        raise refuse(
            path, f"was made for {_few(card.dataset.class_names)}, not for {_few(facts.classes)} of {facts.name}, in this order"
        )
    form: Format = export.format if export else "set"  # type: ignore[assignment] # the pattern holds it to the formats
    lossy = export.lossy if export else False
    space: Any = "uint8" if lossy else card.space
    stated = Stated(space, card.dataset.mean, card.dataset.std, facts.classes, card.synthesizer, lossy)
    tensors = _tensors(path, export, facts, most)
    return RawFile(path, form, str(content["sha256"]), (_set(path, tensors, most),), stated)


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a manifest that matches its own checksum.

    Raises:
        ArtefactDamaged: It does not, or it is no JSON object.
    """
    regular(path, MANIFEST_BYTES)
    try:
        content = json.loads(path.read_bytes())
        whole = isinstance(content, dict) and content.get("sha256") == checksum(content) and isinstance(content.get("files"), dict)
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactDamaged(f"{shown(path)} cannot be read: {shown(error)}") from error
    if not whole:
        raise ArtefactDamaged(f"{shown(path)} does not match its own checksum; it was edited or damaged")
    found: dict[str, Any] = content
    return found


def _verify(folder: Path, content: Mapping[str, Any]) -> None:
    for name, entry in content["files"].items():
        refuse_stray(name, folder / MANIFEST)
        path = folder / name
        if not isinstance(entry, dict) or not path.is_file() or file_sha256(path) != entry.get("sha256"):
            raise ArtefactDamaged(f"{shown(path)} is missing or does not match the checksum in its manifest")


def _tensors(path: Path, export: ExportCard | None, facts: DatasetFacts, most: int) -> dict[str, Tensor]:
    if export is None or export.format == "safetensors":
        return _loaded(path / DATA)
    if export.format == "npz":
        return read_arrays(path / ARRAYS, most)
    if not set(export.order) <= set(export.files):
        raise refuse(path / MANIFEST, "names images in its order that are not among its files")
    images, _ = read_images([path / name for name in export.order], facts)
    labels = torch.tensor([_label(name, path) for name in export.order])
    rest = _loaded(path / REST) if REST in export.files else {}
    return {**rest, "images": images, "labels": labels}


def _label(name: str, path: Path) -> int:
    folder = name.partition("/")[0]
    if not folder.isdecimal() or len(folder) > 6:
        raise refuse(path / MANIFEST, f"names {shown(name)!r} among its images, whose folder is no class")
    return int(folder)


def _loaded(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataDamaged(f"{shown(path)} is cut short or no safetensors file ({shown(error)})") from error


def _set(path: Path, tensors: Mapping[str, Tensor], most: int) -> RawSet:
    if "images" not in tensors or "labels" not in tensors:
        raise refuse(path, "holds no images or no labels")
    extras = {name: plain(tensor, path, most) for name, tensor in tensors.items() if name not in TENSORS}
    return RawSet(plain(tensors["images"], path, most), tensors["labels"], tensors.get("soft_labels"), None, extras)


def _few(classes: Sequence[str]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:3])}, …)"
