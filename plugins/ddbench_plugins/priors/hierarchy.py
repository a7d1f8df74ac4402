"""The generator at work: latents in its styles, in the features of each of its levels, and in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddbench import Latents
from ddbench.errors import BadRequest, PriorMismatch
from ddbench_plugins.priors.encoder import Encoder
from ddbench_plugins.priors.levels import TrunkOptions, level_sizes, level_widths, space_names
from ddbench_plugins.priors.trunk import Z_DIM, Shape, Trunk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Generator

    from ddbench import DatasetFacts
    from ddbench.api.prior import How

BOUND = 10.0
"""Of every latent's values: the released code of GLaD clips features to ±10. Styles have mean square 1, and images end at ±1."""

MEAN_OF = 1000
"""Styles that a class's mean is taken over, as in the released code of GLaD."""

CHUNK = 100
"""Images that are carried to another space together."""

CLASSES = "classes_sha256"
"""The weight that holds the class list's hash, uint8 (32,)."""


@dataclass
class Hierarchy:
    """A `LoadedPrior`: spaces `w+` (tensor `w`), `f1` … (tensors `f` and `w`) and `pixel` (tensor `x`, in `value_range`)."""

    trunk: Trunk
    encoder: Encoder | None
    mean: Tensor
    """float32 (C, 1, 1), of the dataset's pixels in [0, 1]."""
    std: Tensor
    """float32 (C, 1, 1)."""
    spaces: Sequence[str]
    value_range: tuple[float, float] | None = (-1.0, 1.0)

    def init_latents(self, labels: Tensor, space: str, *, how: How, real: Tensor | None, generator: Generator) -> Latents:
        """Return where the optimisation begins; in other spaces than `w+`, what the styles of a beginning there lead to.

        `sample`: a style of its own for each image. `class_mean`: the mean of 1000 styles of its class, which makes images
        of one class equal. `encode`: the style of the real image's mean code. `noise`: every coordinate of every style by
        itself, normal, with the mean and deviation that it has over the classes.

        Raises:
            BadRequest: There is no such space; nothing to encode with, or no image to encode; no such beginning.
        """
        self._place(space)
        labels = labels.to(self.trunk.start.device)
        with torch.no_grad():
            w = self._styles(labels, how, real, generator).contiguous().clone()
        start = Latents("w+", {"w": w}, labels)
        return start if space == "w+" else self.advance(start, space)

    def decode(self, z: Latents) -> Tensor:
        """Return float32 (N, C, H, W) in [-1, 1]; latents in `pixel` are returned as they are, even beyond."""
        done = self._place(z.space)
        if z.space == "pixel":
            return z.tensors["x"]
        w = z.tensors["w"]
        return self.trunk.image(self.trunk.climb(z.tensors.get("f"), w, done=done, to=len(self.trunk.levels)), w)

    def advance(self, z: Latents, to: str) -> Latents:
        """Return the same images in a finer space: fresh tensors, clipped as `regularise` does."""
        done, target = self._place(z.space), self._place(to)
        if target <= done:
            order = ", ".join(self.spaces)
            raise BadRequest(f"latents in {z.space!r} cannot be carried to {to!r}, which is no finer space; the order is {order}")
        with torch.no_grad():
            values = torch.cat([self._carried(rows, done, to) for _, rows in z.chunks(CHUNK)])
        tensors = {"x": values} if to == "pixel" else {"f": values, "w": z.tensors["w"].detach().clone()}
        carried = Latents(to, tensors, z.labels, z.frozen & tensors.keys())
        self.regularise(carried)
        return carried

    def regularise(self, z: Latents) -> None:
        """Clip every latent to ±10 and put 0 for NaN, in place."""
        for tensor in z.tensors.values():
            tensor.detach().nan_to_num_(nan=0.0, posinf=BOUND, neginf=-BOUND).clamp_(-BOUND, BOUND)

    def _place(self, space: str) -> int:
        """Return a space's number: 0 for `w+`, n for `fn`, one more than there are levels for `pixel`."""
        if space not in self.spaces:
            raise BadRequest(f"this prior has no space {space!r}; it has {', '.join(self.spaces)}")
        return self.spaces.index(space)

    def _carried(self, z: Latents, done: int, to: str) -> Tensor:
        if to == "pixel":
            return self.decode(z)
        return self.trunk.climb(z.tensors.get("f"), z.tensors["w"], done=done, to=self.spaces.index(to))

    def _styles(self, labels: Tensor, how: How, real: Tensor | None, generator: Generator) -> Tensor:
        """Return float32 (N, num_ws, 128)."""
        if how == "sample":
            return self.trunk.styles(self._codes(len(labels), generator), labels)
        if how == "class_mean":
            return self._class_means(labels, generator)
        if how == "noise":
            return self._noise(len(labels), generator)
        if how == "encode":
            return self.trunk.styles(self._encoded(labels, real), labels)
        raise BadRequest(f"latents cannot begin as {how!r}; this prior knows sample, class_mean, encode and noise")

    def _class_means(self, labels: Tensor, generator: Generator) -> Tensor:
        """Return for each image the mean of 1000 styles of its class; every class maps the same 1000 codes."""
        z = self._codes(MEAN_OF, generator)
        classes, which = torch.unique(labels, return_inverse=True)
        means = [self.trunk.mapping(z, label.expand(MEAN_OF)).mean(dim=0) for label in classes]
        return torch.stack(means)[which][:, None].expand(-1, self.trunk.num_ws, -1)

    def _noise(self, count: int, generator: Generator) -> Tensor:
        classes = torch.arange(MEAN_OF, device=self.mean.device) % self.trunk.shape.num_classes
        sampled = self.trunk.mapping(self._codes(MEAN_OF, generator), classes)
        drawn = torch.randn(count, self.trunk.num_ws, sampled.shape[1], generator=generator).to(sampled.device)
        styles: Tensor = sampled.mean(dim=0) + sampled.std(dim=0) * drawn
        return styles

    def _encoded(self, labels: Tensor, real: Tensor | None) -> Tensor:
        if self.encoder is None:
            raise BadRequest("an untrained prior cannot encode real images; begin with sample, class_mean or noise")
        if real is None or len(real) != len(labels):
            raise BadRequest(f"to encode, one real image for each of the {len(labels)} labels is needed")
        images = (real.to(self.mean) * self.std + self.mean) * 2 - 1
        parts = [self.encoder(x, y)[0] for x, y in zip(torch.split(images, CHUNK), torch.split(labels, CHUNK), strict=True)]
        return torch.cat(parts)

    def _codes(self, count: int, generator: Generator) -> Tensor:
        return torch.randn(count, Z_DIM, generator=generator).to(self.mean.device)


