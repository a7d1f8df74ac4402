"""torchvision's classification networks, fitted to small images by taking out the stem's first reductions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache, partial

from torch import nn
from torchvision import models

from ddbench import NetworkSpec
from ddbench.errors import UnfitNetwork
from ddbench.networks import fit

ARGUMENTS: Mapping[str, Mapping[str, bool]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
"""One answer instead of three in training; torchvision's own initialisation, said aloud because leaving it out warns."""


@lru_cache(maxsize=256)
def fit_torchvision(name: str, version: int, *, shape: tuple[int, int, int], num_classes: int) -> NetworkSpec:
    """Return the specification of a torchvision network for images of `shape`.

    Raises:
        UnfitNetwork: It answers nothing sensible however much of its reduction is taken out.
    """
    reasons = []
    for fitting in _ways(name, shape):
        spec = NetworkSpec(f"torchvision/{name}", version, shape, num_classes, fitting)
        try:
            network = fit.built_on_meta(partial(build_torchvision, spec))
            fit.check_answer(network, shape, num_classes=num_classes)
        except (*fit.FAILURES, UnfitNetwork) as error:
            reasons.append(fit.first_line(error))
        else:
            return spec
    raise UnfitNetwork(f"torchvision/{name} cannot be fitted to images of {fit.size_of(shape)}: {reasons[0]}")


def build_torchvision(spec: NetworkSpec) -> nn.Module:
    """Return the network of a specification, freshly drawn from torch's global generator.

    Where the images do not have three channels the first convolution is drawn anew by PyTorch's default.
    """
    name = spec.name.partition("/")[2]
    arguments = {**ARGUMENTS.get(name, {}), **_part(spec, "arguments")}
    network: nn.Module = models.get_model(name, num_classes=spec.num_classes, **arguments)
    fit.apply(network, _part(spec, "strides"))
    if isinstance(network, models.VisionTransformer):
        # Its grid of positions was made for a larger image cut by a larger patch; tell it the sizes it will meet.
        network.image_size, network.patch_size = spec.shape[1], network.conv_proj.stride[0]
    first = fit.first_conv(network)
    conv = network.get_submodule(first)
    if isinstance(conv, nn.Conv2d) and conv.in_channels != spec.shape[0]:
        fit.replace(network, first, fit.with_channels(conv, spec.shape[0]))
    return network


def _part(spec: NetworkSpec, name: str) -> dict[str, int]:
    part = spec.fitting.get(name, {})
    return dict(part) if isinstance(part, Mapping) else {}


def _ways(name: str, shape: tuple[int, int, int]) -> Iterator[dict[str, object]]:
    """Yield fittings in the order in which they are tried."""
    own = fit.built_on_meta(partial(models.get_model, name, num_classes=2, **ARGUMENTS.get(name, {})))
    if isinstance(own, models.VisionTransformer):
        if shape[1] != shape[2]:
            raise UnfitNetwork(f"torchvision/{name} takes square images only, given {fit.size_of(shape)}")
        patch = fit.token_patch(shape, own.patch_size)
        yield {"arguments": {"image_size": shape[1] // patch * own.patch_size}, "strides": {"conv_proj": patch}}
        return
    side = 299 if name == "inception_v3" else 224
    found = fit.reductions(own, (3, side, side))
    removal = 1 if isinstance(own, models.VGG) else fit.removal_for(shape)
    while removal <= 32:
        sizes = {"input_size": [shape[1] * removal, shape[2] * removal]} if name.startswith("maxvit") else {}
        parts = {"arguments": sizes, "strides": fit.plan(found, removal)}
        yield {key: part for key, part in parts.items() if part}
        removal *= 2
