"""Decoding on demand gives what an array would hold, and notices files that changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from ddbench.data import Description, HeldSplit, ImageFiles, View, open_prepared, write_prepared
from ddbench.data.index import IndexedSplit, decode
from ddbench.errors import DataDamaged, DataMissing

SIZES = [(9, 7), (7, 12), (8, 8), (30, 6), (11, 9), (7, 7)]
LABELS = (0, 1, 1, 0, 0, 1)
VIEW = View(7, 6)


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    """Return a folder of pictures of many sizes, one of them grey, one with a palette, one with transparency."""
    folder = tmp_path / "originals"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for number, (width, height) in enumerate(SIZES):
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        picture = picture.convert({1: "L", 2: "P", 3: "RGBA"}.get(number, "RGB"))
        picture.save(folder / f"{number}.png")
    return folder


def written(out: Path, originals: Path, *, on_demand: bool, view: View = VIEW, order=range(6)) -> Path:
    def files(on_demand: bool) -> ImageFiles:
        names = [f"{i}.png" for i in order]
        return ImageFiles(originals, names, [LABELS[i] for i in order], (3, 6, 6), view, on_demand)

    write_prepared(out, Description(out.name, ("a", "b")), {"train": files(on_demand), "test": files(on_demand=False)})
    return out


def test_images_on_demand_are_those_of_the_array_form(tmp_path, originals):
    demanded = open_prepared(written(tmp_path / "demanded", originals, on_demand=True))
    array = open_prepared(written(tmp_path / "array", originals, on_demand=False))
    index = np.array([4, 0, 4, 2, 5, 1, 3])
    assert isinstance(demanded.train, IndexedSplit)
    assert (demanded.train.gather(index) == array.train.gather(index)).all()
    assert (demanded.train.labels == array.train.labels).all()
    assert len(demanded.train) == 6
    assert demanded.facts.counts == array.facts.counts == (3, 3)
    assert (demanded.facts.mean, demanded.facts.std) == (array.facts.mean, array.facts.std)
    assert demanded.view == array.view == VIEW


def test_a_view_is_what_torchvision_makes_of_the_picture(originals):
    plain = transforms.Compose([transforms.Resize(7), transforms.CenterCrop(6), transforms.PILToTensor()])
    for number in range(6):
        with Image.open(originals / f"{number}.png") as file:
            expected = plain(file.convert("RGB"))
        assert torch.equal(torch.from_numpy(decode(originals / f"{number}.png", shape=(3, 6, 6), view=VIEW)), expected)


@pytest.mark.parametrize("keep", [0, 1, 2, 100])
def test_what_is_kept_of_earlier_images_moves_none(tmp_path, originals, keep):
    folder = written(tmp_path / "toy", originals, on_demand=True)
    split = IndexedSplit(folder / "train.index.json", shape=(3, 6, 6), count=6, cache_bytes=keep * 108)
    whole = IndexedSplit(folder / "train.index.json", shape=(3, 6, 6), count=6).gather(np.arange(6))
    rng = np.random.default_rng(0)
    for _ in range(12):
        index = rng.integers(0, 6, 4)
        assert (split.gather(index) == whole[index]).all()


def test_an_image_that_is_kept_is_not_decoded_again(tmp_path, originals, monkeypatch):
    folder = written(tmp_path / "toy", originals, on_demand=True)
    split = open_prepared(folder).train
    first = split.gather(np.array([2, 3]))
    (originals / "2.png").unlink()
    assert (split.gather(np.array([3, 2])) == first[::-1]).all()


@pytest.mark.parametrize("budget_bytes", [0, 10**6])
def test_a_held_split_of_files_is_the_same_as_one_decoded_each_time(tmp_path, originals, budget_bytes):
    opened = open_prepared(written(tmp_path / "toy", originals, on_demand=True))
    split = HeldSplit(opened, budget_bytes=budget_bytes)
    assert split.held == (budget_bytes > 0)
    assert torch.equal(split.images(split.indices(1)), torch.from_numpy(opened.train.gather(np.array([1, 2, 5]))))


def test_the_order_of_files_leaves_the_identity_and_the_view_does_not(tmp_path, originals):
    one = open_prepared(written(tmp_path / "one", originals, on_demand=True))
    turned = open_prepared(written(tmp_path / "turned", originals, on_demand=True, order=range(5, -1, -1)))
    wider = open_prepared(written(tmp_path / "wider", originals, on_demand=True, view=View(6, 6)))
    assert one.facts.sha256 == turned.facts.sha256 != wider.facts.sha256
    assert one.order_sha256["train"] != turned.order_sha256["train"]


def test_opening_reads_no_original(tmp_path, originals):
    folder = written(tmp_path / "toy", originals, on_demand=True)
    facts = open_prepared(folder, cached=False).facts
    for path in originals.iterdir():
        path.unlink()
    assert open_prepared(folder, cached=False).facts == facts


def test_a_file_that_changed_size_or_is_gone_is_named(tmp_path, originals):
    split = open_prepared(written(tmp_path / "toy", originals, on_demand=True)).train
    with (originals / "3.png").open("ab") as file:
        file.write(b"more")
    (originals / "4.png").unlink()
    with pytest.raises(DataDamaged, match=r"3\.png is not the file it was.*--from DIR"):
        split.gather(np.array([3]))
    with pytest.raises(DataDamaged, match=r"4\.png is gone"):
        split.gather(np.array([4]))
    assert split.gather(np.array([0])).shape == (1, 3, 6, 6)


def test_originals_that_are_gone_are_one_sentence(tmp_path, originals):
    split = open_prepared(written(tmp_path / "toy", originals, on_demand=True)).train
    originals.rename(tmp_path / "elsewhere")
    with pytest.raises(DataMissing, match="originals is gone, which held the originals of"):
        split.gather(np.array([0]))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "a/../../b.png"])
def test_an_index_never_leads_out_of_its_root(tmp_path, originals, name):
    folder = written(tmp_path / "toy", originals, on_demand=True)
    path = folder / "train.index.json"
    content = json.loads(path.read_text())
    content["files"][0][0] = name
    path.write_text(json.dumps(content))
    split = IndexedSplit(path, shape=(3, 6, 6), count=6)
    with pytest.raises(DataDamaged, match="outside its root"):
        split.gather(np.array([0]))


def test_an_index_that_was_edited_fails_its_checksum(tmp_path, originals):
    folder = written(tmp_path / "toy", originals, on_demand=True)
    open_prepared(folder)
    path = folder / "train.index.json"
    path.write_text(path.read_text().replace('"0.png",0', '"0.png",1'))
    os.utime(path, (3, 3))
    with pytest.raises(DataDamaged, match=r"train\.index does not match"):
        open_prepared(folder)


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}', '{"format": 1, "root": "/", "view": {"zoom": 1}, "files": []}'])
def test_an_unreadable_index_is_damaged(tmp_path, text):
    (tmp_path / "train.index.json").write_text(text)
    with pytest.raises(DataDamaged, match="cannot be read as an index"):
        IndexedSplit(tmp_path / "train.index.json", shape=(3, 6, 6), count=6).gather(np.array([0]))


@pytest.mark.parametrize("missing", [["train.index.json"], ["mean"], ["counts"]])
def test_an_index_form_that_is_not_whole_is_damaged(tmp_path, originals, missing):
    folder = written(tmp_path / "toy", originals, on_demand=True)
    if missing == ["train.index.json"]:
        (folder / missing[0]).unlink()
    else:
        path = folder / "dataset.json"
        content = json.loads(path.read_text())
        del content["train"][missing[0]]
        path.write_text(json.dumps(content))
    with pytest.raises(DataDamaged, match="ddbench data prepare toy"):
        open_prepared(folder)


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    with pytest.raises(DataDamaged, match=r"a\.png cannot be decoded"):
        decode(tmp_path / "a.png", shape=(3, 6, 6), view=VIEW)


def test_an_image_cut_short_is_named(tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    picture.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataDamaged, match=r"a\.png cannot be decoded"):
        decode(tmp_path / "a.png", shape=(3, 6, 6), view=VIEW)
