"""The embedded digits: whole, what scikit-learn has, divided in half by class."""

from __future__ import annotations

import numpy as np
import pytest

from ddbench.data import open_dataset, open_prepared, prepare
from ddbench_plugins.datasets.shipped import FILES, FOLDER, DigitsSource


def digits():
    return open_dataset("digits", roots=[], sources={"digits": DigitsSource()}, offline=True)


def test_digits_open_without_network_or_data_root():
    facts = digits().facts
    assert (facts.name, facts.shape, facts.classes) == ("digits", (1, 8, 8), tuple("0123456789"))
    assert sum(facts.counts) == 896
    assert sum(facts.counts) + facts.test_images == 1797
    assert "CC BY 4.0" in facts.source


def test_every_class_is_divided_in_half():
    opened = digits()
    tested = np.bincount(opened.test.labels, minlength=10)
    assert set((tested - np.array(opened.facts.counts)).tolist()) <= {0, 1}


def test_no_image_is_in_both_halves_by_place():
    """Equal drawings by different hands may exist; the same image never stands twice, as counts of equal rows show."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    source = np.rint(datasets.load_digits().images * 255 / 16).astype(np.uint8).reshape(1797, -1)
    opened = digits()
    ours = np.concatenate([opened.train.gather(np.arange(len(opened.train))), opened.test.gather(np.arange(len(opened.test)))])
    assert sorted(map(bytes, ours.reshape(1797, -1))) == sorted(map(bytes, source))


def test_the_script_beside_it_writes_the_same_bytes(tmp_path):
    pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    from ddbench_plugins.datasets.make_digits import make

    make(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {name: (FOLDER / name).read_bytes() for name in FILES if name != "LICENSE"}


def test_opening_the_shipped_folder_leaves_it_as_it_was():
    open_prepared(FOLDER)
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(FILES)


def test_preparing_copies_them_with_their_licence(tmp_path):
    opened = prepare(DigitsSource(), tmp_path)
    assert opened.folder == tmp_path / "digits"
    assert opened.facts == digits().facts
    assert "Creative Commons Attribution 4.0" in (tmp_path / "digits/LICENSE").read_text()
