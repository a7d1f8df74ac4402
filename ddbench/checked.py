"""Tensor files that know their own checksum, for what waits in a work folder: what does not match it is made again, never used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

CHECKSUM = "sha256"
"""In the file's metadata: of its tensors, their names, types and shapes, and of the rest of the metadata."""


def packed(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """Return the bytes of a safetensors file with tensors on the CPU, contiguous, metadata and a checksum of both."""
    from safetensors.torch import save

    return save(dict(tensors), metadata={**about, CHECKSUM: checksum_of(tensors, about)})


def unpacked(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Return a file's tensors and metadata, or None where it is missing, not whole, or does not match its checksum."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            about = dict(file.metadata() or {})
    except (OSError, SafetensorError):
        return None
    return (tensors, about) if about.pop(CHECKSUM, None) == checksum_of(tensors, about) else None


def checksum_of(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """Return the sha256 of tensors and metadata, whatever their order."""
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(about.items()):
        digest.update(f"{name}\0{value}\0".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
