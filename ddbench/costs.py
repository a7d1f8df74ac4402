"""What a stage costs, measured by itself, and the host it ran on."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddbench.heap import give_back

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "torchvision", "timm", "numpy", "safetensors", "pluggy", "pydantic")


@dataclass
class Cost:
    """Seconds and peak memory of a block of work."""

    seconds: float = 0.0
    peak_bytes: int | None = None


@contextmanager
def measured(device: torch.device, *, afresh: bool = True) -> Iterator[Cost]:
    """Measure the block: wall seconds, and the accelerator's or else the process's peak memory inside it.

    Args:
        device: Where the work is done.
        afresh: Give memory that was freed and kept back first, so that it does not count; not for one step among many.
    """
    import torch

    cost = Cost()
    on_device = device.type != "cpu"
    if on_device:
        torch.accelerator.reset_peak_memory_stats()
    else:
        if afresh:
            give_back()
        _reset_high_water()
    start = time.perf_counter()
    try:
        yield cost
    finally:
        if on_device:
            torch.accelerator.synchronize()
        cost.seconds = time.perf_counter() - start
        cost.peak_bytes = torch.accelerator.max_memory_allocated() if on_device else high_water()


def _reset_high_water() -> None:
    """Ask Linux to forget the process's peak; elsewhere the peak is that of the whole process so far."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def high_water() -> int:
    """Return the most bytes that this process had in memory, since it began or was told to forget."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def host(device: torch.device, threads: int) -> dict[str, Any]:
    """Return the host block of a record: hardware, system and library versions."""
    return {**_machine(), "device": _device_name(device), "threads": threads}


@lru_cache(maxsize=1)
def _machine() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _device_name(device: torch.device) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
