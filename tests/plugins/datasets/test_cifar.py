"""CIFAR through torchvision, from a fake source on this machine with its own checksums."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from ddbench.data import open_dataset, prepare
from ddbench.errors import DataDamaged, DataMissing, Offline
from ddbench_plugins.datasets.cifar import CifarSource

RNG = np.random.default_rng(5)
FORMS = {
    "cifar10": ("CIFAR10", "labels", [f"data_batch_{i}" for i in range(1, 6)], "test_batch", ("batches.meta", "label_names"), 10),
    "cifar100": ("CIFAR100", "fine_labels", ["train"], "test", ("meta", "fine_label_names"), 100),
}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class Fake:
    """An archive in CIFAR's form with few images, and torchvision's class made to expect it."""

    def __init__(self, name: str, place: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
        class_name, key, train, test, (meta, names_key), classes = FORMS[name]
        self.kind = getattr(datasets, class_name)
        self.classes = [f"class {i}" for i in range(classes)]
        batches = {batch: self._batch(key, classes) for batch in [*train, test]}
        self.train = [batches[batch] for batch in train]
        self.test = batches[test]
        self.files = {batch: pickle.dumps(content) for batch, content in batches.items()}
        self.files[meta] = pickle.dumps({names_key: self.classes})
        self.key = key
        self.archive = place / self.kind.filename
        self._write_archive()
        monkeypatch.setattr(self.kind, "url", f"{address}{self.kind.filename}")
        monkeypatch.setattr(self.kind, "tgz_md5", md5(self.archive.read_bytes()))
        monkeypatch.setattr(self.kind, "train_list", [[batch, md5(self.files[batch])] for batch in train])
        monkeypatch.setattr(self.kind, "test_list", [[test, md5(self.files[test])]])
        monkeypatch.setattr(self.kind, "meta", {"filename": meta, "key": names_key, "md5": md5(self.files[meta])})
        self.source = CifarSource(name, class_name, download_bytes=len(self.archive.read_bytes()))

    @staticmethod
    def _batch(key: str, classes: int) -> dict[str, object]:
        count = 2 * classes
        return {"data": RNG.integers(0, 256, (count, 3072), np.uint8), key: RNG.permutation(count) % classes}

    def _write_archive(self) -> None:
        with tarfile.open(self.archive, "w:gz") as tar:
            for name, content in self.files.items():
                info = tarfile.TarInfo(f"{self.kind.base_folder}/{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))

    def unpacked(self, folder: Path) -> Path:
        for name, content in self.files.items():
            path = folder / self.kind.base_folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder


@pytest.fixture(params=list(FORMS))
def fake(request, served, monkeypatch) -> Fake:
    return Fake(request.param, *served, monkeypatch)


def test_a_download_becomes_the_prepared_form_with_exact_pixels(fake, tmp_path):
    told = []
    opened = open_dataset(
        fake.source.name,
        roots=[tmp_path / "data"],
        sources={fake.source.name: fake.source},
        report=lambda *args: told.append(args[0]),
    )
    pixels = np.concatenate([batch["data"] for batch in fake.train]).reshape(-1, 3, 32, 32)
    assert (opened.train.gather(np.arange(len(opened.train))) == pixels).all()
    assert opened.train.labels.tolist() == np.concatenate([batch[fake.key] for batch in fake.train]).tolist()
    assert (opened.test.gather(np.arange(len(opened.test))) == fake.test["data"].reshape(-1, 3, 32, 32)).all()
    assert opened.facts.classes == tuple(fake.classes)
    assert told[0].startswith(f"downloading {fake.kind.url} (")
    assert sorted(path.name for path in opened.folder.iterdir() if not path.name.startswith(".facts")) == [
        "dataset.json",
        "test.safetensors",
        "train.safetensors",
    ]


def test_originals_serve_as_archive_or_unpacked_and_stay_untouched(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(fake.kind, "url", "http://127.0.0.1:9/nothing")
    archive = prepare(fake.source, tmp_path / "one", originals=fake.archive.parent, offline=True)
    unpacked = prepare(fake.source, tmp_path / "two", originals=fake.unpacked(tmp_path / "mine"), offline=True)
    assert archive.facts == unpacked.facts
    assert [path.name for path in fake.archive.parent.iterdir()] == [fake.archive.name]


def test_offline_and_without_originals_nothing_is_asked(fake, tmp_path):
    with pytest.raises(Offline, match="--offline"):
        prepare(fake.source, tmp_path / "data", offline=True)
    with pytest.raises(DataMissing, match=r"holds neither .*\.tar\.gz nor"):
        prepare(fake.source, tmp_path / "data", originals=tmp_path)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_an_archive_cut_short_is_damaged_wherever_it_comes_from(fake, tmp_path, keep):
    content = fake.archive.read_bytes()
    fake.archive.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(DataDamaged, match="checksum is wrong"):
        prepare(fake.source, tmp_path / "data")
    with pytest.raises(DataDamaged, match=rf"{fake.archive.name} \(\d+ bytes\) is cut short or changed"):
        prepare(fake.source, tmp_path / "data", originals=fake.archive.parent)
    assert not (tmp_path / "data" / fake.source.name).exists()


class _Trap:
    def __reduce__(self):
        return (Path.touch, (Path("sprung"),))


def test_a_batch_with_another_checksum_is_never_unpickled(fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = fake.unpacked(tmp_path / "mine")
    name = fake.kind.test_list[0][0]
    (folder / fake.kind.base_folder / name).write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(DataDamaged, match=name):
        prepare(fake.source, tmp_path / "data", originals=folder)
    assert not (tmp_path / "sprung").exists()


def test_a_missing_batch_is_named(fake, tmp_path):
    folder = fake.unpacked(tmp_path / "mine")
    name = fake.kind.meta["filename"]
    (folder / fake.kind.base_folder / name).unlink()
    with pytest.raises(DataMissing, match=rf"{name} is missing"):
        prepare(fake.source, tmp_path / "data", originals=folder)


def test_the_sizes_announced_and_the_defaults_are_cifars():
    from ddbench_plugins.datasets import ddbench_datasets

    sources = {source.name: source for source in ddbench_datasets()}
    for name in FORMS:
        defaults = sources[name].defaults
        assert (defaults.ipc, defaults.teacher, defaults.students, defaults.protocol) == (
            10,
            "resnet18",
            ("resnet18", "convnet3"),
            "dwa-cifar/1",
        )
        assert (defaults.distill_seeds, defaults.eval_seeds, defaults.derived) == (1, 3, False)
