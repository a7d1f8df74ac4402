"""The last features of any network: what its classifier reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ddbench.errors import UnfitNetwork

BATCH = 256


def features(module: nn.Module, images: Tensor, *, batch: int = BATCH) -> Tensor:
    """Return float32 (N, D): the flattened input of the network's last `nn.Linear`, in eval mode and without autograd.

    Args:
        module: Any network with a linear classifier; it is left as it was found.
        images: float32 (N, C, H, W), normalised, on the network's device.
        batch: Images per forward pass.

    Raises:
        UnfitNetwork: The network holds no `nn.Linear`, or none of its own sees the images.
    """
    linear = [part for part in module.modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise UnfitNetwork(f"{type(module).__name__} has no linear layer, so it has no last features; take another network")
    seen: list[Tensor] = []
    handle = linear[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1).float()))
    try:
        with torch.no_grad(), evaluating(module):
            for chunk in torch.split(images, batch):
                module(chunk)
    finally:
        handle.remove()
    if not seen:
        raise UnfitNetwork(f"the last linear layer of {type(module).__name__} sees no image; take another network")
    return torch.cat(seen)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put every part of a network in eval mode inside the block and give each its own mode back afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
