"""Where stages run, as far as planning asks: the device, what it can do, and the threads there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ddbench.errors import BadRequest
from ddbench.training.precision import Abilities, device_abilities

UNTRIED = {"mps"}
"""Kinds of accelerator that `auto` leaves alone, because nothing of ours was run on them; they can be asked for by name."""


@dataclass(frozen=True)
class Place:
    """A device and what decides how stages compute on it; a plan made for one place has equal keys wherever it is made again."""

    device: torch.device
    abilities: Abilities
    threads: int
    """CPU threads that there are for all processes together."""

    def to_json(self) -> dict[str, Any]:
        """Return the place as JSON values."""
        return {"device": str(self.device), "abilities": asdict(self.abilities), "threads": self.threads}


def here(device: str) -> Place:
    """Return this machine as the place, with a device by name.

    Raises:
        BadRequest: This machine has no such device.
    """
    found = pick_device(device)
    return Place(found, device_abilities(found), torch.get_num_threads())


def place_from_json(content: Mapping[str, Any]) -> Place:
    """Return the place that `Place.to_json` told of."""
    return Place(torch.device(content["device"]), Abilities(**content["abilities"]), int(content["threads"]))


def pick_device(name: str) -> torch.device:
    """Return a device by name; `auto` is the accelerator where there is one.

    Raises:
        BadRequest: This machine has no such device.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return torch.device("cpu") if accelerator is None or accelerator.type in UNTRIED else accelerator
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadRequest(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); try --device cpu, or: ddbench doctor"
        ) from error
    return device
