"""The container is plain safetensors, and nothing that is not whole is ever read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from ddbench.data.container import map_arrays, write_arrays
from ddbench.errors import DataDamaged

IMAGES = np.random.default_rng(1).integers(0, 256, (6, 3, 4, 5), np.uint8)
LABELS = np.array([3, 1, 0, 2, 2, 0], np.int64)


def written(path: Path) -> Path:
    write_arrays(path, [IMAGES[:4], IMAGES[4:]], labels=LABELS, shape=(3, 4, 5))
    return path


def rewritten(path: Path, **changes: object) -> Path:
    """Return a file whose header says something else, its data kept."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length]) | changes
    text = json.dumps({name: entry for name, entry in header.items() if entry is not None}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    return path


def test_what_is_written_is_what_the_safetensors_library_reads(tmp_path):
    loaded = load_file(written(tmp_path / "train.safetensors"))
    assert set(loaded) == {"images", "labels"}
    assert (loaded["images"] == IMAGES).all()
    assert (loaded["labels"] == LABELS).all()
    assert loaded["labels"].dtype == np.int64


def test_what_the_safetensors_library_writes_is_read(tmp_path):
    save_file({"images": IMAGES, "labels": LABELS}, tmp_path / "a.safetensors", metadata={"note": "x"})
    images, labels = map_arrays(tmp_path / "a.safetensors")
    assert (images == IMAGES).all()
    assert (labels == LABELS).all()


def test_images_are_mapped_and_writing_to_them_never_reaches_the_file(tmp_path):
    path = written(tmp_path / "train.safetensors")
    before = path.read_bytes()
    images, _ = map_arrays(path)
    images[:] = 7
    assert path.read_bytes() == before
    assert isinstance(images.base, np.memmap)


def test_equal_content_gives_equal_bytes_whatever_the_blocks(tmp_path):
    write_arrays(tmp_path / "whole", [IMAGES], labels=LABELS, shape=(3, 4, 5))
    assert (tmp_path / "whole").read_bytes() == written(tmp_path / "blocks").read_bytes()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_file_cut_short_anywhere_is_damaged(tmp_path_factory, data):
    path = written(tmp_path_factory.mktemp("cut") / "train.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(DataDamaged, match=r"train\.safetensors.*ddbench data prepare"):
        map_arrays(path)


def test_a_file_with_bytes_too_many_is_damaged(tmp_path):
    path = written(tmp_path / "train.safetensors")
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DataDamaged, match="too many"):
        map_arrays(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"images": None},
        {"more": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}},
        {"labels": {"dtype": "I32", "shape": [6], "data_offsets": [0, 48]}},
        {"labels": {"dtype": "I64", "shape": [7], "data_offsets": [0, 48]}},
        {"labels": {"dtype": "I64", "shape": [-6], "data_offsets": [0, -48]}},
        {"labels": {"dtype": "I64", "shape": "six", "data_offsets": [0, 48]}},
        {"labels": 5},
        {"images": {"dtype": "U8", "shape": [360], "data_offsets": [48, 408]}},
        {"images": {"dtype": "U8", "shape": [5, 3, 4, 6], "data_offsets": [48, 408]}},
        {"images": {"dtype": "U8", "shape": [6, 3, 4, 5], "data_offsets": [-8, 352]}},
        {"images": {"dtype": "U8", "shape": [6, 3, 4, 5], "data_offsets": [48, "x"]}},
    ],
)
def test_a_header_that_contradicts_itself_is_damaged(tmp_path, changes):
    with pytest.raises(DataDamaged, match="train"):
        map_arrays(rewritten(written(tmp_path / "train.safetensors"), **changes))


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"\xff" * 64, (40).to_bytes(8, "little") + b"{" * 40])
def test_a_file_of_another_kind_is_damaged(tmp_path, content):
    (tmp_path / "train.safetensors").write_bytes(content)
    with pytest.raises(DataDamaged):
        map_arrays(tmp_path / "train.safetensors")


@pytest.mark.parametrize("blocks", [[IMAGES[:5]], [IMAGES, IMAGES], [IMAGES[:, :1]], [IMAGES.astype(np.int16)]])
def test_images_that_do_not_fit_their_labels_leave_no_file(tmp_path, blocks):
    with pytest.raises(ValueError, match="images"):
        write_arrays(tmp_path / "train.safetensors", blocks, labels=LABELS, shape=(3, 4, 5))
    assert list(tmp_path.iterdir()) == []
