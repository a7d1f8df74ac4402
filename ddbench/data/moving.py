"""Tensors on their way from the CPU to a device, without making the host wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

UNPINNED = {"cpu", "mps"}
"""Kinds of device that read the host's own memory."""


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on the device: by way of pinned memory where it comes from the CPU and the device can read such."""
    if device.type in UNPINNED or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def moved_network(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to the device, in place, and return it."""
    if device.type in UNPINNED:
        return network.to(device)
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.pin_memory()
    return network.to(device, non_blocking=True)
