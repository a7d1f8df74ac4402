"""The last features of any network: what its classifier reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ddbench.errors import UnfitNetwork

BATCH = 256


def features(module: nn.Module, images: Tensor, *, batch: int = BATCH) -> Tensor:
    """Return float32 (N, D): the flattened input of the network's classifier, in eval mode and without autograd.

    The classifier is the last linear layer to run; a 1×1 convolution counts as one.

    Args:
        module: Any network with a linear classifier; it is left as it was found.
        images: float32 (N, C, H, W), normalised, on the network's device.
        batch: Images per forward pass.

    Raises:
        UnfitNetwork: The network holds no linear layer, or none of its own sees the images.
    """
    seen: list[Tensor] = []
    with torch.no_grad(), evaluating(module), _watched(module) as last:
        for chunk in torch.split(images, batch):
            last.name = None
            module(chunk)
            seen.append(_found(module, last).flatten(1).float())
    return torch.cat(seen)


def classifier_name(module: nn.Module, shape: tuple[int, int, int]) -> str:
    """Return the name of the layer that classifies: the last linear layer to run, or 1×1 convolution, in eval mode.

    Args:
        module: Any network; it is left as it was found.
        shape: Channels, height and width of its images, for one pass over zeros.

    Raises:
        UnfitNetwork: No such layer sees the images.
    """
    like = next(module.parameters(), torch.empty(0))
    with torch.no_grad(), evaluating(module), _watched(module) as last:
        module(torch.zeros(2, *shape, dtype=like.dtype, device=like.device))
        _found(module, last)
    return str(last.name)


class Embedder(nn.Module):
    """A network up to what its classifier reads: differentiable, in the mode that its parts have, and compiled as one graph."""

    def __init__(self, network: nn.Module, shape: tuple[int, int, int]) -> None:
        """Put a tap before the classifier, in place; parameters and buffers stay the network's own, in their order.

        Args:
            network: Any network with a linear classifier.
            shape: Channels, height and width of its images.

        Raises:
            UnfitNetwork: It has no linear classifier.
        """
        super().__init__()
        self.tape = Tape()
        name = classifier_name(network, shape)
        if not name:
            self.network: nn.Module = Tap(network, self.tape)
        else:
            network.set_submodule(name, Tap(network.get_submodule(name), self.tape))
            self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return float (N, D): the flattened input of the classifier, in the dtype in which it came."""
        self.network(images)
        seen, self.tape.seen = self.tape.seen, None
        if seen is None:
            raise UnfitNetwork("the classifier of the network sees no image; take another network")
        return seen.flatten(1)


@dataclass
class Tape:
    """What a tap has seen in the present forward pass."""

    seen: Tensor | None = None


class Tap(nn.Module):
    """A classifier that first writes its input on the tape."""

    def __init__(self, layer: nn.Module, tape: Tape) -> None:
        super().__init__()
        self.layer = layer
        self.tape = tape

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the classifier itself returns."""
        self.tape.seen = inputs
        output: Tensor = self.layer(inputs)
        return output


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


@dataclass
class _Last:
    """The linear layer that ran last, and its input."""

    name: str | None = None
    inputs: Tensor | None = None


@contextmanager
def _watched(module: nn.Module) -> Iterator[_Last]:
    """Give a note of the linear layer that runs last, kept by hooks that go when the block ends.

    Raises:
        UnfitNetwork: There is none.
    """
    linear = {name: part for name, part in module.named_modules() if _is_linear(part)}
    if not linear:
        raise UnfitNetwork(f"{type(module).__name__} has no linear layer, so it has no last features; take another network")
    last = _Last()

    def watch(name: str, part: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            last.name, last.inputs = name, inputs[0]

        return part.register_forward_pre_hook(hook)

    handles = [watch(name, part) for name, part in linear.items()]
    try:
        yield last
    finally:
        for handle in handles:
            handle.remove()


def _found(module: nn.Module, last: _Last) -> Tensor:
    if last.name is None or last.inputs is None:
        raise UnfitNetwork(f"no linear layer of {type(module).__name__} sees an image; take another network")
    return last.inputs


def _is_linear(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear) or (isinstance(part, nn.Conv2d) and set(part.kernel_size) == {1})
