"""Reading weights from a file without ever running code that came with it."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ddbench.errors import BadOption

if TYPE_CHECKING:
    from pathlib import Path

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which training scripts keep the state dict beside epoch and optimiser."""

PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""


@dataclass(frozen=True)
class Weights:
    """A state dict, with what its file says about it."""

    tensors: Mapping[str, Tensor]
    classes: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def read_weights(path: Path) -> Weights:
    """Return a file's weights on the CPU, prefixes of wrappers removed.

    Raises:
        BadOption: The file is neither safetensors nor a state dict of weights alone.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return Weights(state_dict(_read_torch(path), str(path)))


def state_dict(content: object, where: str) -> Mapping[str, Tensor]:
    """Return the state dict that a checkpoint is, or holds under a usual key, prefixes of wrappers removed.

    Raises:
        BadOption: There is none.
    """
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return state_dict(content[key], where)
    if isinstance(content, Mapping) and content and all(isinstance(value, Tensor) for value in content.values()):
        return bare({str(name): tensor for name, tensor in content.items()})
    raise BadOption(f"{where} holds no state dict: a mapping of names to tensors, plain or under {', '.join(WRAPPERS)}")


def first_line(error: BaseException) -> str:
    """Return an error's first line, or its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def bare(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the tensors without a prefix that stands before every name."""
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return bare({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return tensors


def read_classes(path: Path) -> tuple[str, ...]:
    """Return class names in order, from a JSON list or one a line.

    Raises:
        BadOption: The file is neither.
    """
    try:
        text = path.read_text("utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise BadOption(f"{path} cannot be read as a list of classes: {error}") from error
    if text.lstrip().startswith("["):
        return tuple(str(name) for name in _json_list(text, f"{path}"))
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _read_safetensors(path: Path) -> Weights:
    """Return tensors and what the metadata says: `classes`, `mean` and `std` as JSON lists."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            about = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise BadOption(f"{path} is no whole safetensors file: {error}") from error
    lists = {key: _json_list(about[key], f"{path}, metadata {key!r}") for key in ("classes", "mean", "std") if key in about}
    classes = tuple(str(name) for name in lists["classes"]) if "classes" in lists else None
    mean, std = (_numbers(lists[key], path, key) if key in lists else None for key in ("mean", "std"))
    return Weights(bare(tensors), classes, mean, std)


def _read_torch(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old formats that are then refused, or read all the same
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadOption(
            f"{path} cannot be read as weights alone: it holds code, or is cut short, and code from a file is never run; "
            "save model.state_dict() with torch.save, or better as safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise BadOption(f"{path} is no whole PyTorch checkpoint: {first_line(error)}") from error


def _json_list(text: str, where: str) -> list[Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadOption(f"{where} is not JSON: {error}") from error
    if not isinstance(values, list):
        raise BadOption(f"{where} is not a JSON list")
    return values


def _numbers(values: list[Any], path: Path, key: str) -> tuple[float, ...]:
    if not all(isinstance(value, int | float) for value in values):
        raise BadOption(f"{path}, metadata {key!r} holds something else than numbers: {values}")
    return tuple(float(value) for value in values)
