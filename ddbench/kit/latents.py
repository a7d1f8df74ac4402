"""Between latents and the images an objective sees, a chunk at a time: the generator's graph never exceeds one chunk.

Images are rendered without a graph; an objective says what its gradient with respect to them is; each chunk is then rendered
again with one, and that gradient pulled back through it to the latents (Cazenavette et al., 2023, for any prior). A prior decodes
each row by itself and always alike, so the chunked gradient is the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ddbench.api.prior import How, Latents
from ddbench.errors import BadRequest

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ddbench.api.prior import LoadedPrior
    from ddbench.kit.pixels import Pixels

PIXEL = "pixel"
"""The space of images themselves."""


class IdentityPrior:
    """Pixels as latents (`ddbench.LoadedPrior`): its one tensor `x` holds the images, normalised by the dataset's mean and std.

    Whoever matches in another space (`zca`) makes `Latents("pixel", {"x": images}, labels)` in that space; nothing here rescales.
    """

    spaces: Sequence[str] = (PIXEL,)
    value_range: tuple[float, float] | None = None

    def __init__(self, shape: tuple[int, int, int]) -> None:
        """Keep the images' channels, height and width."""
        self.shape = shape

    def init_latents(self, labels: Tensor, space: str, *, how: How, real: Tensor | None, generator: Generator) -> Latents:
        """Return float32 (N, C, H, W): the real images themselves (`encode`), or standard normal noise (`noise`).

        Raises:
            BadRequest: `how` asks for what only a generator can give, real images are missing, or the space is another.
        """
        if space != PIXEL:
            raise BadRequest(f"pixels have one space, {PIXEL!r}; given {space!r}")
        if how == "encode" and real is not None:
            return Latents(PIXEL, {"x": real.detach().clone()}, labels)
        if how != "noise":
            raise BadRequest(f"pixels begin as real images (encode) or as noise; {how!r} was asked for; set -o init=encode")
        images = torch.randn(len(labels), *self.shape, generator=generator)
        return Latents(PIXEL, {"x": images.to(labels.device)}, labels)

    def decode(self, z: Latents) -> Tensor:
        """Return the images."""
        return z.tensors["x"]

    def advance(self, z: Latents, to: str) -> Latents:  # noqa: ARG002 - a prior's signature
        """Refuse: there is no finer space.

        Raises:
            BadRequest: Always.
        """
        raise BadRequest(f"no space is finer than {PIXEL!r}; {to!r} was asked for")

    def regularise(self, z: Latents) -> None:
        """Leave pixels as they are: they may leave [0, 1]."""


def known_spaces(prior: LoadedPrior, wanted: Sequence[str]) -> None:
    """Do nothing where a prior has the spaces that are wanted, from coarse to fine.

    Raises:
        BadRequest: It lacks one, or their order is another.
    """
    has = list(prior.spaces)
    unknown = [space for space in wanted if space not in has]
    if unknown:
        raise BadRequest(f"the prior has no space {unknown[0]!r}; from coarse to fine it has: {', '.join(has)}")
    places = [has.index(space) for space in wanted]
    if places != sorted(set(places)):
        raise BadRequest(f"spaces are walked once each, from coarse to fine: {', '.join(has)}; given: {', '.join(wanted)}")


def rendered(prior: LoadedPrior, z: Latents, pixels: Pixels, *, chunk: int) -> Tensor:
    """Return float (N, C, H, W), normalised by the dataset's mean and std, without a graph; nothing is clamped.

    Args:
        prior: Decodes the latents.
        z: What to render.
        pixels: The dataset's normalisation.
        chunk: Rows decoded at once.
    """
    return _gathered(_normalised(prior.decode(rows), prior, pixels) for _, rows in z.chunks(chunk))


def rendered_unit(prior: LoadedPrior, z: Latents, *, chunk: int) -> Tensor:
    """Return float (N, C, H, W) in [0, 1], clamped, without a graph: the images of a prior that has a `value_range`.

    Raises:
        BadRequest: The prior's images are normalised ones.
    """
    if prior.value_range is None:
        raise BadRequest("this prior's images are normalised by the dataset's mean and std; they have no range to map to [0, 1]")
    low, high = prior.value_range
    return _gathered(((prior.decode(rows) - low) / (high - low)).clamp(0, 1) for _, rows in z.chunks(chunk))


def pull_back(prior: LoadedPrior, z: Latents, image_grad: Tensor, pixels: Pixels, *, chunk: int) -> dict[str, Tensor]:
    """Return the gradient of each free tensor, given that of the normalised images; rows are decoded again, a chunk at a time.

    Tensors that the space does not use get zeros.

    Args:
        prior: Decodes the latents.
        z: Where the gradient is taken.
        image_grad: float (N, C, H, W): of the loss, with respect to the images that `rendered` returns.
        pixels: The dataset's normalisation.
        chunk: Rows decoded at once.
    """
    if isinstance(prior, IdentityPrior):
        return {"x": image_grad}
    grads = {name: torch.empty_like(tensor) for name, tensor in z.free.items()}
    for part, rows in z.chunks(chunk):
        for name, grad in _chunk_grads(prior, rows, image_grad[part], pixels).items():
            grads[name][part] = grad
    return grads


def _chunk_grads(prior: LoadedPrior, rows: Latents, image_grad: Tensor, pixels: Pixels) -> dict[str, Tensor]:
    """Return the gradients of one chunk's free tensors; the only place that records a generator's graph."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in rows.free.items()}
    with torch.enable_grad():
        images = _normalised(prior.decode(replace(rows, tensors={**rows.tensors, **leaves})), prior, pixels)
        found = torch.autograd.grad(images, list(leaves.values()), image_grad, allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def _normalised(decoded: Tensor, prior: LoadedPrior, pixels: Pixels) -> Tensor:
    """Return decoded images, normalised by the dataset's mean and std."""
    if prior.value_range is None:
        return decoded
    low, high = prior.value_range
    return ((decoded - low) / (high - low) - pixels.mean) / pixels.std


def _gathered(parts: Iterator[Tensor]) -> Tensor:
    """Return the parts as one tensor; each is computed here, where nothing records a graph."""
    with torch.no_grad():
        return torch.cat([part.detach() for part in parts])
