"""How much work training is: what one image takes, counted once, times what the recipe shows the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

from ddbench.api.protocol import batch_sizes, training_steps

if TYPE_CHECKING:
    from ddbench.training.recipe import Recipe


Layers = Literal["any", "batch", "group", "depthwise"]
"""What, beside the arithmetic, decides how fast a network trains: `batch`, whole convolutions and batch norm or none; `group`,
group or instance norm; `depthwise`, convolutions in groups; `any` where it is not a network's training, or not known."""


IMAGES_DIMS = 4
"""Of images: number, channels, height, width."""

TINY = 4
"""Pixels of a convolution's outputs of which a processor computes few at once."""


@dataclass(frozen=True)
class Work:
    """Work of a stage, from shapes and recipe alone, so that every machine counts the same."""

    flops: float
    """Of convolutions and matrix products, a multiply-add counting two."""
    steps: int
    """How often the network is called."""
    layers: Layers = "any"
    values: float = 0.0
    """Numbers that layers give, which pass through memory: small images and narrow networks take more time for them than for the
    arithmetic."""
    moved: float = 0.0
    """Weights that are moved, summed over the steps."""
    tiny: float = 0.0
    """Of the operations, those of convolutions whose outputs have at most `TINY` pixels, which use little of a processor."""


@dataclass(frozen=True)
class Size:
    """What is known of a network."""

    flops: int
    """Of one image, forward."""
    values: int = 0
    """That its layers give of one image."""
    parameters: int = 0
    layers: Layers = "any"
    tiny: int = 0
    """Operations for outputs of at most `TINY` pixels."""

    def passes(self, images: float, steps: int) -> Work:
        """Return the work of `images` passes forward in so many calls; a pass backward is one or two of them."""
        return Work(
            float(self.flops) * images, steps, self.layers, values=float(self.values) * images, tiny=float(self.tiny) * images
        )

    def training(self, images: float, steps: int) -> Work:
        """Return the work of training on images, repeats counted, in so many steps: three passes, and weights that are moved."""
        return replace(self.passes(3 * images, steps), moved=float(self.parameters) * steps)


def layers_of(network: nn.Module) -> Layers:
    """Return what decides how fast a network trains."""
    layers = list(network.modules())
    if any(isinstance(layer, nn.Conv2d) and layer.groups > 1 for layer in layers):
        return "depthwise"
    return "group" if any(isinstance(layer, nn.GroupNorm) for layer in layers) else "batch"


def forward_flops(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """Return the floating-point operations of one image (C, H, W) through a network."""
    return size_of(network, shape).flops


def size_of(network: nn.Module, shape: tuple[int, int, int]) -> Size:
    """Return the size of a network, from one pass over zeros of one image (C, H, W).

    The network is left as it was: eval mode, no gradients, no statistics updated, nothing drawn.
    """
    place = next(network.parameters(), torch.empty(0))
    modes = {module: module.training for module in network.modules()}
    counter, image = _Counter(), torch.zeros(1, *shape, device=place.device, dtype=place.dtype)
    try:
        with torch.no_grad(), counter:
            network.eval()(image)
    finally:
        for module, training in modes.items():
            module.training = training
    parameters = sum(values.numel() for values in network.parameters())
    return Size(counter.flops, counter.values, parameters, layers_of(network), counter.tiny)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Adds up values, and operations by torch's formulas; as its `FlopCounterMode`, but it leaves the compiler alone.

    That one imports torch's compiler at its first operation, which takes over a second of every process's start.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = self.values = self.tiny = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled while this counts; what would keep the compiler out of it is what imports it."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation, or what it is composed of where torch has no formula for the whole, and count it."""
        given = kwargs or {}
        formula: Callable[..., int] | None = flop_registry.get(func._overloadpacket)  # noqa: SLF001 - its key in torch's table
        if formula is None:
            with self:
                composed = func.decompose(*args, **given)
            if composed is not NotImplemented:
                return composed
        value = func(*args, **given)
        taken = int(formula(*args, **given, out_val=value)) if formula else 0
        self.flops += taken
        self.tiny += taken if isinstance(value, Tensor) and value.ndim == IMAGES_DIMS and value[0, 0].numel() <= TINY else 0
        if not func.is_view:
            self.values += sum(one.numel() for one in tree_iter(value) if isinstance(one, Tensor))
        return value


def training_work(size: Size, recipe: Recipe, images: int, *, teacher: Size | None = None) -> Work:
    """Return the work of training on `images`: three forward passes' worth per image seen, and one of the teacher's.

    Args:
        size: Of the network.
        recipe: How it is trained.
        images: In the set.
        teacher: The size of the teacher that answers during training.
    """
    steps = training_steps(recipe, images)
    seen = steps * images / len(batch_sizes(images, recipe.batch))
    work, asked = size.training(seen, steps), (teacher or Size(0)).passes(seen, 0)
    return together(work, asked)


def together(work: Work, other: Work) -> Work:
    """Return a work with passes of another network, or more of its own, in the same steps."""
    return replace(work, flops=work.flops + other.flops, values=work.values + other.values, tiny=work.tiny + other.tiny)
