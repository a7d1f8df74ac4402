from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ddbench.errors import ArtefactDamaged
from ddbench.packing import Parcel, pack, pack_folder, pack_paths, unpack, unpack_folder
from ddbench.store import KINDS, Store, key_of
from factory import a_record

KEY = key_of(what="a parcel")
FILES = some.dictionaries(some.from_regex(r"[a-z]{1,8}\.bin", fullmatch=True), some.binary(max_size=200), min_size=1, max_size=4)


@pytest.fixture
def home(tmp_path):
    return Store(tmp_path / "home")


@pytest.fixture
def away(tmp_path):
    return Store(tmp_path / "away")


def put(store, kind="teachers", files=None, key=KEY):
    with store.writing(kind, key, {"recipe": "some"}) as folder:
        for name, content in (files or {"weights.bin": b"weights", "empty.bin": b""}).items():
            (folder / name).write_bytes(content)


def fill(store, kind):
    """Put one thing of a kind into a store."""
    if kind == "records":
        store.add_record(a_record(key=KEY), b"predictions")
    elif kind == "work":
        store.write_file(store.work(KEY) / "job-000000.safetensors", b"a job")
        store.write_file(store.work(KEY) / "settings.json", b"{}")
    else:
        put(store, kind)
        store.annotate(kind, KEY, "test", {"top1": 0.5})


