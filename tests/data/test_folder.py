"""Any folder of images becomes a dataset, and what is wrong with one is said by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddbench.data import FolderSource, folder, open_prepared, prepare
from ddbench.errors import BadRequest, DataDamaged, DataMissing


def picture(path: Path, size: tuple[int, int] = (6, 5), mode: str = "RGB", seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, *path.name.encode()]).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, **({"lossless": True} if path.suffix == ".webp" else {}))
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for name in ("train/zebra/b.png", "train/zebra/a.webp", "train/ant/2.PNG", "train/ant/10.png", "train/ant/1.png"):
        picture(root / name)
    for name in ("val/zebra/x.png", "val/ant/y.png"):
        picture(root / name, seed=1)
    return root


def prepared(images: Path, size: int | None = None):
    return prepare(FolderSource("mine", images, size), images.parent / "root")


def test_classes_and_files_are_sorted_and_pixels_are_exact(images):
    opened = prepared(images)
    assert opened.facts.classes == ("ant", "zebra")
    assert opened.facts.counts == (3, 2)
    assert opened.facts.shape == (3, 5, 6)
    for row, name in enumerate(["ant/1.png", "ant/10.png", "ant/2.PNG", "zebra/a.webp", "zebra/b.png"]):
        with Image.open(images / "train" / name) as file:
            assert (opened.train.gather(np.array([row]))[0] == np.asarray(file.convert("RGB")).transpose(2, 0, 1)).all()
    assert opened.test.labels.tolist() == [0, 1]


def test_hidden_and_other_files_are_ignored(images):
    before = prepared(images).facts.sha256
    for name in ("train/.hidden/a.png", "train/ant/.a.png", "val/ant/.DS_Store", "train/README", "train/ant/notes.txt"):
        path = images / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"nothing")
    (images / "train" / "ant" / "folder.png").mkdir()
    assert prepare(FolderSource("mine", images), images.parent / "other").facts.sha256 == before


def test_a_folder_named_test_is_taken_before_val(images):
    for name in ("test/ant/q.png", "test/zebra/r.png", "test/zebra/s.png"):
        picture(images / name, seed=2)
    assert prepared(images).facts.test_images == 3


def test_grey_images_give_one_channel_and_one_colour_image_three(images):
    (images / "train/zebra/a.webp").unlink()  # a format that knows no grey
    for path in list(images.rglob("*.*")):
        picture(path, mode="L")
    assert prepared(images).facts.shape == (1, 5, 6)
    picture(images / "train/ant/1.png")
    assert prepare(FolderSource("mine", images), images.parent / "other").facts.shape == (3, 5, 6)


def test_images_of_several_sizes_need_a_size(images):
    picture(images / "train/zebra/b.png", (9, 5))
    with pytest.raises(BadRequest, match=r"1\.png is 6×5, .*b\.png is 9×5; give --size"):
        prepared(images)
    assert prepared(images, size=4).facts.shape == (3, 4, 4)


def test_a_size_is_noted(images):
    opened = prepared(images, size=4)
    assert opened.view is not None
    assert (opened.view.resize, opened.view.crop) == (4, 4)
    assert "resized to 4 px" in opened.notes


def test_a_large_folder_is_indexed_and_holds_the_same_images(images, monkeypatch):
    array = prepared(images)
    monkeypatch.setattr(folder, "ARRAY_BYTES", 100)
    indexed = prepare(FolderSource("mine", images), images.parent / "other")
    assert (images.parent / "other/mine/train.index.json").is_file()
    assert (indexed.train.gather(np.arange(5)) == array.train.gather(np.arange(5))).all()


def test_an_empty_class_is_named(images):
    (images / "train" / "bear").mkdir()
    with pytest.raises(DataMissing, match="bear holds no images"):
        prepared(images)


def test_a_class_that_only_the_test_split_has_is_refused(images):
    picture(images / "val/bear/a.png")
    with pytest.raises(BadRequest, match="has class 'bear'"):
        prepared(images)


def test_a_class_without_a_test_folder_is_named(images):
    (images / "val/zebra/x.png").unlink()
    (images / "val/zebra").rmdir()
    with pytest.raises(DataMissing, match=r"val/zebra cannot be listed"):
        prepared(images)


@pytest.mark.parametrize("gone", ["train", "val"])
def test_a_missing_split_says_what_is_meant(images, gone):
    (images / gone).rename(images / "elsewhere")
    with pytest.raises(DataMissing, match=r"does not hold train/<class>/"):
        prepared(images)


def test_no_class_folders_is_said(images):
    (images / "val").rename(images / "elsewhere")
    (images / "val").mkdir()
    with pytest.raises(DataMissing, match="holds no class folders"):
        prepared(images)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_an_unreadable_file_is_named_and_nothing_is_left(images, content):
    (images / "train/zebra/b.png").write_bytes(content)
    with pytest.raises(DataDamaged, match=r"b\.png cannot be read as an image"):
        prepared(images)
    assert not (images.parent / "root/mine").exists()
    assert list((images.parent / "root/.preparing").iterdir()) == []


def test_a_file_whose_pixels_end_early_is_named(images):
    path = picture(images / "train/zebra/b.png", (60, 50))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataDamaged, match=r"b\.png cannot be decoded"):
        prepared(images, size=5)


def test_sixteen_bit_images_are_refused(images):
    Image.fromarray(np.zeros((5, 6), np.uint16)).save(images / "train/ant/1.png")
    with pytest.raises(DataDamaged, match="more than 8 bits"):
        prepared(images)


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_below_one_is_refused(images, size):
    with pytest.raises(BadRequest, match="no image size"):
        prepared(images, size=size)


def test_a_link_to_a_folder_of_images_is_followed(images):
    (images / "train/bee").symlink_to(images / "train/ant", target_is_directory=True)
    picture(images / "val/bee/a.png")
    assert prepared(images).facts.counts == (3, 3, 2)


def test_a_second_preparation_is_byte_for_byte_the_first(images):
    prepared(images)
    prepare(FolderSource("mine", images), images.parent / "other")
    for name in ("train.safetensors", "test.safetensors", "dataset.json"):
        assert (images.parent / "root/mine" / name).read_bytes() == (images.parent / "other/mine" / name).read_bytes()


def test_a_prepared_folder_opens_by_its_own_name(images):
    prepared(images)
    renamed = (images.parent / "root/mine").rename(images.parent / "root/yours")
    assert open_prepared(renamed).facts.name == "yours"
