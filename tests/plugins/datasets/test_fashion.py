"""Fashion-MNIST through torchvision, from a fake source on this machine with its own checksums."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import FashionMNIST

from ddbench.data import prepare
from ddbench.errors import DataDamaged, DataMissing, Offline
from ddbench_plugins.datasets.fashion import FashionMnistSource


def idx(array: np.ndarray) -> bytes:
    """Return an array in the format of the MNIST files."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


@pytest.fixture
def originals(served, monkeypatch) -> tuple[Path, dict[str, np.ndarray]]:
    place, address = served
    rng = np.random.default_rng(2)
    arrays = {}
    for prefix, count in (("train", 30), ("t10k", 20)):
        arrays[f"{prefix}-images-idx3-ubyte.gz"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{prefix}-labels-idx1-ubyte.gz"] = rng.permutation(count).astype(np.uint8) % 10
    resources = []
    for name, array in arrays.items():
        (place / name).write_bytes(idx(array))
        resources.append((name, hashlib.md5((place / name).read_bytes(), usedforsecurity=False).hexdigest()))
    monkeypatch.setattr(FashionMNIST, "resources", resources)
    monkeypatch.setattr(FashionMNIST, "mirrors", [address])
    return place, arrays


def test_a_download_becomes_the_prepared_form_with_exact_pixels(originals, tmp_path):
    opened = prepare(FashionMnistSource(), tmp_path / "data")
    for split, prefix in ((opened.train, "train"), (opened.test, "t10k")):
        assert (split.gather(np.arange(len(split)))[:, 0] == originals[1][f"{prefix}-images-idx3-ubyte.gz"]).all()
        assert (split.labels == originals[1][f"{prefix}-labels-idx1-ubyte.gz"]).all()
    assert opened.facts.shape == (1, 28, 28)
    assert opened.facts.classes[0] == "T-shirt/top"


@pytest.mark.parametrize("inside", [".", "raw", "FashionMNIST/raw"])
def test_originals_are_found_where_torchvision_and_people_put_them(originals, tmp_path, inside):
    folder = tmp_path / "mine" / inside
    folder.parent.mkdir(parents=True, exist_ok=True)
    originals[0].rename(folder) if inside != "." else originals[0].rename(tmp_path / "mine2")
    root = tmp_path / ("mine" if inside != "." else "mine2")
    assert prepare(FashionMnistSource(), tmp_path / "data", originals=root, offline=True).facts.test_images == 20


@pytest.mark.parametrize("number", range(4))
def test_a_file_cut_short_is_named(originals, tmp_path, number):
    name = FashionMNIST.resources[number][0]
    path = originals[0] / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataDamaged, match=name):
        prepare(FashionMnistSource(), tmp_path / "data")
    with pytest.raises(DataDamaged, match=rf"{name} \(\d+ bytes\)"):
        prepare(FashionMnistSource(), tmp_path / "data", originals=originals[0])


def test_a_missing_file_is_named_and_offline_asks_nobody(originals, tmp_path):
    with pytest.raises(Offline):
        prepare(FashionMnistSource(), tmp_path / "data", offline=True)
    name = FashionMNIST.resources[2][0]
    (originals[0] / name).unlink()
    with pytest.raises(DataMissing, match=f"does not hold {name}"):
        prepare(FashionMnistSource(), tmp_path / "data", originals=originals[0])
