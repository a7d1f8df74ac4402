"""Priors: generators in whose latent spaces images are optimised, from coarse spaces to fine ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ddbench.api.context import Context
    from ddbench.api.dataset import DatasetFacts
    from ddbench.options import Options

How = Literal["sample", "class_mean", "encode", "noise"]
"""How latents begin: drawn from the prior, each class's mean, encoded real images, or noise of the space's own scale."""


@dataclass(frozen=True)
class Latents:
    """Variables of one space, a row for each image. By convention `w` are styles, `f` features, `x` pixels."""

    space: str
    tensors: Mapping[str, Tensor]
    """By name: floats with a row for each image."""
    labels: Tensor
    """int64 (N,)."""
    frozen: frozenset[str] = field(default_factory=frozenset)
    """Names that are never optimised: fixed noise, class embeddings."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    @property
    def free(self) -> dict[str, Tensor]:
        """The tensors that are optimised."""
        return {name: tensor for name, tensor in self.tensors.items() if name not in self.frozen}

    def snapshot(self) -> Latents:
        """Return a copy that later steps, which change tensors in place, cannot touch."""
        return replace(self, tensors={name: tensor.detach().clone() for name, tensor in self.tensors.items()})

    def rows(self, part: slice) -> Latents:
        """Return some of the rows, as views."""
        return replace(self, tensors={name: tensor[part] for name, tensor in self.tensors.items()}, labels=self.labels[part])

    def chunks(self, size: int) -> Iterator[tuple[slice, Latents]]:
        """Give the rows `size` at a time, each part with where it stands."""
        for start in range(0, len(self), size):
            part = slice(start, min(start + size, len(self)))
            yield part, self.rows(part)

    @property
    def bytes(self) -> int:
        """What keeping the tensors would take."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())


class LoadedPrior(Protocol):
    """A prior with its weights, on the device. It knows no gradient of its own weights and draws only from what it is given."""

    spaces: Sequence[str]
    """From coarse to fine; the last may be `pixel`."""
    value_range: tuple[float, float] | None
    """Of decoded images; None where they are normalised by the dataset's mean and std already."""

    def init_latents(self, labels: Tensor, space: str, *, how: How, real: Tensor | None, generator: Generator) -> Latents:
        """Return where the optimisation begins in a space.

        Args:
            labels: int64 (N,).
            space: One of `spaces`.
            how: What they begin as.
            real: float32 (N, C, H, W), normalised: one real image of each label, for `encode`.
            generator: On the CPU; everything drawn comes from it.

        Raises:
            BadRequest: The prior cannot begin like that, or has no such space.
        """
        ...

    def decode(self, z: Latents) -> Tensor:
        """Return float32 (N, C, H, W) in `value_range`, differentiable in `z.free`; each row by itself, always the same."""
        ...

    def advance(self, z: Latents, to: str) -> Latents:
        """Return fresh tensors of a finer space that decode to the same images (but for clipping); no gradient is recorded.

        Raises:
            BadRequest: `to` is not a finer space.
        """
        ...

    def regularise(self, z: Latents) -> None:
        """Keep latents where the generator knows them, in place: clip, and put NaN right."""
        ...


@runtime_checkable
class Prior(Protocol):
    """A kind of generative prior."""

    name: str
    version: int
    """Bump when a change moves a number."""
    options: type[Options]
    licence: str
    """Of the weights: who may use results made with them."""
    external_data: bool
    """Whether other images than the dataset's own train split have gone into it; tables mark what it made."""
    gated: bool
    """Whether the quality gate judges it; False for those that claim no likeness to the data (identity, untrained)."""

    def fingerprint(self, o: Options) -> str:  # noqa: ARG002 - for those that override it
        """Return a hash of the files that `o` names, so that a changed file is a new prior; empty where there are none."""
        return ""

    def work(self, o: Options, facts: DatasetFacts) -> tuple[float, int]:  # noqa: ARG002 - the same
        """Return the floating-point operations of `fit`, and its steps, so that its time is known before; (0, 0): unknown."""
        return 0.0, 0

    def spaces(self, o: Options, facts: DatasetFacts) -> Sequence[str]:
        """Return the spaces it has for a dataset, from coarse to fine, before anything is computed.

        Raises:
            PriorMismatch: It is for images of another shape, or for other classes.
        """
        ...

    def fit(self, ctx: Context, o: Options) -> tuple[Mapping[str, Tensor], Mapping[str, object]]:
        """Return the weights by name, and what the card should tell (steps, losses); trained on `ctx.train` alone.

        It checkpoints; a killed training ends with the bytes of one never killed.

        Raises:
            SpecialValue: The loss became NaN or infinite.
        """
        ...

    def load(self, weights: Mapping[str, Tensor], o: Options, facts: DatasetFacts) -> LoadedPrior:
        """Return the prior at work, its weights on the device that `weights` are on.

        Raises:
            PriorMismatch: The weights belong to another shape or class list.
        """
        ...