def shape_for(facts: DatasetFacts, o: TrunkOptions) -> Shape:
    """Return the generator's shape for a dataset.

    Raises:
        PriorMismatch: Its images cannot be halved down to a size to begin at.
    """
    sizes = level_sizes(facts.shape)
    return Shape(facts.shape, facts.num_classes, tuple(sizes), tuple(level_widths(len(sizes), o)), o.layers)


def class_list(facts: DatasetFacts) -> Tensor:
    """Return the class list's hash as uint8 (32,), to be kept among the weights."""
    return torch.tensor(list(bytes.fromhex(facts.classes_sha256)), dtype=torch.uint8)


def loaded(weights: Mapping[str, Tensor], o: TrunkOptions, facts: DatasetFacts, *, encodes: bool) -> Hierarchy:
    """Return the generator at work, frozen, on the device that the weights are on.

    Raises:
        PriorMismatch: The weights were made for another class list, another shape or other options.
    """
    shape = shape_for(facts, o)
    _refuse_other_classes(weights, facts)
    with torch.device("meta"):
        trunk, encoder = Trunk(shape), Encoder(shape) if encodes else None
    _fill(trunk, "trunk.", weights, facts)
    if encoder is not None:
        _fill(encoder, "encoder.", weights, facts)
    mean, std = (torch.tensor(values, device=trunk.start.device).view(-1, 1, 1) for values in (facts.mean, facts.std))
    return Hierarchy(trunk, encoder, mean, std, space_names(facts))


def _refuse_other_classes(weights: Mapping[str, Tensor], facts: DatasetFacts) -> None:
    kept = weights.get(CLASSES)
    if kept is None or not kept.cpu().equal(class_list(facts)):
        raise PriorMismatch(f"these weights were made for another class list than {facts.name}'s; fit the prior on {facts.name}")


def _fill(module: torch.nn.Module, prefix: str, weights: Mapping[str, Tensor], facts: DatasetFacts) -> None:
    """Set a module without values to weights, and freeze it."""
    own = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in own.items()}
    if given != expected:
        wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
        raise PriorMismatch(
            f"these weights were made for images of another shape than {facts.name}'s {facts.shape}, or with other options: "
            f"{prefix}{wrong[0]} is {given.get(wrong[0])}, and {expected.get(wrong[0])} is meant"
        )
    module.load_state_dict(own, assign=True)
    module.eval().requires_grad_(requires_grad=False)
