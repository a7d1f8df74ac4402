"""Hostile and broken files: a sentence and exit 2 or 3; nothing of them runs, and nothing is written."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ddbench.errors import ArtefactDamaged, BadRequest, BadSet, DataDamaged, DataMissing, DdbenchError, UnsafeFile
from ddbench.exchange.opening import Telling, open_elsewhere
from ddbench.exchange.safety import most_bytes


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def refused(tmp_path, facts, monkeypatch):
    """Return a function that opens a path and returns the error; nothing may have been written meanwhile."""
    monkeypatch.chdir(tmp_path)

    def attempt(path, error, telling=None):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(error) as raised:
            open_elsewhere(path, facts, telling or Telling())
        assert sorted(tmp_path.rglob("*")) == before
        assert isinstance(raised.value, DdbenchError)
        assert raised.value.exit_code in {2, 3}
        message = str(raised.value)
        assert message
        assert "\n" not in message
        assert len(message) < 800
        return message

    return attempt


class TestCode:
    @pytest.mark.parametrize("form", ["zip", "legacy", "plain pickle"])
    def test_a_pickle_with_code_in_it_is_refused_and_nothing_runs(self, tmp_path, refused, form):
        path, proof = tmp_path / "set.pt", tmp_path / "proof"
        if form == "plain pickle":
            path.write_bytes(pickle.dumps(Runs(proof)))
        else:
            torch.save({"images": Runs(proof)}, path, _use_new_zipfile_serialization=form == "zip")
        message = refused(path, UnsafeFile)
        assert ("more than tensors" if form == "plain pickle" else "system") in message
        assert "nothing of it was run" in message
        assert not proof.exists()

    def test_objects_in_an_npz_are_refused_unread(self, tmp_path, refused):
        path, proof = tmp_path / "set.npz", tmp_path / "proof"
        np.savez(path, images=np.array([Runs(proof)], dtype=object), labels=np.zeros(1))
        assert "Python objects" in refused(path, UnsafeFile)
        assert not proof.exists()

    def test_a_program_called_an_image_is_not_decoded(self, image_folder, refused):
        root = image_folder()
        (root / "00000" / "0000.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(%pipe%touch proof) run\n")
        refused(root, DataDamaged)


class TestTypes:
    @pytest.mark.parametrize(
        "content",
        [
            "a text",
            7,
            None,
            [],
            {},
            [1, 2, 3],
            {"images": "many"},
            {"images": [1, 2]},
            {"data": 3},
            {"model": {"weight": torch.zeros(2)}},
            [[[[]]]],
            {"images": torch.zeros(4, 3, 8, 8), "labels": "0123"},
        ],
        ids=str,
    )
    def test_a_pt_with_surprising_content_is_no_distilled_set(self, save, refused, content):
        refused(save("set.pt", content), BadSet)

    @pytest.mark.parametrize(
        "images",
        [
            torch.zeros(4, 3, 8, 8, dtype=torch.complex64),
            torch.zeros(4, 3, 8, 8, dtype=torch.bool),
            torch.zeros(4, 3, 8, 8).to_sparse(),
            torch.zeros(()),
            torch.zeros(0, 3, 8, 8),
            torch.zeros(4, 3, 9, 8),
            torch.zeros(4, 8),
        ],
        ids=["complex", "bool", "sparse", "scalar", "none", "another size", "flat"],
    )
    def test_tensors_that_are_no_images_are_refused(self, save, refused, images):
        refused(save("set.pt", [images, torch.arange(4)]), BadSet)

    def test_a_tensor_without_numbers_is_refused(self, save, refused):
        refused(save("set.pt", [torch.zeros(4, 3, 8, 8, device="meta"), torch.arange(4)]), BadSet)

    @pytest.mark.parametrize("lr", [-1.0, float("nan"), float("inf"), True, "fast", torch.zeros(0)], ids=str)
    def test_a_step_size_that_is_none_is_refused(self, save, refused, pixels, labels, lr):
        refused(save("set.pt", {"images": pixels, "labels": labels, "lr": lr}), BadSet)

    def test_text_in_an_npz_is_neither_images_nor_labels(self, save, refused, pixels):
        refused(save("set.npz", {"images": pixels, "labels": np.array(["cat"] * 12)}), BadSet)


class TestSets:
    def test_images_of_several_sizes(self, image_folder, refused):
        root = image_folder()
        Image.new("RGB", (9, 8)).save(root / "00002" / "0007.png")
        message = refused(root, BadSet)
        assert "9×8" in message
        assert "8×8" in message

    def test_an_image_of_deep_colours(self, image_folder, refused):
        root = image_folder()
        Image.fromarray(np.zeros((8, 8), np.uint16)).save(root / "00002" / "0007.png")
        assert "more than 8 bits" in refused(root, BadSet)

    def test_a_missing_class_by_folder_and_by_label(self, image_folder, saved, refused, facts):
        root = image_folder()
        for path in (root / "00003").iterdir():
            path.unlink()
        assert facts.classes[3] in refused(root, BadSet)
        assert "missing" in refused(saved("set.pt", lambda x, y: [x, y.clamp(max=2)]), BadSet)

    def test_a_folder_of_another_datasets_classes(self, image_folder, refused):
        root = image_folder()
        (root / "00003").rename(root / "n01440764")
        assert "n01440764" in refused(root, BadSet)

    def test_two_folders_of_one_class(self, image_folder, refused):
        root = image_folder()
        (root / "00003").rename(root / "2")
        assert "two folders" in refused(root, BadSet)

    def test_unequal_counts(self, image_folder, refused):
        root = image_folder()
        next((root / "00003").iterdir()).unlink()
        assert "ipc is one number" in refused(root, BadSet)

    @pytest.mark.parametrize("wrong", [4, -1, 2**40])
    def test_labels_out_of_range(self, save, refused, pixels, labels, wrong):
        changed = labels.clone()
        changed[5] = wrong
        assert "counted from 0" in refused(save("set.pt", [pixels, changed]), BadSet)

    @pytest.mark.parametrize(
        "change", [lambda y: y + 0.5, lambda y: y * float("nan"), lambda y: y[:-1], lambda y: y[None, :, None]]
    )
    def test_labels_that_are_none(self, save, refused, pixels, labels, change):
        refused(save("set.pt", [pixels, change(labels)]), BadSet)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_pixels_that_are_no_numbers(self, save, refused, normalised, labels, value):
        changed = normalised.clone()
        changed[3, 1, 2, 2] = value
        assert "1 pixels are NaN or infinite" in refused(save("set.pt", [changed, labels]), BadSet)

    @pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
    def test_labels_that_are_no_numbers(self, save, refused, pixels, labels, value):
        wrong = labels.double()
        wrong[3] = value
        assert "no whole numbers" in refused(save("a.pt", [pixels, wrong]), BadSet)

    def test_sets_of_which_only_some_have_soft_labels_or_a_step_size(self, save, refused, pixels, labels):
        soft = torch.nn.functional.one_hot(labels, 4).float()
        assert "soft labels and without" in refused(save("a.pt", [[pixels, labels], [pixels, soft]]), BadSet)
        assert "step size and without" in refused(save("b.pt", [[pixels, labels, 0.1], [pixels, labels]]), BadSet)

    def test_soft_labels_that_are_none(self, save, refused, pixels):
        refused(save("set.pt", [pixels, torch.full((12, 4), float("nan"))]), BadSet)
        refused(save("set.pt", [pixels, torch.full((12, 5), 0.2)]), BadSet)
        refused(save("set.pt", [pixels, torch.full((12, 4), -0.25)]), BadRequest)

    def test_sets_of_several_sizes_in_one_file(self, save, refused, pixels, labels):
        one_each = torch.arange(0, 12, 3)
        refused(save("set.pt", [[pixels, labels], [pixels[one_each], labels[one_each]]]), BadSet)

    @pytest.mark.parametrize("name", ["nowhere.pt", "nowhere", "set.h5"])
    def test_what_is_not_there_or_of_no_known_kind(self, tmp_path, refused, name):
        if name == "set.h5":
            (tmp_path / name).write_bytes(b"HDF")
        refused(tmp_path / name, DataMissing)

    def test_an_empty_folder_and_images_beside_the_class_folders(self, tmp_path, image_folder, refused):
        (tmp_path / "empty").mkdir()
        refused(tmp_path / "empty", BadSet)
        root = image_folder()
        (root / "00001" / "0003.png").rename(root / "0003.png")
        refused(root, BadSet)


class TestSizes:
    def test_an_npz_that_unpacks_to_gigabytes_is_refused_by_what_it_declares(self, tmp_path, refused):
        path = tmp_path / "set.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("images.npy", "w", force_zip64=True) as file:
            block = bytes(2**24)
            for _ in range(8):
                file.write(block)
        assert path.stat().st_size < 2**18
        assert "not unpacked" in refused(path, UnsafeFile)

    def test_a_packed_pt_is_refused_too(self, tmp_path, refused):
        path = tmp_path / "set.pt"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", bytes(2**20))
        assert "compressed" in refused(path, UnsafeFile)

    def test_a_member_that_unpacks_to_more_than_it_declares_is_cut_off(self, tmp_path, refused):
        path = tmp_path / "set.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", bytes(2**20))
        content = path.read_bytes().replace(struct.pack("<L", 2**20), struct.pack("<L", 1000))
        path.write_bytes(content)
        refused(path, DataDamaged)

    def test_an_array_whose_header_claims_more_than_there_is_allocates_nothing(self, tmp_path, refused):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)})
        path = tmp_path / "set.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", header.getvalue())
        assert "not of the size" in refused(path, DataDamaged)

    def test_an_array_whose_header_counts_below_zero(self, tmp_path, refused):
        content = io.BytesIO()
        np.lib.format.write_array_header_1_0(content, {"descr": "|u1", "fortran_order": False, "shape": (-10, -64)})
        path = tmp_path / "a.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", content.getvalue() + bytes(640))
        assert "not of the size its header declares" in refused(path, DataDamaged)

    def test_a_few_numbers_repeated_without_end_are_refused(self, save, refused):
        endless = torch.zeros(1, 1, 1, 1).expand(2**30, 3, 8, 8)
        assert "most a distilled set may have" in refused(save("set.pt", [endless, torch.zeros(1).expand(2**30)]), UnsafeFile)

    def test_a_file_larger_than_any_set_is_not_opened(self, tmp_path, refused, facts):
        for name in ("set.pt", "set.npz", "set.safetensors"):
            with (tmp_path / name).open("wb") as file:
                file.truncate(most_bytes(facts) + 1)
            refused(tmp_path / name, UnsafeFile)

    def test_an_image_of_enormous_size_is_not_decoded(self, image_folder, refused):
        root = image_folder()
        path = root / "00000" / "0000.png"
        content = bytearray(path.read_bytes())
        content[16:24] = struct.pack(">LL", 200_000, 200_000)
        path.write_bytes(content)
        refused(root, (BadSet, DataDamaged))


class TestNames:
    @pytest.mark.parametrize("name", ["../images.npy", "/etc/images.npy", "a/../../images.npy", "..\\images.npy", "C:images.npy"])
    def test_names_in_an_archive_that_lead_elsewhere(self, tmp_path, refused, name):
        path = tmp_path / "set.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), b"x")
        assert "leads out of its folder" in refused(path, UnsafeFile)

    def test_one_name_twice(self, tmp_path, refused):
        path = tmp_path / "set.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", b"x")
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr("images.npy", b"y")
        refused(path, UnsafeFile)

    def test_links_out_of_the_folder(self, tmp_path, image_folder, refused):
        root = image_folder()
        secret = tmp_path / "secret.png"
        Image.new("RGB", (8, 8)).save(secret)
        (root / "00000" / "9999.png").symlink_to(secret)
        assert "leads out of" in refused(root, UnsafeFile)
        (root / "00000" / "9999.png").unlink()
        (tmp_path / "elsewhere").mkdir()
        (root / "00004").symlink_to(tmp_path / "elsewhere")
        refused(root, UnsafeFile)

    def test_a_pipe_is_not_waited_for(self, tmp_path, refused):
        os.mkfifo(tmp_path / "set.pt")
        refused(tmp_path / "set.pt", UnsafeFile)


class TestBroken:
    @pytest.mark.parametrize("name", ["set.pt", "set.npz", "set.safetensors"])
    @pytest.mark.parametrize("kept", [0, 10, 0.3, 0.9, -1])
    def test_truncated_files(self, saved, refused, name, kept):
        path = saved(name)
        content = path.read_bytes()
        path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
        refused(path, DataDamaged)

    def test_a_truncated_image(self, image_folder, refused):
        path = image_folder() / "00001" / "0003.png"
        path.write_bytes(path.read_bytes()[:60])
        refused(path.parent.parent, DataDamaged)

    @pytest.mark.parametrize("name", ["set.pt", "set.npz", "set.safetensors"])
    def test_flipped_bytes_never_end_in_a_traceback(self, saved, facts, name):
        path = saved(name)
        content = path.read_bytes()
        generator, refusals = np.random.default_rng(0), []
        for _ in range(60):
            changed = bytearray(content)
            for position in generator.integers(0, len(content), 3):
                changed[position] ^= 1 << int(generator.integers(8))
            path.write_bytes(changed)
            try:
                opened = open_elsewhere(path, facts, Telling())
            except DdbenchError as error:
                refusals.append(error.exit_code)
            else:
                assert all(result.images.shape[1:] == facts.shape for result in opened.results)
                assert all(0 <= int(label) < facts.num_classes for result in opened.results for label in result.labels)
        assert set(refusals) <= {2, 3}
        assert refusals

    def test_a_set_of_ours_that_was_edited(self, tmp_path, refused):
        from ddbench.testing import Bench
        from ddbench_plugins.baselines import Random

        kept = Bench(tmp_path / "store").distil(Random(), ipc=1)
        data = kept.folder / "data.safetensors"
        content = bytearray(data.read_bytes())
        content[-1] ^= 1
        data.write_bytes(content)
        assert "does not match the checksum" in refused(kept.folder, ArtefactDamaged)
        manifest = kept.folder / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"ipc": 1', '"ipc": 2'))
        assert "does not match its own checksum" in refused(kept.folder, ArtefactDamaged)

    def test_a_manifest_that_names_a_place_outside_its_folder(self, tmp_path, refused):
        import json

        from ddbench.records import checksum

        folder = tmp_path / "set"
        folder.mkdir()
        save_file({"images": torch.zeros(1)}, tmp_path / "data.safetensors")
        card = {"card": "distilled", "files": {"../data.safetensors": {"sha256": "0" * 64, "bytes": 1}}}
        (folder / "manifest.json").write_text(json.dumps({**card, "sha256": checksum(card)}))
        assert "leads out of its folder" in refused(folder, UnsafeFile)
