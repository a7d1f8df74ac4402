"""timm's classification networks, fitted to any image size from 8 pixels up.

A network is tried in a fixed order of ways; the first under which it answers two images with (2, classes) on the meta
device is taken, and what was done is the specification's `fitting`:

1. networks that cut the image into patches: a patch that leaves about eight tokens a side (one stage), or the network's
   own divided by the removal (several stages, the attention window fitted to the grid);
2. all others: the first reductions of the side are taken out, as many as `removal_for` says, then twice as many and so
   on. Networks that need to know the image's size are told the size at which their own stem would leave the same maps;
3. the network as it is, told the image's size.

VGG keeps all reductions that it can, as it is built for CIFAR (1×1 at 32 pixels), and its first dense layer, drawn for
7×7 positions, is as large as the map it sees.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import timm
from timm.layers.patch_embed import PatchEmbed
from timm.models.vgg import VGG
from torch import nn

from ddbench import NetworkSpec
from ddbench.errors import UnfitNetwork
from ddbench.networks import fit

PATCHED: Mapping[str, Callable[[int], dict[str, int | list[int]]]] = {
    "CrossVit": lambda patch: {"patch_size": [max(1, patch // 2), patch], "img_scale": [1, 1]},
    "Gemma4VitClassifier": lambda patch: {"patch_size": patch},
    "NaFlexVit": lambda patch: {"patch_size": patch},
    "PoolingVisionTransformer": lambda patch: {"patch_size": patch, "stride": patch // 2},
    "TNT": lambda patch: {"patch_size": patch, "first_stride": max(1, patch // 4)},
}
"""Classes with patches whose arguments or first layers do not show it: their arguments for a patch size."""


@dataclass(frozen=True)
class Way:
    """One way to fit a network: arguments of its constructor, new strides, the kernel of VGG's head."""

    arguments: Mapping[str, int | list[int]] = field(default_factory=dict)
    strides: Mapping[str, int] = field(default_factory=dict)
    head_kernel: int | None = None

    def as_json(self) -> dict[str, object]:
        parts = {"arguments": dict(self.arguments), "strides": dict(self.strides), "head_kernel": self.head_kernel}
        return {name: part for name, part in parts.items() if part}


@dataclass(frozen=True)
class Drawn:
    """A network as timm draws it, looked at on the meta device."""

    own: nn.Module
    parameters: Mapping[str, object]
    """What its class takes, with defaults."""
    reductions: tuple[fit.Reduction, ...]
    shape: tuple[int, int, int]
    """Of the images to fit."""


@lru_cache(maxsize=256)
def fit_timm(name: str, version: int, *, shape: tuple[int, int, int], num_classes: int) -> NetworkSpec:
    """Return the specification of a timm network for images of `shape`.

    Raises:
        UnfitNetwork: No way of fitting works; the message gives the first one's reason.
    """
    reasons = []
    for way in _ways(name, shape, num_classes=num_classes):
        spec = NetworkSpec(f"timm/{name}", version, shape, num_classes, way.as_json())
        try:
            network = fit.built_on_meta(partial(build_timm, spec))
            fit.check_answer(network, shape, num_classes=num_classes)
        except (*fit.FAILURES, UnfitNetwork) as error:
            reasons.append(fit.first_line(error))
        else:
            return spec
    raise UnfitNetwork(f"timm/{name} cannot be fitted to images of {fit.size_of(shape)}: {reasons[0]}")


def build_timm(spec: NetworkSpec) -> nn.Module:
    """Return the network of a specification, freshly drawn from torch's global generator."""
    given = _part(spec, "arguments")
    arguments: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    name = spec.name.partition("/")[2]
    network = timm.create_model(name, num_classes=spec.num_classes, in_chans=spec.shape[0], **arguments)
    fit.apply(network, _part(spec, "strides"))
    if isinstance(network, VGG) and "head_kernel" in spec.fitting:
        _shrink_head(network, int(str(spec.fitting["head_kernel"])))
    for module in network.modules():
        proj = getattr(module, "proj", None)
        if isinstance(module, PatchEmbed) and isinstance(proj, nn.Conv2d) and proj.stride != module.patch_size:
            # Its grid was made for a larger image cut by a larger patch; tell it the sizes it will meet.
            module.patch_size, module.img_size = proj.stride, tuple(spec.shape[1:])
    return network


