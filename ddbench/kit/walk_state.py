"""Where a walk stands, and how that is kept as tensors, so that a killed walk ends with the bytes of one never killed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from ddbench.api.prior import Latents

FREE, FROZEN = "free", "frozen"


@dataclass(frozen=True)
class Best:
    """The candidate with the lowest score of a space so far: a copy, which no later step touches."""

    score: float
    step: int
    """Steps made in the space before it."""
    z: Latents


@dataclass
class WalkState:
    """Where a walk stands."""

    z: Latents
    velocity: dict[str, Tensor]
    """Of SGD with momentum, by tensor name."""
    losses: Tensor
    """float32 (steps of the whole walk,), on the device; NaN where a step's loss or gradient was not finite."""
    leg: int = 0
    step: int = 0
    """Steps made in this leg."""
    best: Best | None = None
    scored: list[tuple[int, int, float]] = field(default_factory=list)
    """Leg, step and score of each candidate."""
    chosen: list[int] = field(default_factory=list)
    """Of each finished leg: the step whose latents were handed on."""
    ends: list[Tensor] = field(default_factory=list)
    """Of each finished leg, where they are kept: uint8 (N, C, H, W), what was handed on."""

    def enter(self, z: Latents) -> None:
        """Stand at the start of a leg with these latents; the optimiser is a fresh one."""
        self.z, self.step, self.best = z, 0, None
        self.velocity = {name: torch.zeros_like(tensor) for name, tensor in z.free.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return the state as tensors by name; latents are not copied."""
        kept = {
            "at": torch.tensor([self.leg, self.step]),
            "losses": self.losses,
            "scored_at": torch.tensor([entry[:2] for entry in self.scored], dtype=torch.int64).view(-1, 2),
            "scores": torch.tensor([entry[2] for entry in self.scored], dtype=torch.float64),
            "chosen": torch.tensor(self.chosen, dtype=torch.int64),
            **dict(_named("z", self.z)),
            **{f"velocity/{name}": tensor for name, tensor in self.velocity.items()},
            **{f"ends/{number}": tensor for number, tensor in enumerate(self.ends)},
        }
        if self.best is not None:
            kept |= {
                "best": torch.tensor([self.best.score, self.best.step], dtype=torch.float64),
                **dict(_named("best", self.best.z)),
            }
        return kept

    @classmethod
    def of_tensors(cls, kept: Mapping[str, Tensor], spaces: list[str], start: Latents) -> WalkState:
        """Return the state that `tensors` gave, on the device of `start`.

        Args:
            kept: The tensors.
            spaces: Of each leg.
            start: Where the walk began: gives labels and device.
        """
        leg, step = kept["at"].tolist()
        device = start.labels.device
        like = replace(start, space=spaces[leg])
        best = None
        if "best" in kept:
            score, best_step = kept["best"].tolist()
            best = Best(score, int(best_step), _latents("best", kept, like))
        scored = [(*at, score) for at, score in zip(kept["scored_at"].tolist(), kept["scores"].tolist(), strict=True)]
        velocity = {name.removeprefix("velocity/"): kept[name].to(device) for name in kept if name.startswith("velocity/")}
        ends = [kept[f"ends/{number}"] for number in range(sum(name.startswith("ends/") for name in kept))]
        losses, chosen = kept["losses"].to(device), kept["chosen"].tolist()
        return cls(_latents("z", kept, like), velocity, losses, leg, step, best, scored, chosen, ends)


def digest(start: Latents) -> Tensor:
    """Return int64: tells the walk of one job from that of another by where it starts."""
    hashed = hashlib.sha256(start.space.encode())
    for name, tensor in sorted({**start.tensors, "labels": start.labels}.items()):
        hashed.update(name.encode() + tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return torch.tensor(int.from_bytes(hashed.digest()[:8], "big", signed=True))


def _named(prefix: str, z: Latents) -> Iterator[tuple[str, Tensor]]:
    """Give each tensor of latents under a name that tells whether it is frozen."""
    for name, tensor in z.tensors.items():
        yield f"{prefix}/{FROZEN if name in z.frozen else FREE}/{name}", tensor


def _latents(prefix: str, kept: Mapping[str, Tensor], like: Latents) -> Latents:
    """Return the latents that `_named` took apart, with the space and labels of others, on their device."""
    parts = [(name.removeprefix(f"{prefix}/").partition("/"), kept[name]) for name in kept if name.startswith(f"{prefix}/")]
    tensors = {name: tensor.to(like.labels.device) for (_, _, name), tensor in parts}
    return replace(like, tensors=tensors, frozen=frozenset(name for (kind, _, name), _ in parts if kind == FROZEN))
