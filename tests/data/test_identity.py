"""The identity is of pixels, labels, classes and splits, not of order; moments are exact."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ddbench.data import Arrays, in_memory, open_prepared
from ddbench.data import identity as module
from ddbench.data.identity import MomentSums, digest_arrays, digest_rows

IMAGES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)))


def facts_of(splits: dict[str, Arrays], classes=("ape", "bee", "cat")):
    return in_memory(*((splits[name].images, splits[name].labels) for name in ("train", "test")), classes=classes)


@settings(max_examples=50, deadline=None)
@given(IMAGES, st.randoms(use_true_random=False))
def test_the_content_hash_ignores_order_and_the_order_hash_does_not(images, random):
    labels = np.arange(len(images)) % 2
    permutation = list(range(len(images)))
    random.shuffle(permutation)
    one, other = digest_arrays(images, labels), digest_arrays(images[permutation], labels[permutation])
    assert one.content == other.content
    same_order = (images[permutation] == images).all() and (labels[permutation] == labels).all()
    assert (one.order == other.order) == bool(same_order)


def test_the_content_hash_is_the_one_its_definition_says(splits):
    train = splits["train"]
    rows = sorted(
        hashlib.sha256(image.tobytes()).digest() + int(label).to_bytes(8, "big")
        for image, label in zip(train.images, train.labels, strict=True)
    )
    assert digest_arrays(train.images, train.labels).content == hashlib.sha256(b"".join(rows)).hexdigest()


def test_the_same_dataset_in_another_order_on_disk_is_the_same_dataset(write, splits):
    order = np.array([6, 1, 5, 0, 2, 4, 3])
    shuffled = splits | {"train": Arrays(splits["train"].images[order], splits["train"].labels[order])}
    one, other = open_prepared(write(splits, "one")), open_prepared(write(shuffled, "other"))
    assert one.facts.sha256 == other.facts.sha256
    assert (one.facts.mean, one.facts.std) == (other.facts.mean, other.facts.std)
    assert one.order_sha256["train"] != other.order_sha256["train"]
    assert one.order_sha256["test"] == other.order_sha256["test"]


def test_any_other_change_is_another_dataset(splits):
    train, test = splits["train"], splits["test"]
    pixel = train.images.copy()
    pixel[3, 1, 2, 0] ^= 1
    labels = train.labels.copy()
    labels[[0, 1]] = labels[[1, 0]]
    variants = [
        splits,
        splits | {"train": Arrays(pixel, train.labels)},
        splits | {"train": Arrays(train.images, labels)},
        {"train": test, "test": train},
        splits | {"train": Arrays(train.images[:-1], train.labels[:-1])},
        {name: Arrays(split.images.reshape(-1, 3, 4, 5), split.labels) for name, split in splits.items()},
    ]
    hashes = [facts_of(variant).facts.sha256 for variant in variants]
    hashes.append(facts_of(splits, ("bee", "ape", "cat")).facts.sha256)
    assert len(set(hashes)) == len(hashes)


@settings(max_examples=50, deadline=None)
@given(IMAGES)
def test_moments_are_those_numpy_computes_in_double_precision(images):
    sums = MomentSums(images.shape[1])
    sums.add(images)
    unit = images.astype(np.float64) / 255
    assert sums.moments().mean == pytest.approx(unit.mean(axis=(0, 2, 3)), abs=1e-12)
    assert sums.moments().std == pytest.approx(unit.std(axis=(0, 2, 3)), abs=1e-7)


def test_moments_of_half_black_and_half_white_are_a_half_exactly():
    sums = MomentSums(2)
    sums.add(np.stack([np.zeros((2, 4, 4), np.uint8), np.full((2, 4, 4), 255, np.uint8)]))
    assert sums.moments().mean == (0.5, 0.5)
    assert sums.moments().std == (0.5, 0.5)


def test_block_size_moves_no_bit(splits, monkeypatch):
    def passed():
        sums = MomentSums(3)
        return digest_arrays(splits["train"].images, splits["train"].labels, sums), sums.moments()

    whole = passed()
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
    assert passed() == whole


def test_another_view_of_the_same_files_is_another_dataset():
    hashes, labels = [b"a" * 32, b"b" * 32], np.array([0, 1])
    assert digest_rows(hashes, labels, {"resize": 64}) != digest_rows(hashes, labels, {"resize": 128})
    assert digest_rows(hashes, labels, {"resize": 64})[0] == digest_rows(hashes[::-1], labels[::-1], {"resize": 64})[0]
