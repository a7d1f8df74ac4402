"""The distilled set: images, labels and manifest on disk, where distilling and evaluating meet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.errors import ArtefactDamaged

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.synthesizer import JobResult, Space
    from ddbench.store import Artefact

DATA = "data.safetensors"
PREVIEW = "preview.png"
PREVIEW_CLASSES = PREVIEW_COLUMNS = 10
PREVIEW_SIDE = 64
"""Pixels up to which small images are enlarged."""
TENSORS = ("images", "labels", "soft_labels")
"""Tensors of a set that are not extras."""


@dataclass(frozen=True)
class DistilledSet:
    """A distilled set in the store."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, artefact: Artefact) -> DistilledSet:
        """Return the set of a verified artefact."""
        return cls(artefact.folder, artefact.card)

    @property
    def space(self) -> Space:
        """How pixel values are to be read: `uint8`, `unit`, `normalised` or `zca`."""
        space: Space = self.manifest["space"]
        return space

    @property
    def sha256(self) -> str:
        """Checksum of `data.safetensors`."""
        return str(self.manifest["files"][DATA]["sha256"])

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the set, on the CPU."""
        from safetensors.torch import load_file

        return load_file(self.folder / DATA)

    @property
    def images(self) -> Tensor:
        """uint8 or float32 (N, C, H, W), in `space`."""
        return self.tensors["images"]

    @property
    def labels(self) -> Tensor:
        """int64 (N,)."""
        return self.tensors["labels"]

    @property
    def soft_labels(self) -> Tensor | None:
        """float32 (N, classes) where the method learnt labels, else None."""
        return self.tensors.get("soft_labels")

    @property
    def extras(self) -> dict[str, Tensor]:
        """Whatever else must be kept: a learned step size, latents, indices of real images."""
        return {name: tensor for name, tensor in self.tensors.items() if name not in TENSORS}

    @property
    def bytes(self) -> dict[str, int]:
        """Bytes of `images`, `labels`, `soft_labels` and `extras`."""
        sizes = dict.fromkeys((*TENSORS, "extras"), 0)
        for name, tensor in self.tensors.items():
            sizes[name if name in TENSORS else "extras"] += tensor.numel() * tensor.element_size()
        return sizes


def job_tensors(result: JobResult) -> dict[str, Tensor]:
    """Return a job's tensors by the names they have in the set's file, contiguous and on the CPU."""
    tensors = {"images": result.images, "labels": result.labels, **result.extras}
    if result.soft_labels is not None:
        tensors["soft_labels"] = result.soft_labels
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def join_jobs(parts: Sequence[Path], target: Path) -> None:
    """Write one safetensors file from the jobs' files, concatenated along the first dimension, one job in memory at a time.

    Scalars and tensors of other lengths than the job's labels are kept whole from each job, stacked.

    Raises:
        ArtefactDamaged: A part is not whole, or the parts do not hold the same tensors.
    """
    from safetensors import SafetensorError, safe_open

    try:
        layout = _layout(parts)
        header = json.dumps(layout, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)
        with target.open("wb") as out:
            out.write(len(header).to_bytes(8, "little") + header)
            for name in layout:
                for part in parts:
                    with safe_open(part, framework="numpy") as file:
                        out.write(file.get_tensor(name).tobytes())
    except SafetensorError as error:
        raise ArtefactDamaged(
            f"a job's file in {parts[0].parent} is not whole: {error}; remove that folder and run again"
        ) from error


def _layout(parts: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return the safetensors header of the joined file."""
    shapes: dict[str, tuple[str, list[int]]] = {}
    for part, names in zip(parts, _headers(parts), strict=True):
        for name, (dtype, shape) in names.items():
            if name not in shapes and part == parts[0]:
                shapes[name] = (dtype, [0, *shape[1:]])
            if name not in shapes or shapes[name][0] != dtype or shapes[name][1][1:] != shape[1:]:
                raise ArtefactDamaged(f"{part} holds {name!r} as {dtype} {shape}, unlike the set's first job")
            shapes[name][1][0] += shape[0]
    layout: dict[str, dict[str, Any]] = {}
    offset = 0
    for name, (dtype, shape) in shapes.items():
        size = _item_bytes(dtype) * _product(shape)
        layout[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    return layout


def _headers(parts: Sequence[Path]) -> Iterator[dict[str, tuple[str, list[int]]]]:
    from safetensors import safe_open

    for part in parts:
        with safe_open(part, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in sorted(file.keys())}
            yield {name: (piece.get_dtype(), piece.get_shape() or [1]) for name, piece in slices.items()}


def _item_bytes(dtype: str) -> int:
    return {"BOOL": 1, "U8": 1, "I8": 1, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "F32": 4, "I32": 4, "F64": 8, "I64": 8}[dtype]


def _product(shape: Sequence[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def to_pixels(images: Tensor, space: Space, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return images of any displayable space as uint8 (N, C, H, W), clamped; `zca` images are stretched to their own range."""
    import torch

    if space == "uint8":
        return images
    values = images.float()
    if space == "normalised":
        shape = (1, -1, 1, 1)
        values = values * torch.tensor(std).view(shape) + torch.tensor(mean).view(shape)
    elif space == "zca":
        low, high = values.amin(dim=(1, 2, 3), keepdim=True), values.amax(dim=(1, 2, 3), keepdim=True)
        values = (values - low) / (high - low).clamp_min(1e-8)
    return values.clamp(0, 1).mul(255).round().to(torch.uint8)


def shown_in_preview(labels: Tensor) -> list[int]:
    """Return the positions that a preview shows: of the first ten classes the first ten images each."""
    present = sorted(set(labels.tolist()))[:PREVIEW_CLASSES]
    return [index for label in present for index in (labels == label).nonzero().flatten()[:PREVIEW_COLUMNS].tolist()]


def write_preview(images: Tensor, labels: Tensor, path: Path) -> None:
    """Write a PNG with a row per class; small images are enlarged by whole factors, none is reduced.

    Args:
        images: uint8 (N, C, H, W).
        labels: int64 (N,), each class's images next to each other.
        path: Where the PNG goes.
    """
    import torch
    from PIL import Image

    rows = [images[labels == label] for label in sorted(set(labels.tolist()))]
    width = max(len(row) for row in rows)
    factor = max(1, PREVIEW_SIDE // images.shape[-1])
    canvas = torch.full((len(rows), width, 3, images.shape[2] + 1, images.shape[3] + 1), 255, dtype=torch.uint8)
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            canvas[r, c, :, :-1, :-1] = image.expand(3, -1, -1)
    grid = canvas.permute(0, 3, 1, 4, 2).reshape(len(rows) * canvas.shape[3], -1, 3)
    picture = Image.fromarray(grid.numpy())
    picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST).save(path)
