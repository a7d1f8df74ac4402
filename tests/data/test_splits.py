"""Splits: held or gathered, the same images; the test split stays locked; a validation cut is balanced and seeded."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddbench.data import HeldSplit, TestSplit, in_memory, validation_cut
from ddbench.data.prepared import Prepared
from ddbench.data.splits import train_labels
from ddbench.errors import BadRequest, TestSplitTouched


class Unmapped:
    """A split that is no array, as an index of files is none."""

    def __init__(self, split):
        self.labels, self.nbytes, self._images = split.labels, split.nbytes, split.images

    def __len__(self):
        return len(self.labels)

    def gather(self, index):
        return self._images[index]


def dataset(counts=(4, 2, 5), seed=0) -> Prepared:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.full((n,), label) for label, n in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=generator)]
    images = torch.randint(0, 256, (len(labels), 1, 3, 3), dtype=torch.uint8, generator=generator)
    return in_memory((images, labels), (images[:4], labels[:4]))


def unmapped(opened: Prepared) -> Prepared:
    return Prepared(opened.facts, Unmapped(opened.train), Unmapped(opened.test), opened.order_sha256)


@pytest.mark.parametrize("budget_bytes", [0, 10**9])
def test_held_and_gathered_images_are_the_same(budget_bytes):
    opened = dataset()
    split = HeldSplit(unmapped(opened), budget_bytes=budget_bytes)
    assert split.held == (budget_bytes > 0)
    index = torch.tensor([10, 0, 3, 3])
    assert torch.equal(split.images(index), torch.from_numpy(opened.train.gather(index.numpy())))
    assert torch.equal(HeldSplit(opened).images(index), split.images(index))


def test_indices_are_the_positions_of_a_class_in_order():
    opened = dataset()
    split = HeldSplit(opened)
    for label in range(3):
        expected = [i for i, of in enumerate(opened.train.labels.tolist()) if of == label]
        assert split.indices(label).tolist() == expected
    assert torch.equal(train_labels(split), split.labels())


def test_images_taken_may_be_changed_without_changing_the_split():
    split = HeldSplit(dataset())
    before = split.images(torch.arange(11))
    split.images(torch.arange(11)).zero_()
    assert torch.equal(split.images(torch.arange(11)), before)


def test_a_locked_test_split_raises_until_it_is_unlocked():
    opened = dataset()
    split = TestSplit(opened, locked=True)
    for read in (split.labels, lambda: split.images(torch.arange(2))):
        with pytest.raises(TestSplitTouched, match="toy was read before training was over"):
            read()
    assert len(split) == 4
    split.unlock()
    assert torch.equal(split.images(torch.tensor([3, 1])), torch.from_numpy(opened.test.gather([3, 1])))
    split.lock()
    with pytest.raises(TestSplitTouched):
        split.labels()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=4), st.floats(0.01, 0.99), st.integers(0, 3))
def test_a_validation_cut_divides_every_class(counts, fraction, seed):
    train = HeldSplit(dataset(tuple(counts)))
    subset, held_out = validation_cut(train, fraction, seed=seed)
    labels = train.labels()
    kept = [i for i in range(len(labels)) if i not in set(held_out.tolist())]
    for label, count in enumerate(counts):
        expected = min(count - 1, max(1, round(fraction * count)))
        assert int((labels[held_out] == label).sum()) == expected
        assert subset.facts.counts[label] == count - expected == len(subset.indices(label))
        assert torch.equal(
            subset.images(subset.indices(label)), train.images(torch.tensor([i for i in kept if labels[i] == label]))
        )
    assert held_out.tolist() == sorted(set(held_out.tolist()))
    assert subset.labels().tolist() == labels[kept].tolist()


def test_a_validation_cut_depends_on_its_seed_and_tells_so():
    train = HeldSplit(dataset((30, 30)))
    (one, first), (again, same), (other, second) = (validation_cut(train, 0.3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, second)
    assert len({train.facts.sha256, one.facts.sha256, other.facts.sha256}) == 3
    assert one.facts == again.facts


def test_a_validation_cut_can_be_cut_again():
    subset, _ = validation_cut(HeldSplit(dataset((8, 8))), 0.25, seed=0)
    smaller, held_out = validation_cut(subset, 0.5, seed=0)
    assert smaller.facts.counts == (3, 3)
    assert len(held_out) == 6


@pytest.mark.parametrize("fraction", [0, 1, -0.5, float("nan")])
def test_a_validation_cut_refuses_what_is_no_fraction(fraction):
    with pytest.raises(BadRequest, match="between 0 and 1"):
        validation_cut(HeldSplit(dataset()), fraction, seed=0)


def test_a_validation_cut_refuses_a_class_with_one_image():
    with pytest.raises(BadRequest, match="class '1' has 1 train image"):
        validation_cut(HeldSplit(dataset((3, 1))), 0.5, seed=0)


def test_a_dataset_in_memory_is_the_one_it_would_be_on_disk(folder, splits):
    from ddbench.data import open_prepared

    opened, kept = (
        open_prepared(folder),
        in_memory(
            *((torch.from_numpy(splits[name].images), torch.from_numpy(splits[name].labels)) for name in ("train", "test")),
            name="toy",
            classes=("ape", "bee", "cat"),
        ),
    )
    assert kept.facts.sha256 == opened.facts.sha256
    assert kept.order_sha256 == opened.order_sha256
    assert (kept.facts.mean, kept.facts.std, kept.facts.counts) == (opened.facts.mean, opened.facts.std, opened.facts.counts)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (torch.zeros(2, 1, 2, 2), torch.tensor([0, 1])),
        (torch.zeros(2, 2, 2, dtype=torch.uint8), torch.tensor([0, 1])),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 1])),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0.0, 1.0])),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, -1])),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 2])),
        (torch.zeros(2, 1, 2, 3, dtype=torch.uint8), torch.tensor([0, 1])),
        (torch.zeros(0, 1, 2, 2, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64)),
    ],
)
def test_a_dataset_in_memory_refuses_what_is_none(images, labels):
    with pytest.raises(BadRequest):
        in_memory((images, labels), (torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.tensor([0])))
