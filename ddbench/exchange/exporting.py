"""Gives a distilled set of ours to others, with its manifest: what is exported and brought again scores the same."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import ddbench
from ddbench.distilled import DATA, PREVIEW, DistilledSet, to_pixels
from ddbench.errors import BadRequest, EnvironmentProblem
from ddbench.exchange.imagefolder import save_image
from ddbench.exchange.manifests import ARRAYS, MANIFEST, REST
from ddbench.records import checksum
from ddbench.store import file_sha256

if TYPE_CHECKING:
    from torch import Tensor

Form = Literal["imagefolder", "safetensors", "npz"]


@dataclass(frozen=True)
class Exported:
    """What was written."""

    out: Path
    form: Form
    images: int
    lossy: bool
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return {"out": str(self.out), "format": self.form, "images": self.images, "lossy": self.lossy, "bytes": self.bytes}


def export(distilled: DistilledSet, out: Path, *, form: Form, lossy: bool = False) -> Exported:
    """Write a distilled set into a new folder, all of it or nothing, and return what was written.

    Args:
        distilled: A verified set.
        out: A folder that is not there yet, or empty.
        form: PNG files in a folder for each class, numbered from 0; one safetensors file; or one npz.
        lossy: Whether float images may be rounded to 8 bits, and cut off below black and above white, as image files need.

    Raises:
        BadRequest: The images are floats and the form is for bytes, or `out` is taken.
        EnvironmentProblem: `out` cannot be written.
    """
    rounded = form == "imagefolder" and distilled.space != "uint8"
    if rounded:
        _refuse_floats(distilled, lossy=lossy)
    with _new_folder(out) as folder:
        order = _write(distilled, folder, form)
        _write_manifest(distilled, folder, {"format": form, "lossy": rounded, "order": order})
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Exported(out, form, len(distilled.labels), rounded, size)


def _refuse_floats(distilled: DistilledSet, *, lossy: bool) -> None:
    """Raise BadRequest unless float images may become image files."""
    if distilled.space == "zca":
        raise BadRequest("these images are whitened (ZCA) and are none that a file could show; take --format safetensors or npz")
    if not lossy:
        raise BadRequest(
            f"these images are float32 ({distilled.space}), and image files hold 8 bits: rounding moves their score; "
            "take --format safetensors or npz, or say --lossy, which the manifest keeps"
        )


def _write(distilled: DistilledSet, folder: Path, form: Form) -> list[str]:
    """Write the tensors and return the image files in the order of the set's images, where there are any."""
    if form == "safetensors":
        shutil.copyfile(distilled.folder / DATA, folder / DATA)
    elif form == "npz":
        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in distilled.tensors.items()}
        np.savez_compressed(folder / ARRAYS, **arrays)
    if (distilled.folder / PREVIEW).is_file():
        shutil.copyfile(distilled.folder / PREVIEW, folder / PREVIEW)
    return _write_images(distilled, folder) if form == "imagefolder" else []


def _write_images(distilled: DistilledSet, folder: Path) -> list[str]:
    from safetensors.torch import save_file

    facts = distilled.manifest["dataset"]
    pixels = to_pixels(distilled.images, distilled.space, facts["mean"], facts["std"])
    order = [f"{label:05d}/{position:06d}.png" for position, label in enumerate(distilled.labels.tolist())]
    for name, image in zip(order, pixels, strict=True):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        save_image(image.numpy(), path)
    rest: Mapping[str, Tensor] = {name: tensor for name, tensor in distilled.tensors.items() if name not in {"images", "labels"}}
    if rest:
        save_file(dict(rest), folder / REST)
    return order


def _write_manifest(distilled: DistilledSet, folder: Path, about: Mapping[str, Any]) -> None:
    files = {
        path.relative_to(folder).as_posix(): {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    content = {"card": "export", "ddbench_version": ddbench.__version__, **about, "set": dict(distilled.manifest), "files": files}
    whole = {**content, "sha256": checksum(content)}
    (folder / MANIFEST).write_text(json.dumps(whole, indent=1, sort_keys=True, allow_nan=False), "utf-8")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Give a temporary folder beside `out` that becomes it at the end of the block, or leaves nothing."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadRequest(f"{out} is there already; name a folder that is not, or an empty one, with --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise EnvironmentProblem(f"{out} cannot be written ({error.strerror}); name another folder with --out") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
