"""Tensor files that know their own checksum: any changed bit makes them as good as none."""

from __future__ import annotations

import random

import pytest
import torch

from ddbench.checked import packed, unpacked

TENSORS = {
    "images": torch.arange(24, dtype=torch.uint8).view(2, 3, 4),
    "scale": torch.tensor(0.5, dtype=torch.float64),
    "half": torch.linspace(0, 1, 5, dtype=torch.bfloat16),
    "none": torch.zeros(0, 3),
}
ABOUT = {"space": "uint8", "seconds": "1.5"}


def test_what_was_packed_comes_back(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(packed(TENSORS, ABOUT))
    tensors, about = unpacked(path)
    assert about == ABOUT
    assert all(tensors[name].equal(tensor) for name, tensor in TENSORS.items())


def test_no_changed_bit_and_no_missing_end_goes_unseen(tmp_path):
    path, whole = tmp_path / "a.safetensors", packed(TENSORS, ABOUT)
    moments = random.Random(5)
    for place in moments.sample(range(len(whole)), 200):
        content = bytearray(whole)
        content[place] ^= 1 << moments.randrange(8)
        path.write_bytes(content)
        found = unpacked(path)
        assert found is None or (found[1] == ABOUT and all(found[0][name].equal(one) for name, one in TENSORS.items()))
    for length in (0, 7, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert unpacked(path) is None


def test_a_file_that_is_not_there_or_has_no_checksum_is_as_good_as_none(tmp_path):
    from safetensors.torch import save

    assert unpacked(tmp_path / "none.safetensors") is None
    (tmp_path / "plain.safetensors").write_bytes(save(TENSORS, metadata=ABOUT))
    assert unpacked(tmp_path / "plain.safetensors") is None


@pytest.mark.parametrize("change", [{"space": "unit", "seconds": "1.5"}, {"space": "uint8"}, {}])
def test_metadata_is_part_of_the_checksum(tmp_path, change):
    from safetensors.torch import save

    from ddbench.checked import CHECKSUM, checksum_of

    told = {**change, CHECKSUM: checksum_of(TENSORS, ABOUT)}
    (tmp_path / "a.safetensors").write_bytes(save(TENSORS, metadata=told))
    assert unpacked(tmp_path / "a.safetensors") is None
