"""pretrained: weights that torchvision or timm publish, through the library's own downloader."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pydantic import Field

from ddbench import Context, NetworkSpec, Options, Teacher, TrainedNetwork
from ddbench_plugins.teachers.checks import check_classes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


class PretrainedOptions(Options):
    """Options of `pretrained`."""

    weights: str = Field(
        default="default",
        description="Which of the network's published weights: torchvision's name (`IMAGENET1K_V1`) or timm's tag (`a1_in1k`); "
        "`default` takes the library's own choice, which may change with its version: name one for results that must last.",
    )
    url: str = Field(
        default="",
        description="Where the same file is, a .pth state dict, when the library's own address cannot be reached.",
    )


class Pretrained(Teacher):
    """Published weights of `torchvision/NAME` or `timm/NAME`, with the normalisation they were trained with."""

    name = "pretrained"
    version = 1  # bump when a change moves a number
    options = PretrainedOptions

    def train(self, ctx: Context, o: Options, network: NetworkSpec) -> TrainedNetwork:
        """Return the published network, after checking its class list and its answers on train images.

        Raises:
            BadRequest: The network's family publishes no weights, or none by that name.
            TeacherMismatch: The weights are for other classes, or for the network at another image size.
            Offline: They are not on this machine and `--offline` forbids fetching them.
            DataMissing: They cannot be fetched.
        """
        from ddbench_plugins.teachers.fitting import fitted  # torch enters here
        from ddbench_plugins.teachers.probe import probed
        from ddbench_plugins.teachers.published import fetch, find

        options = cast("PretrainedOptions", o)
        found = find(network.name, options.weights)
        facts = ctx.train.facts
        if facts.classes not in found.class_lists:
            check_classes(found.class_lists[0], facts, found.label)
        tensors: Mapping[str, Tensor] = fetch(found, url=options.url, offline=ctx.offline)
        return probed(ctx, fitted(ctx, network, tensors, (found.mean, found.std), source=found.label), found.label)
