"""Putting given weights into a fitted network, and saying what does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ddbench import Context, NetworkSpec, TrainedNetwork
from ddbench.errors import TeacherMismatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import Tensor

NAMED = 3
"""How many keys an error names."""


def fitted(
    ctx: Context,
    network: NetworkSpec,
    weights: Mapping[str, Tensor],
    normalisation: tuple[Sequence[float], Sequence[float]],
    *,
    source: str,
) -> TrainedNetwork:
    """Return the network with these weights, in eval mode, frozen, on the device.

    Raises:
        TeacherMismatch: A name is missing, unexpected, or of another shape; the message names a few.
    """
    module = ctx.network(network.name, ctx.generator)
    own = module.state_dict()
    check_names(own, weights, f"{source} does not fit {network.name}", network.num_classes)
    module.load_state_dict({**own, **weights})
    module = module.to(ctx.device).eval().requires_grad_(requires_grad=False)
    mean, std = tensors(normalisation, ctx.device)
    return TrainedNetwork(module, ctx.train.facts.classes, mean, std)


def tensors(normalisation: tuple[Sequence[float], Sequence[float]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and std as float32 (C,) on the device."""
    mean, std = (torch.tensor(values, dtype=torch.float32, device=device) for values in normalisation)
    return mean, std


def check_names(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], what: str, num_classes: int) -> None:
    """Do nothing where the weights have the network's names and shapes; counters of batches may be missing.

    Raises:
        TeacherMismatch: They do not.
    """
    missing = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in weights if name not in own]
    other = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    if missing or unexpected:
        said = [f"{word} {_few(names)}" for word, names in (("lacks", missing), ("has in addition", unexpected)) if names]
        raise TeacherMismatch(f"{what}: it {' and '.join(said)}; give the network it was made with, --teacher WAY:NETWORK")
    if other and all(_is_head(own[name], weights[name], num_classes) for name in other):
        raise TeacherMismatch(f"{what}: it answers for {len(weights[other[0]])} classes, and the dataset has {num_classes}")
    if other:
        shapes = [f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}" for name in other]
        raise TeacherMismatch(f"{what}: it holds {_few(shapes)}; give the network it was made with, --teacher WAY:NETWORK")


def _is_head(own: Tensor, given: Tensor, num_classes: int) -> bool:
    """Return whether a tensor differs only in the number of classes it answers for."""
    return own.dim() > 0 and len(own) == num_classes and own.shape[1:] == given.shape[1:]


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    rest = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + rest
