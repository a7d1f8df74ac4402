"""What lies beside records: found, checked, and told where it lacks."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest

from ddbench.errors import ArtefactDamaged, DataMissing
from ddbench.report.figures.sidecars import Sidecars, command, pixels
from ddbench.store import Store
from factory import a_record

KEY = "0123456789abcdef0123"


def npz(**arrays) -> bytes:
    target = io.BytesIO()
    np.savez_compressed(target, **arrays)
    return target.getvalue()


def measured(content: bytes):
    block = {"options": {"values": {}, "sources": {}}, "key": KEY, "sidecar": hashlib.sha256(content).hexdigest()}
    return a_record(synthesizer="dwa", evaluators={"embeddings": block})


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_what_was_kept_is_found_in_the_store_and_beside_kept_records(tmp_path):
    content = npz(features=np.arange(6.0).reshape(2, 3))
    sidecars = Sidecars(Store(tmp_path / "store"), (tmp_path / "kept",))
    for path in (tmp_path / "kept" / f"{KEY}.npz", tmp_path / "store" / "evaluations" / KEY / "kept.npz"):
        with pytest.raises(DataMissing, match=f"evaluations/{KEY}/kept.npz, or {KEY}.npz beside kept records"):
            sidecars.kept(measured(content), "embeddings")
        put(path, content)
        assert sidecars.kept(measured(content), "embeddings")["features"].tolist() == [[0, 1, 2], [3, 4, 5]]
        path.unlink()


def test_another_file_under_the_same_name_is_refused(tmp_path):
    put(tmp_path / "kept" / f"{KEY}.npz", npz(features=np.zeros(1)))
    sidecars = Sidecars(Store(tmp_path / "store"), (tmp_path / "kept",))
    with pytest.raises(ArtefactDamaged, match="does not match the record"):
        sidecars.kept(measured(npz(features=np.ones(1))), "embeddings")


def test_no_pickle_is_ever_loaded(tmp_path):
    content = npz(features=np.asarray([{}], dtype=object))
    put(tmp_path / "kept" / f"{KEY}.npz", content)
    with pytest.raises(ValueError, match="allow_pickle"):
        Sidecars(Store(tmp_path / "store"), (tmp_path / "kept",)).kept(measured(content), "embeddings")


def test_a_record_that_was_not_measured_is_told_with_the_command_that_measures(tmp_path):
    options = {"synthesizer": {"values": {"rho": 0.1, "lr": 1.0}, "sources": {"rho": "command line", "lr": "default"}}}
    record = a_record(synthesizer="dwa", ipc=5, options=options)
    expected = "ddbench run dwa --dataset digits --ipc 5 --protocol quick-hard/1 --students ddbench/convnet3 -o rho=0.1"
    assert command(record) == expected
    with pytest.raises(DataMissing, match=f"make it with: {expected} --evaluators diversity"):
        Sidecars(Store(tmp_path)).kept(record, "diversity")


def test_images_that_are_not_there_are_told_with_the_command_that_makes_them(tmp_path):
    with pytest.raises(
        DataMissing, match=r"has not got the images of dwa on digits, ipc 10, distill seed 0 .*make them with: ddbench run dwa"
    ):
        Sidecars(Store(tmp_path)).distilled(a_record(synthesizer="dwa"))


def test_images_of_every_space_are_shown_as_torch_code_shows_them():
    import torch

    from ddbench.distilled import to_pixels

    generator = np.random.default_rng(0)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
    floats = generator.normal(0.5, 0.5, (4, 3, 5, 5)).astype(np.float32)
    for space in ("uint8", "unit", "normalised", "zca"):
        images = (floats * 255).clip(0, 255).astype(np.uint8) if space == "uint8" else floats
        expected = to_pixels(torch.from_numpy(images), space, mean, std).numpy()
        found = pixels(images, {"space": space, "dataset": {"mean": mean, "std": std}})
        assert found.dtype == np.uint8
        assert int(np.abs(found.astype(int) - expected).max()) <= 1  # float32 there, float64 here