def _shrink_head(network: VGG, kernel: int) -> None:
    """Make VGG's first dense layer, a 7×7 convolution that pads what is smaller, as large as the map it will see."""
    head: Any = network.pre_logits
    head.fc1 = nn.Conv2d(head.fc1.in_channels, head.fc1.out_channels, kernel)
    head.input_kernel_size = kernel


def _part(spec: NetworkSpec, name: str) -> dict[str, Any]:
    part = spec.fitting.get(name, {})
    return dict(part) if isinstance(part, Mapping) else {}


def _ways(name: str, shape: tuple[int, int, int], *, num_classes: int) -> Iterator[Way]:
    drawn = _draw(name, shape, num_classes=num_classes)
    yield from _by_patch(drawn)
    removal = 1 if isinstance(drawn.own, VGG) else fit.removal_for(shape)
    while removal <= 32:
        last = max(1, min(shape[1:]) * removal // 32)
        head_kernel = last if isinstance(drawn.own, VGG) and last < 7 else None
        yield Way(_sizes(drawn, removal), fit.plan(list(drawn.reductions), removal), head_kernel)
        removal *= 2
    yield Way(_sizes(drawn, 1))


def _draw(name: str, shape: tuple[int, int, int], *, num_classes: int) -> Drawn:
    try:
        own = fit.built_on_meta(partial(timm.create_model, name, num_classes=num_classes, in_chans=shape[0]))
    except fit.FAILURES as error:
        raise UnfitNetwork(f"timm/{name} cannot be built for {shape[0]} channels: {fit.first_line(error)}") from error
    parameters: dict[str, object] = {}
    for kind in reversed(type(own).__mro__):  # a subclass may hand everything to its parent
        taken = inspect.signature(vars(kind).get("__init__", object.__init__)).parameters
        parameters.update({key: parameter.default for key, parameter in taken.items()})
    facts: Any = own.pretrained_cfg
    _, height, width = facts.get("input_size", (3, 224, 224))
    try:
        found = fit.reductions(own, (shape[0], height, width))
    except UnfitNetwork as error:
        raise UnfitNetwork(f"timm/{name} does not work with {shape[0]} channels even at its own size: {error}") from error
    return Drawn(own, parameters, tuple(found), shape)


def _by_patch(drawn: Drawn) -> Iterator[Way]:
    """Yield the ways for networks that cut the image into patches."""
    kind = type(drawn.own).__name__
    if kind in PATCHED:
        yield Way({**_sizes(drawn, 1), **PATCHED[kind](fit.token_patch(drawn.shape, 16))})
    first = drawn.own.get_submodule(drawn.reductions[0].path) if drawn.reductions else None
    if not isinstance(first, nn.Conv2d) or first.kernel_size != first.stride or first.stride[0] < 4:
        return
    own, (_, height, width) = first.stride[0], drawn.shape
    one_stage = own >= 8
    # A class may call something else `patch_size` (a hybrid's, on top of its backbone): then only the stem is changed.
    if not one_stage and drawn.parameters.get("patch_size") not in [own, (own, own)]:
        return
    patch = fit.token_patch(drawn.shape, own) if one_stage else max(1, round(own / fit.removal_for(drawn.shape)))
    if "patch_size" in drawn.parameters:
        yield from _with_patch(drawn, patch)
    if one_stage:
        sizes = {"img_size": [height // patch * own, width // patch * own]} if "img_size" in drawn.parameters else {}
        yield Way(sizes, {drawn.reductions[0].path: patch})


def _with_patch(drawn: Drawn, patch: int) -> Iterator[Way]:
    """Yield the ways for classes that take a patch size, attention windows fitted to the grid first."""
    arguments = {**_sizes(drawn, 1), "patch_size": patch}
    windows = [window for module in drawn.own.modules() if (window := _window(module))]
    if "window_size" in drawn.parameters and windows:
        yield Way({**arguments, "window_size": fit.fitting_window(drawn.shape[1] // patch, windows[0])})
    yield Way(arguments)


def _sizes(drawn: Drawn, removal: int) -> dict[str, int | list[int]]:
    """Return the constructor's arguments that say how large the images are, enlarged by what the stem will not reduce."""
    _, height, width = drawn.shape
    return {"img_size": [height * removal, width * removal]} if "img_size" in drawn.parameters else {}


def _window(module: nn.Module) -> int:
    window = getattr(module, "window_size", 0)
    window = window[0] if isinstance(window, tuple | list) and window else window
    return window if isinstance(window, int) else 0
