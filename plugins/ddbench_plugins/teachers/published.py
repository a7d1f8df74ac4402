"""What torchvision and timm publish: finding a network's weights and fetching them without running their code."""

from __future__ import annotations

import pickle
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlparse

import torch
import torch.hub

from ddbench.errors import BadRequest, DataMissing, Offline
from ddbench.seeding import seeded_globally
from ddbench_plugins.teachers.files import first_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


@dataclass(frozen=True)
class Published:
    """Weights of a network and what their library says about them."""

    label: str
    """`torchvision/resnet18 IMAGENET1K_V1`."""
    library: Literal["torchvision", "timm"]
    address: str
    """A URL, or the hub's repository where the library downloads from a hub."""
    class_lists: Sequence[tuple[str, ...]]
    """The classes in the order of the outputs, under each name they go by: readable names, WordNet ids."""
    mean: tuple[float, ...]
    std: tuple[float, ...]


def find(network: str, weights: str) -> Published:
    """Return what is published for a network's full name.

    Raises:
        BadRequest: Nothing is, or nothing by that name.
    """
    family, _, name = network.partition("/")
    if family == "torchvision":
        return _find_torchvision(name, weights)
    if family == "timm":
        return _find_timm(name, weights)
    raise BadRequest(
        f"nobody publishes weights for {network}; name torchvision's or timm's network in full, "
        "for example --teacher pretrained:torchvision/resnet18"
    )


def fetch(found: Published, *, url: str, offline: bool) -> Mapping[str, Tensor]:
    """Return the weights on the CPU, from the library's cache where they are there.

    The library's own notice and progress bar go to stderr.

    Args:
        found: From `find`.
        url: Another place for the file; empty for the library's own.
        offline: When true only what is already on this machine is used.

    Raises:
        Offline: They would have to be downloaded.
        DataMissing: They cannot be fetched, or are not what their name promises.
    """
    where = url or found.address
    if offline and not is_cached(found, url):
        raise Offline(
            f"{found.label} would be downloaded from {where}, and --offline forbids it; "
            "run once without, or use the teacher 'checkpoint'"
        )
    try:
        with redirect_stdout(sys.stderr):
            return _from_url(where) if "://" in where else _from_hub(found)
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise DataMissing(
            f"{found.label} cannot be fetched from {where}: {first_line(error)}; check the network, "
            "or fetch the file by other means and use the teacher 'checkpoint'"
        ) from error


def is_cached(found: Published, url: str = "") -> bool:
    """Return whether the weights are already on this machine."""
    where = url or found.address
    if "://" in where:
        return where.startswith("file://") or _cached_file(where).is_file()
    return _hub_file(found.address) is not None


def imagenet_ids() -> tuple[str, ...]:
    """Return ImageNet-1k's WordNet ids in the order every publisher trains in: sorted."""
    from timm.data.imagenet_info import ImageNetInfo

    info: Any = ImageNetInfo("imagenet-1k")
    return tuple(info.label_names())


def _find_torchvision(name: str, weights: str) -> Published:
    import torchvision

    known = torchvision.models.get_model_weights(name)
    if weights != "default" and weights not in known.__members__:
        raise BadRequest(f"torchvision/{name} has no weights {weights!r}; it has: {', '.join(known.__members__) or 'none'}")
    if not known.__members__:
        raise BadRequest(f"torchvision publishes no weights for {name}; name another network")
    chosen = known.DEFAULT if weights == "default" else known[weights]
    view = chosen.transforms()
    lists = (tuple(chosen.meta["categories"]), imagenet_ids())
    return Published(f"torchvision/{name} {chosen.name}", "torchvision", chosen.url, lists, tuple(view.mean), tuple(view.std))


def _find_timm(name: str, weights: str) -> Published:
    import timm

    bare = name.partition(".")[0]
    known = timm.list_pretrained(f"{bare}.*")
    wanted = name if weights == "default" else f"{bare}.{weights}"
    if not known or ("." in wanted and wanted not in known):
        raise BadRequest(f"timm publishes no weights {wanted}; it has: {', '.join(known) or f'none for {bare}'}")
    config: Any = timm.get_pretrained_cfg(wanted)
    label = f"timm/{config.architecture}.{config.tag}"
    return Published(
        label, "timm", config.hf_hub_id or config.url, _timm_classes(config), tuple(config.mean), tuple(config.std)
    )  # fmt: skip


def _timm_classes(config: Any) -> list[tuple[str, ...]]:
    """Return the classes timm's weights answer for: an ImageNet subset's, or placeholders that equal nobody's."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(config.to_dict())
    if subset is None or config.label_offset:
        return [tuple(f"unknown class {i}" for i in range(config.num_classes))]
    info: Any = ImageNetInfo(subset)
    return [tuple(info.label_names()), tuple(info.label_descriptions())]


def _from_url(where: str) -> Mapping[str, Tensor]:
    tensors: Mapping[str, Tensor] = torch.hub.load_state_dict_from_url(
        where, map_location="cpu", check_hash=True, weights_only=True
    )
    return tensors


def _from_hub(found: Published) -> Mapping[str, Tensor]:
    """Return the state dict of timm's own network, which timm reads from the hub as safetensors."""
    import timm

    cached = _hub_file(found.address)
    overlay = {"file": str(cached)} if cached else None
    name = found.label.partition("/")[2]
    with seeded_globally(0):
        donor = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    tensors: Mapping[str, Tensor] = donor.state_dict()
    return tensors


def _hub_file(repository: str) -> Path | None:
    """Return the hub's file of weights in the local cache, if it is there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "model.safetensors")
    return Path(found) if isinstance(found, str) else None


def _cached_file(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
