"""A CPU that records steps as a device with graphs does, so that what is recorded can be tested anywhere."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only


def storages(tensors) -> set[int]:
    return {one.untyped_storage().data_ptr() for one in tree_leaves(tensors) if isinstance(one, torch.Tensor)}


class Operations(TorchDispatchMode):
    """Lists the operations on tensors inside the block, and does them again to the same tensors: what a device's graph does."""

    def __init__(self) -> None:
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        self.done.append((function, *tree_map_only(torch.Tensor, lambda one: one.data, (args, kwargs or {}, made))))
        return made

    def replay(self) -> None:
        for function, args, kwargs, made in self.done:
            for new, old in zip(tree_leaves(function(*args, **kwargs)), tree_leaves(made), strict=True):
                if isinstance(old, torch.Tensor) and not storages(new) & storages(old):
                    old.copy_(new)


class Recorder:
    """A CPU with graphs. As on a device with graphs, recording does not take the step: what it writes is put back."""

    def __init__(self, places: Callable[[], list[torch.Tensor]]) -> None:
        self.places, self.taken, self.operations = places, 0, Operations()

    def aside(self, step):
        self.taken += 1
        return step()

    def record(self, step):
        before = [place.detach().clone() for place in self.places()]
        with self.operations:
            value = step()
        for place, values in zip(self.places(), before, strict=True):
            place.data.copy_(values)
        return value, self.operations.replay


class Refusing(Recorder):
    """A device that cannot record this step."""

    def record(self, step):
        raise RuntimeError("operation not permitted when stream is capturing\nmore about it")
