"""Tiny-ImageNet, ImageNet and its subsets, from small folders of their form."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddbench.data import prepare
from ddbench.data.index import IndexedSplit, View
from ddbench.errors import DataDamaged, DataMissing, Offline
from ddbench_plugins.datasets.imagenet import imagenet_sources
from ddbench_plugins.datasets.subsets import SUBSETS
from ddbench_plugins.datasets.tiny_imagenet import BASE, TinyImageNetSource

WNIDS = ("n01443537", "n01629819", "n01641577")


def picture(path: Path, size: tuple[int, int], mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([*path.name.encode()]).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, quality=95)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return a folder of Tiny-ImageNet's form with three classes, a grey image among them."""
    root = tmp_path / "mine" / BASE
    for label, wnid in enumerate(WNIDS):
        for number in range(3):
            picture(root / f"train/{wnid}/images/{wnid}_{number}.JPEG", (64, 64), "L" if label == number == 1 else "RGB")
        (root / f"train/{wnid}/{wnid}_boxes.txt").write_text("a\t0\t0\t1\t1\n")
    lines = []
    for number, label in enumerate((2, 0, 1, 2)):
        picture(root / f"val/images/val_{number}.JPEG", (64, 64))
        lines.append(f"val_{number}.JPEG\t{WNIDS[label]}\t0\t0\t62\t62\n")
    (root / "val/val_annotations.txt").write_text("".join(lines))
    picture(root / "test/images/test_0.JPEG", (64, 64))
    return root


def source(**changes: object) -> TinyImageNetSource:
    return replace(TinyImageNetSource(sizes=(3, 9, 4)), **changes)


def packed(root: Path, place: Path) -> Path:
    archive = place / f"{BASE}.zip"
    with zipfile.ZipFile(archive, "w") as content:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                content.write(path, f"{BASE}/{path.relative_to(root)}")
    return archive


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_tiny_imagenet_takes_validation_as_test_by_its_annotations(tiny, tmp_path):
    opened = prepare(source(), tmp_path / "data", originals=tiny.parent)
    assert opened.facts.classes == WNIDS
    assert opened.facts.counts == (3, 3, 3)
    assert opened.facts.shape == (3, 64, 64)
    assert opened.test.labels.tolist() == [0, 1, 2, 2]
    with Image.open(tiny / "val/images/val_2.JPEG") as file:
        assert (opened.test.gather(np.array([1]))[0] == np.asarray(file.convert("RGB")).transpose(2, 0, 1)).all()


def test_tiny_imagenet_is_the_same_from_its_folder_its_zip_and_its_address(tiny, tmp_path, served):
    place, address = served
    archive = packed(tiny, place)
    fake = source(url=f"{address}{archive.name}", md5=md5(archive), download_bytes=archive.stat().st_size)
    told = []
    facts = [
        prepare(fake, tmp_path / "one", originals=tiny).facts,
        prepare(fake, tmp_path / "two", originals=place).facts,
        prepare(fake, tmp_path / "three", report=lambda *args: told.append(args[0])).facts,
    ]
    assert facts[0] == facts[1] == facts[2]
    assert told[0].startswith(f"downloading {fake.url} (")
    assert not (tmp_path / "three/tiny-imagenet/.originals").exists()


def test_tiny_imagenet_sorted_into_class_folders_is_the_same(tiny, tmp_path):
    before = prepare(source(), tmp_path / "one", originals=tiny).facts.sha256
    for line in (tiny / "val/val_annotations.txt").read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        (tiny / "val" / wnid).mkdir(exist_ok=True)
        (tiny / "val/images" / name).rename(tiny / "val" / wnid / name)
    (tiny / "val/val_annotations.txt").unlink()
    assert prepare(source(), tmp_path / "two", originals=tiny).facts.sha256 == before


def test_tiny_imagenet_unpacked_in_part_is_damaged(tiny, tmp_path):
    (tiny / f"train/{WNIDS[0]}/images/{WNIDS[0]}_0.JPEG").unlink()
    with pytest.raises(DataDamaged, match=r"holds \(3, 8, 4\) classes, train and validation images, not \(3, 9, 4\)"):
        prepare(source(), tmp_path / "data", originals=tiny)


