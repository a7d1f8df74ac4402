"""Seeds: every random number comes from an explicit generator, seeded by what it is for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(purpose: str, *parts: int | str) -> int:
    """Return a seed in [0, 2**63) from a purpose and what identifies the draw; equal input, equal seed, anywhere."""
    text = "\x1f".join([purpose, *(str(part) for part in parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_for(purpose: str, *parts: int | str) -> torch.Generator:
    """Return a CPU generator seeded by `derive_seed`; draw on the CPU and move, so that devices agree."""
    import torch

    return torch.Generator().manual_seed(derive_seed(purpose, *parts))


def global_generators() -> dict[str, object]:
    """Return the state of every generator that draws where nobody names one, by what it is called."""
    import random

    import numpy as np
    import torch

    _, keys, *place = np.random.get_state()  # noqa: NPY002 - the one in question
    return {
        "torch's global generator": torch.get_rng_state().numpy().tobytes(),
        "numpy's global generator": (np.asarray(keys).tobytes(), *place),
        "Python's global generator": random.getstate(),
    }


@contextmanager
def seeded_globally(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator inside the block and restore it afterwards, for libraries that know no other.

    Where there is an accelerator its generators are seeded too, and stay so.
    """
    import torch

    state = torch.get_rng_state()
    seeding = torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed
    seeding(seed)  # without an accelerator the first keeps the stack for later, which reads the source of all that is on it
    try:
        yield
    finally:
        torch.set_rng_state(state)
