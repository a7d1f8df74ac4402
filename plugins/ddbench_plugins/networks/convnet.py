"""ConvNet-D(W), the field's standard small network, its variants, and ConvNetGAP.

D blocks of [3×3 convolution, norm, activation, 2×2 pooling], W filters each, then one linear layer on the flattened map:
as Dataset Condensation (Zhao et al., ICLR 2021) introduced it and DC-Bench uses it. In ConvNetGAP (MTT, GLaD) the width
doubles from block to block and the last map is averaged before the linear layer.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from torch import nn

from ddbench.errors import UnfitNetwork

if TYPE_CHECKING:
    from ddbench import NetworkSpec

NORMS = {"in": "instance", "bn": "batch", "ln": "layer", "gn": "group", "nonorm": "none"}
ACTIVATIONS = {"relu": "relu", "sigmoid": "sigmoid", "leaky": "leaky", "swish": "swish"}
POOLINGS = {"avg": "avg", "max": "max", "nopool": "none"}
MODULES = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "leaky": nn.LeakyReLU, "swish": nn.SiLU}
"""LeakyReLU's slope is PyTorch's 0.01, as in the reference."""


@dataclass(frozen=True)
class Design:
    """What a ConvNet's name says, with the depth filled in."""

    gap: bool
    depth: int
    norm: str = "instance"
    width: int = 128
    activation: str = "relu"
    pooling: str = "avg"
    name: str = field(default="", compare=False)
    """Normalised: defaults left out, variants in the order norm, width, activation, pooling."""


def parse(name: str, shape: tuple[int, int, int]) -> Design | None:
    """Return the design that a name stands for, or None when it is no ConvNet's name.

    Variants follow the name in any order, as in `convnet3-w64-bn`.

    Raises:
        UnfitNetwork: Two variants contradict each other.
    """
    base, *variants = name.split("-")
    match = re.fullmatch(r"convnet(gap)?([1-9]?)", base)
    if match is None:
        return None
    parts: dict[str, str | int] = {}
    for variant in variants:
        found = _variant(variant)
        if found is None:
            return None
        if found[0] in parts:
            raise UnfitNetwork(f"the name {name!r} gives two variants of {found[0]}; give one")
        parts[found[0]] = found[1]
    depth = int(match[2]) if match[2] else usual_depth(shape)
    design = Design(bool(match[1]), depth, **parts)  # type: ignore[arg-type]  # the variants' own types
    return Design(**{**asdict(design), "name": _normalised(design)})


def usual_depth(shape: tuple[int, int, int]) -> int:
    """Return the depth for an image size: 3 at 28 and 32 pixels, 4 at 64, 5 at 128, 6 at 256 (DC-Bench, GLaD).

    Smaller images keep 3 blocks as long as the map does not vanish: 3 at 8 pixels, 2 at 4.
    """
    side = min(shape[1:])
    return max(1, min(max(3, round(math.log2(side)) - 2), int(math.log2(side))))


def fit_convnet(design: Design, shape: tuple[int, int, int]) -> dict[str, object]:
    """Return a ConvNet's design with the padding of its first block and the size of its last map, as JSON values.

    One-channel images of 28×28 are padded to 32×32 by the first convolution (padding 3), as in the reference. The
    reference pads every one-channel image so; here other sizes keep padding 1.

    Raises:
        UnfitNetwork: Pooling would leave less than 1×1, or the width does not fit the norm.
    """
    padding = 3 if shape == (1, 28, 28) else 1
    halvings = 0 if design.pooling == "none" else design.depth
    sides = [side + 2 * padding - 2 for side in shape[1:]]
    last = [side >> halvings for side in sides]
    if min(last) < 1:
        raise UnfitNetwork(
            f"ddbench/{design.name} pools images of {shape[1]}×{shape[2]} below 1×1; "
            f"depths up to {int(math.log2(min(sides)))} fit, and 'convnet' chooses one"
        )
    if design.norm == "group" and design.width % 4:
        raise UnfitNetwork(f"ddbench/{design.name}: four norm groups need a width that is a multiple of 4, given {design.width}")
    facts = {key: value for key, value in asdict(design).items() if key != "name"}
    return {**facts, "first_padding": padding, "last_map": last}


def build_convnet(spec: NetworkSpec) -> nn.Module:
    """Return the network: `features` up to the last pooling, then `classifier`, one linear layer."""
    facts = dict(spec.fitting)
    padding, _ = int(str(facts.pop("first_padding"))), facts.pop("last_map")
    design = Design(**facts)  # type: ignore[arg-type]  # as `fit_convnet` wrote them
    channels, *side = spec.shape
    layers: list[nn.Module] = []
    for block in range(design.depth):
        width = design.width * (2**block if design.gap else 1)
        pad = padding if block == 0 else 1
        side = [s + 2 * pad - 2 for s in side]
        layers += [nn.Conv2d(channels, width, 3, padding=pad), *_norm(design.norm, width, side), MODULES[design.activation]()]
        if design.pooling != "none":
            layers.append(nn.AvgPool2d(2) if design.pooling == "avg" else nn.MaxPool2d(2))
            side = [s // 2 for s in side]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(1)] if design.gap else []
    features = channels if design.gap else channels * side[0] * side[1]
    network = nn.Sequential()
    network.add_module("features", nn.Sequential(*layers))
    network.add_module("flatten", nn.Flatten())
    network.add_module("classifier", nn.Linear(features, spec.num_classes))
    return network


def _norm(kind: str, width: int, side: list[int]) -> list[nn.Module]:
    if kind == "instance":
        return [nn.GroupNorm(width, width)]  # one group a channel, affine: InstanceNorm2d would not be affine by default
    if kind == "batch":
        return [nn.BatchNorm2d(width)]
    if kind == "layer":
        return [nn.LayerNorm([width, *side])]
    return [nn.GroupNorm(4, width)] if kind == "group" else []


def _variant(text: str) -> tuple[str, str | int] | None:
    """Return which part of the design a variant sets, and to what."""
    for part, names in (("norm", NORMS), ("activation", ACTIVATIONS), ("pooling", POOLINGS)):
        if text in names:
            return part, names[text]
    match = re.fullmatch(r"w([1-9][0-9]{0,3})", text)
    return ("width", int(match[1])) if match else None


def _normalised(design: Design) -> str:
    parts = [f"convnet{'gap' if design.gap else ''}{design.depth}"]
    parts += [short for short, norm in NORMS.items() if norm == design.norm != "instance"]
    parts += [f"w{design.width}"] if design.width != 128 else []
    parts += [short for short, activation in ACTIVATIONS.items() if activation == design.activation != "relu"]
    parts += [short for short, pooling in POOLINGS.items() if pooling == design.pooling != "avg"]
    return "-".join(parts)