def tree(store, kind):
    """Return what a store holds of a kind: bytes by path."""
    return {str(path.relative_to(store.root)): path.read_bytes() for path in (store.root / kind).rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", [*KINDS, "records", "work"])
def test_what_was_packed_is_the_same_bytes_where_it_is_unpacked(home, away, kind):
    fill(home, kind)
    unpack(away, pack(home, kind, KEY))
    assert tree(away, kind) == tree(home, kind)
    assert tree(away, kind)


@pytest.mark.parametrize("kind", KINDS)
@given(files=FILES)
@settings(max_examples=10, deadline=None)
def test_an_artefact_of_any_content_is_found_as_it_was(tmp_path_factory, kind, files):
    home, away = (Store(tmp_path_factory.mktemp("store")) for _ in range(2))
    put(home, kind, files)
    home.annotate(kind, KEY, "test", {"top1": 0.25})
    unpack(away, pack(home, kind, KEY))
    found, was = away.find(kind, KEY), home.find(kind, KEY)
    assert found.card == was.card
    assert {name: found.path(name).read_bytes() for name in files} == files
    assert away.annotations(kind, KEY) == home.annotations(kind, KEY)


def test_a_record_comes_back_equal(home, away):
    written = home.add_record(a_record(key=KEY), b"predictions")
    unpack(away, pack(home, "records", KEY))
    assert away.record(KEY) == written


def test_a_record_without_a_sidecar_travels_alone(home, away):
    written = home.add_record(a_record(key=KEY), None)
    parcel = pack(home, "records", KEY)
    unpack(away, parcel)
    assert list(parcel.files) == [f"{KEY}.json"]
    assert away.record(KEY) == written


@pytest.mark.parametrize("kind", [*KINDS, "records", "work"])
def test_a_flipped_byte_of_any_file_is_refused_by_name_and_leaves_nothing(home, away, kind):
    fill(home, kind)
    parcel = pack(home, kind, KEY)
    for name, content in parcel.files.items():
        flipped = content.copy()
        flipped[len(flipped) // 2 : len(flipped) // 2 + 1] ^= 1
        if len(content):
            with pytest.raises(ArtefactDamaged, match=f"{name} of {kind}/{KEY}"):
                unpack(away, Parcel(kind, KEY, {**parcel.files, name: flipped}, parcel.sha256))
    assert not away.root.exists()


def test_a_place_that_is_taken_stays_as_it_is(home, away):
    put(home, files={"weights.bin": b"second"})
    put(away, files={"weights.bin": b"first"})
    before = tree(away, "teachers")
    unpack(away, pack(home, "teachers", KEY))
    assert tree(away, "teachers") == before


@pytest.mark.parametrize("kind", ["records", "work"])
def test_files_that_are_there_stay_as_they_are(home, away, kind):
    fill(home, kind)
    parcel = pack(home, kind, KEY)
    unpack(away, parcel)
    before = tree(away, kind)
    other = {name: np.concatenate([content, content]) for name, content in parcel.files.items()}
    sums = {name: pack_sum(content) for name, content in other.items()}
    unpack(away, Parcel(kind, KEY, other, sums))
    assert tree(away, kind) == before


def pack_sum(content):
    import hashlib

    return hashlib.sha256(content.tobytes()).hexdigest()


def test_what_was_added_later_joins_an_artefact_that_is_there(home, away):
    put(home)
    unpack(away, pack(home, "teachers", KEY))
    home.annotate("teachers", KEY, "test", {"top1": 0.75})
    unpack(away, pack(home, "teachers", KEY))
    assert away.annotations("teachers", KEY) == {"test": {"top1": 0.75}}


@pytest.mark.parametrize("kind", ["teachers", "records", "work"])
def test_what_is_not_there_packs_to_nothing(home, kind):
    assert pack(home, kind, KEY) is None


def test_a_damaged_artefact_is_not_packed_but_moved_aside(home):
    put(home)
    (home.root / "teachers" / KEY / "weights.bin").write_bytes(b"weightz")
    assert pack(home, "teachers", KEY) is None
    assert "weights.bin" in home.damaged[0]


def test_half_written_files_of_running_work_do_not_travel(home):
    fill(home, "work")
    (home.work(KEY) / ".job-000001.safetensors.7.part").write_bytes(b"half")
    assert sorted(pack(home, "work", KEY).files) == ["job-000000.safetensors", "settings.json"]


def test_the_bytes_of_a_parcel_are_handed_on_without_being_copied(home):
    put(home, files={"weights.bin": bytes(range(256)) * 400})
    parcel = pack(home, "teachers", KEY)
    buffers = []
    stream = pickle.dumps(parcel, protocol=5, buffer_callback=buffers.append)
    assert sum(len(buffer.raw()) for buffer in buffers) == parcel.nbytes
    assert len(stream) < 2000
    back = pickle.loads(stream, buffers=buffers)  # noqa: S301 - its own bytes
    assert np.shares_memory(back.files["weights.bin"], parcel.files["weights.bin"])


def test_named_files_of_an_artefact_travel_without_the_others_which_may_follow(home, away):
    put(home)
    unpack(away, pack(home, "teachers", KEY, ["card.json"]))
    assert list(tree(away, "teachers")) == [f"teachers/{KEY}/card.json"]
    assert away.card("teachers", KEY) == home.card("teachers", KEY)
    unpack(away, pack(home, "teachers", KEY))
    assert tree(away, "teachers") == tree(home, "teachers")


def test_paths_become_one_parcel_a_key_and_absent_ones_none(home, away):
    fill(home, "work")
    fill(home, "records")
    put(home)
    put(home, "priors")
    work = [f"work/{KEY}/settings.json", f"work/{KEY}/job-000000.safetensors"]
    paths = [*work, f"records/{KEY}.json", f"records/{KEY}.npz", f"teachers/{KEY}", f"priors/{KEY}/card.json", "labels/none"]
    parcels = pack_paths(home, paths)
    assert [(parcel.kind, len(parcel.files)) for parcel in parcels] == [("work", 2), ("records", 2), ("teachers", 3), ("priors", 1)]
    for parcel in parcels:
        unpack(away, parcel)
    assert away.record(KEY) == home.record(KEY)
    assert away.find("teachers", KEY) is not None


def test_a_folder_outside_any_store_travels_whole_and_is_written_once(tmp_path):
    source, target = tmp_path / "digits", tmp_path / "root" / "digits"
    source.mkdir()
    for name in ("dataset.json", "test.safetensors", "other"):
        (source / name).write_text(name)
    parcel = pack_folder(source, "digits", ["dataset.json", "test.safetensors"])
    unpack_folder(parcel, target)
    assert {path.name: path.read_text() for path in target.iterdir()} == {
        name: name for name in ("dataset.json", "test.safetensors")
    }
    (target / "dataset.json").write_text("was here")
    unpack_folder(parcel, target)
    assert (target / "dataset.json").read_text() == "was here"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_with_a_flipped_byte_is_refused_by_name(tmp_path):
    (tmp_path / "dataset.json").write_text("{}")
    parcel = pack_folder(tmp_path, "digits", ["dataset.json"])
    other = Parcel("folder", "digits", {"dataset.json": parcel.files["dataset.json"] ^ 1}, parcel.sha256)
    with pytest.raises(ArtefactDamaged, match=r"dataset\.json of folder/digits"):
        unpack_folder(other, tmp_path / "to")
    assert not (tmp_path / "to").exists()
