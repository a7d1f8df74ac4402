"""Opening checks everything once per size and time stamp, and says what is damaged and what to do."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ddbench.data import Arrays, open_prepared, prepared
from ddbench.data.facts_cache import NAME
from ddbench.errors import DataDamaged, DataMissing


def described(folder: Path, **changes: object) -> Path:
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def no_pass(*_: object) -> None:
    raise AssertionError("the images were read again")


def test_facts_are_those_of_the_arrays(folder, splits):
    opened = open_prepared(folder)
    facts = opened.facts
    assert (facts.name, facts.classes, facts.shape) == ("toy", ("ape", "bee", "cat"), (3, 5, 4))
    assert facts.counts == (2, 3, 2)
    assert facts.test_images == 4
    assert facts.source == "made up"
    assert (opened.train.gather(np.array([5, 0, 5])) == splits["train"].images[[5, 0, 5]]).all()
    assert (opened.test.labels == splits["test"].labels).all()


def test_a_form_written_by_other_hands_is_read(tmp_path, splits):
    """The form of the shared data: images and labels by safetensors itself, checksums of raw bytes, nothing of ours."""
    content = {"name": "other", "classes": ["a", "b", "c"], "shape": [3, 5, 4], "source": "", "notes": "", "sha256": {}}
    for name, split in splits.items():
        save_file({"images": split.images, "labels": split.labels}, tmp_path / f"{name}.safetensors")
        content["sha256"] |= {f"{name}.images": hashlib.sha256(split.images).hexdigest()}
        content["sha256"] |= {f"{name}.labels": hashlib.sha256(split.labels).hexdigest()}
    (tmp_path / "dataset.json").write_text(json.dumps(content, indent=1))
    assert open_prepared(tmp_path, name="other").facts.counts == (2, 3, 2)


def test_a_second_opening_reads_no_image(folder, monkeypatch):
    first = open_prepared(folder)
    monkeypatch.setattr(prepared, "digest_arrays", no_pass)
    second = open_prepared(folder)
    assert second.facts == first.facts
    assert second.order_sha256 == first.order_sha256


@pytest.mark.parametrize("name", ["train.safetensors", "test.safetensors"])
def test_a_file_with_another_time_stamp_is_read_again(folder, monkeypatch, name):
    open_prepared(folder)
    os.utime(folder / name, (1, 1))
    monkeypatch.setattr(prepared, "digest_arrays", no_pass)
    with pytest.raises(AssertionError):
        open_prepared(folder)


def test_a_dataset_that_was_moved_is_read_again(folder, monkeypatch):
    open_prepared(folder)
    moved = folder.rename(folder.with_name("moved"))
    monkeypatch.setattr(prepared, "digest_arrays", no_pass)
    with pytest.raises(AssertionError):
        open_prepared(moved)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda text: text.replace('"mean": [\n   0.', '"mean": [\n   0.9'),
        lambda text: text[: len(text) // 2],
        lambda _: "[]",
        lambda _: "null",
        lambda _: "",
    ],
)
def test_what_was_remembered_and_then_tampered_with_is_made_again(folder, tamper):
    first = open_prepared(folder)
    kept = folder / NAME
    changed = tamper(kept.read_text())
    assert changed != kept.read_text()
    kept.write_text(changed)
    assert open_prepared(folder).facts == first.facts
    assert json.loads(kept.read_text())["measured"]["mean"] == list(first.facts.mean)


def test_where_the_root_cannot_be_written_the_user_cache_remembers(folder, user_cache, monkeypatch):
    (folder / NAME).mkdir()  # a place that can be neither read nor replaced, for any user
    first = open_prepared(folder)
    assert len(list((user_cache / "facts").iterdir())) == 1
    monkeypatch.setattr(prepared, "digest_arrays", no_pass)
    assert open_prepared(folder).facts == first.facts


def test_where_nothing_can_be_remembered_opening_still_works(folder, user_cache):
    (folder / NAME).mkdir()
    user_cache.write_text("a file, no folder")
    assert open_prepared(folder).facts == open_prepared(folder).facts
    assert sorted(path.name for path in folder.iterdir()) == [NAME, "dataset.json", "test.safetensors", "train.safetensors"]


def test_an_uncached_opening_neither_believes_nor_writes_anything(folder, monkeypatch):
    open_prepared(folder, cached=False)
    assert not (folder / NAME).exists()
    open_prepared(folder)
    monkeypatch.setattr(prepared, "digest_arrays", no_pass)
    with pytest.raises(AssertionError):
        open_prepared(folder, cached=False)


@pytest.mark.parametrize("name", ["train", "test"])
@pytest.mark.parametrize("array", ["images", "labels"])
def test_a_wrong_checksum_names_the_array(folder, splits, name, array):
    changed = {"images": splits[name].images.copy(), "labels": splits[name].labels.copy()}
    if array == "images":
        changed["images"][0, 0, 0, 0] ^= 1
    else:
        changed["labels"][[0, 1]] = changed["labels"][[1, 0]]
    save_file(changed, folder / f"{name}.safetensors")
    with pytest.raises(DataDamaged, match=rf"{name}\.{array} does not match .* ddbench data prepare toy"):
        open_prepared(folder)


def test_a_flipped_byte_is_found_after_an_opening_that_was_remembered(folder):
    open_prepared(folder)
    path = folder / "test.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, (5, 5))
    with pytest.raises(DataDamaged, match=r"test\.images"):
        open_prepared(folder)


def test_a_declared_array_that_is_not_there_is_damaged(folder):
    with pytest.raises(DataDamaged, match=r"train\.extra"):
        open_prepared(described(folder, sha256={"train.extra": "0" * 64}))


def test_no_description_is_no_dataset(tmp_path):
    with pytest.raises(DataMissing, match=r"dataset\.json"):
        open_prepared(tmp_path)


@pytest.mark.parametrize("name", ["train.safetensors", "test.safetensors"])
def test_a_missing_split_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataDamaged, match=rf"{name} is missing"):
        open_prepared(folder)


@pytest.mark.parametrize("place", [3, 0.3, 0.9, -1])
def test_a_split_cut_short_is_named_even_after_an_opening_that_was_remembered(folder, place):
    open_prepared(folder)
    path = folder / "train.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(place * len(content)) if isinstance(place, float) else place])
    with pytest.raises(DataDamaged, match=r"train\.safetensors .*cut short.*remove"):
        open_prepared(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"classes": 3, "shape": [1, 2, 3]}', '{"classes": ["a"], "shape": [1, 2]}', "\udcff"]
)
def test_an_unreadable_description_is_damaged(folder, text):
    (folder / "dataset.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataDamaged, match=r"dataset\.json cannot be read"):
        open_prepared(folder)


@pytest.mark.parametrize("classes", [[], ["a", "a", "b"]])
def test_classes_must_be_there_and_differ(folder, classes):
    with pytest.raises(DataDamaged, match="lists no classes, or one twice"):
        open_prepared(described(folder, classes=classes))


def test_a_shape_that_is_not_the_images_is_damaged(folder):
    with pytest.raises(DataDamaged, match=r"\(3, 5, 4\), where dataset.json says \(3, 4, 5\)"):
        open_prepared(described(folder, shape=[3, 4, 5]))


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range_is_damaged(folder, splits, label):
    labels = splits["test"].labels.copy()
    labels[2] = label
    save_file({"images": splits["test"].images, "labels": labels}, folder / "test.safetensors")
    with pytest.raises(DataDamaged, match=rf"label {label}, where 3 classes"):
        open_prepared(described(folder, sha256={}))


def test_a_class_without_train_images_is_damaged(folder):
    with pytest.raises(DataDamaged, match="'dog' has no train images"):
        open_prepared(described(folder, classes=["ape", "bee", "cat", "dog"]))


def test_a_class_without_test_images_is_allowed(write, splits):
    test = Arrays(splits["test"].images[:2], splits["test"].labels[:2])
    assert open_prepared(write(splits | {"test": test})).facts.test_images == 2


@pytest.mark.skipif("DDBENCH_DATA" not in os.environ, reason="DDBENCH_DATA names no folder with prepared datasets")
def test_real_cifar100_has_the_mean_and_std_that_are_published():
    folder = Path(os.environ["DDBENCH_DATA"]) / "cifar100"
    if not folder.is_dir():
        pytest.skip("no cifar100 under DDBENCH_DATA")
    facts = open_prepared(folder).facts
    assert facts.mean == pytest.approx((0.5071, 0.4866, 0.4409), abs=1e-4)
    assert facts.std == pytest.approx((0.2673, 0.2564, 0.2762), abs=1e-4)
    assert facts.counts == (500,) * 100
