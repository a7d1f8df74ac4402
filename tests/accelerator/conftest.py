"""What only an accelerator shows: recorded graphs, steps that make nobody wait, memory that runs out; skipped without one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch

from ddbench.networks import build, resolve
from ddbench.plugins import Plugins

WAITS = "called a synchronizing CUDA operation"


@pytest.fixture
def device() -> torch.device:
    """The accelerator of this machine."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if found is None:
        pytest.skip("this machine has no accelerator")
    torch.backends.cudnn.allow_tf32 = False  # as every run sets it
    return found


@contextmanager
def nobody_waits() -> Iterator[None]:
    """Fail where the block makes the host wait for the device, naming every place that does."""
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = {f"{one.filename}:{one.lineno}" for one in caught if WAITS in str(one.message)}
    assert not places, sorted(places)


@pytest.fixture
def unhindered(device) -> Callable[[], AbstractContextManager[None]]:
    """Return `nobody_waits`."""
    if device.type != "cuda":
        pytest.skip(f"torch does not tell when a host waits for {device.type}")
    return nobody_waits


@pytest.fixture(scope="session")
def network():
    """Return a function that builds one of our networks for CIFAR's shape, or another."""
    families = Plugins(allowed=()).all("network")

    def made(name, *, shape=(3, 32, 32), num_classes=10, seed=0):
        return build(resolve(f"ddbench/{name}", families, shape=shape, num_classes=num_classes), families, seed=seed)

    return made