@pytest.mark.parametrize("line", ["val_0.JPEG\tn00000000\t0", "../../secret\tn01443537\t0", "val_0.JPEG"])
def test_annotations_that_name_no_image_of_a_known_class_are_damaged(tiny, tmp_path, line):
    (tiny / "val/val_annotations.txt").write_text(f"{line}\n")
    with pytest.raises(DataDamaged, match=r"val_annotations\.txt"):
        prepare(source(), tmp_path / "data", originals=tiny)


def test_a_tiny_imagenet_archive_cut_short_is_damaged(tiny, tmp_path, served):
    place, address = served
    archive = packed(tiny, place)
    fake = source(url=f"{address}{archive.name}", md5=md5(archive))
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(DataDamaged, match="checksum is wrong"):
        prepare(fake, tmp_path / "data")
    with pytest.raises(DataDamaged, match=r"tiny-imagenet-200\.zip \(\d+ bytes\)"):
        prepare(fake, tmp_path / "data", originals=place)


def test_tiny_imagenet_says_what_it_looked_for(tmp_path):
    with pytest.raises(DataMissing, match=r"holds neither tiny-imagenet-200\.zip nor tiny-imagenet-200/"):
        prepare(source(), tmp_path / "data", originals=tmp_path)
    with pytest.raises(Offline, match="248 MB"):
        prepare(source(), tmp_path / "data", offline=True)


def imagenet(name: str):
    return next(source for source in imagenet_sources() if source.name == name)


@pytest.fixture
def ilsvrc(tmp_path: Path) -> Path:
    """Return a folder of ImageNet's form with the classes of imagewoof and one more, in sizes of their own."""
    root = tmp_path / "ilsvrc"
    for number, wnid in enumerate((*SUBSETS["imagewoof"][1].split(), "n01440764")):
        picture(root / f"train/{wnid}/{wnid}_1.JPEG", (300 + number, 260))
        picture(root / f"val/{wnid}/ILSVRC2012_val_{number:08}.JPEG", (140, 190 + number))
    return root


def test_a_subset_takes_its_ten_classes_in_its_own_order(ilsvrc, tmp_path):
    opened = prepare(imagenet("imagewoof"), tmp_path / "data", originals=ilsvrc)
    assert " ".join(opened.facts.classes) == SUBSETS["imagewoof"][1]
    assert opened.facts.shape == (3, 128, 128)
    assert opened.view == View(128, 128)
    assert opened.facts.counts == (1,) * 10


def test_imagenet_is_found_inside_the_folders_of_its_archive(ilsvrc, tmp_path):
    deep = tmp_path / "deep" / "ILSVRC" / "Data"
    deep.mkdir(parents=True)
    ilsvrc.rename(deep / "CLS-LOC")
    assert prepare(imagenet("imagewoof"), tmp_path / "data", originals=tmp_path / "deep").facts.num_classes == 10


def test_imagenet_trains_from_an_index_and_tests_from_an_array(ilsvrc, tmp_path):
    opened = prepare(replace(imagenet("imagenet"), num_classes=11), tmp_path / "data", originals=ilsvrc)
    assert isinstance(opened.train, IndexedSplit)
    assert opened.facts.shape == (3, 224, 224)
    assert opened.facts.classes == tuple(sorted(opened.facts.classes))
    assert opened.view == View(256, 224)
    assert opened.train.gather(np.array([10, 0])).shape == (2, 3, 224, 224)
    assert opened.test.gather(np.array([3])).shape == (1, 3, 224, 224)


def test_imagenet_with_classes_missing_is_refused_since_labels_would_shift(ilsvrc, tmp_path):
    with pytest.raises(DataDamaged, match="holds 11 class folders, not 1000"):
        prepare(imagenet("imagenet"), tmp_path / "data", originals=ilsvrc)


def test_a_subset_with_a_class_missing_names_it(ilsvrc, tmp_path):
    with pytest.raises(DataMissing, match=r"train/n02123045 cannot be listed"):
        prepare(imagenet("imagemeow"), tmp_path / "data", originals=ilsvrc)


def test_imagenet_without_its_originals_says_how_to_name_them(tmp_path):
    with pytest.raises(DataMissing, match=r"cannot be downloaded; run: ddbench data prepare imagenet --from DIR"):
        prepare(imagenet("imagenet"), tmp_path / "data")
    with pytest.raises(DataMissing, match=r"does not hold train/<wnid>/"):
        prepare(imagenet("imagenet"), tmp_path / "data", originals=tmp_path)
