"""Records travel in one file with their sets; what comes out of it is checked before it is used, and no level travels along."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile

import pytest
from typer.testing import CliRunner

import ddbench
from ddbench.cli.app import app
from ddbench.errors import ArtefactDamaged, BadRequest, DataDamaged, DataMissing, DdbenchError, UnknownName, UnsafeFile
from ddbench.exchange.retraining import Asked
from ddbench.exchange.submitting import submit, unpack
from ddbench.exchange.verifying import verify
from ddbench.progress import Silent
from ddbench.provenance import Check
from ddbench.records import checksum
from ddbench.report.sources import load
from ddbench.settings import Settings
from ddbench.store import Store
from ddbench.workspace import open_workspace


@pytest.fixture(autouse=True)
def no_other_data(monkeypatch, tmp_path):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DDBENCH_PLUGINS", "")


@pytest.fixture(scope="module")
def run_once(tmp_path_factory):
    """A store with three whole records, each of a set of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDBENCH_DATA", "/nonexistent")
        patch.setenv("DDBENCH_PLUGINS", "")
        store = tmp_path_factory.mktemp("kept") / "store"
        request = {"students": ["convnet1-w32"], "eval_seeds": 1, "ipc": 1, "threads": 1}
        ddbench.run("random", store=store, protocol="quick-hard/1", **request)
    return store


@pytest.fixture
def store(run_once, tmp_path):
    return Store(shutil.copytree(run_once, tmp_path / "store"))


@pytest.fixture
def sent(store, tmp_path):
    """A submission of the first two records."""
    submit(store, store.record_keys()[:2], tmp_path / "sent.zip")
    return tmp_path / "sent.zip"


def names(path):
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_a_submission_holds_records_manifests_and_checksums_and_images_if_wanted(store, tmp_path, sent):
    keys = store.record_keys()[:2]
    assert {f"records/{key}.{suffix}" for key in keys for suffix in ("json", "npz")} <= set(names(sent))
    assert sum(name.endswith("data.safetensors") for name in names(sent)) == 2
    submit(store, keys, tmp_path / "light.zip", images=False)
    assert not [name for name in names(tmp_path / "light.zip") if name.endswith("data.safetensors")]
    assert sum(name.endswith("manifest.json") for name in names(tmp_path / "light.zip")) == 2


def test_equal_records_make_equal_files(store, tmp_path, sent):
    submit(store, store.record_keys()[:2], tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == sent.read_bytes()


def test_what_comes_out_is_what_went_in(store, tmp_path, sent):
    keys = unpack(sent, tmp_path / "out")
    assert keys == store.record_keys()[:2]
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (store.root / path.relative_to(tmp_path / "out")).read_bytes()


def test_a_level_is_not_taken_over_from_whoever_sends_it(store, tmp_path):
    record = store.record(store.record_keys()[0])
    store.add_check(record, Check(level="reproduced", how="stated", by="me", when="now"))
    submit(store, [record.key], tmp_path / "sent.zip")
    assert not [name for name in names(tmp_path / "sent.zip") if name.endswith(".provenance")]


def test_retrained_by_command_its_records_are_kept_with_their_level_and_the_store_gets_none(store, tmp_path, sent):
    elsewhere = tmp_path / "elsewhere"
    answered = CliRunner().invoke(app, ["verify", str(sent), "--retrain", "--by", "me", "--store", str(elsewhere), "--json"])
    assert answered.exit_code == 0, answered.output
    assert [one["level"] for one in json.loads(answered.stdout)] == ["verified", "verified"]
    found = load(None, [tmp_path / "sent-verified"])
    assert sorted(record.key for record in found.records) == store.record_keys()[:2]
    assert {standing.level for standing in found.standings.values()} == {"verified"}
    assert found.problems == ()
    assert len(list((tmp_path / "sent-verified").glob("*.png"))) == 2
    assert Store(elsewhere).record_keys() == []


def test_without_images_checksums_are_checked_and_students_are_not_trained(store, tmp_path):
    submit(store, store.record_keys()[:1], tmp_path / "light.zip", images=False)
    workspace = open_workspace(Settings(tmp_path / "elsewhere", (), ()), Silent())
    (key,) = unpack(tmp_path / "light.zip", tmp_path / "out")
    path = tmp_path / "out" / "records" / f"{key}.json"
    assert verify(path, tmp_path / "out", workspace, None).passed
    with pytest.raises(DataMissing, match="images of record"):
        verify(path, tmp_path / "out", workspace, Asked(), tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_another_record_under_the_key_is_not_overwritten(tmp_path, sent, store):
    (tmp_path / "kept").mkdir()
    unpack(sent, tmp_path / "out")
    keys = store.record_keys()
    record = store.record(keys[0])
    other = record.model_copy(update={"external_data": True}).sealed()
    (tmp_path / "kept" / f"{record.key}.json").write_text(json.dumps(other.model_dump(mode="json")))
    workspace = open_workspace(Settings(tmp_path / "elsewhere", (), ()), Silent())
    with pytest.raises(BadRequest, match="another record"):
        verify(tmp_path / "out" / "records" / f"{record.key}.json", tmp_path / "out", workspace, Asked(), tmp_path / "kept")


def test_what_is_unsound_or_no_result_is_not_sent(store, tmp_path):
    first, second, third = store.record_keys()
    data = store.root / "distilled" / store.record(first).distilled_key / "data.safetensors"
    data.write_bytes(data.read_bytes()[:-1])
    shutil.rmtree(store.root / "distilled" / store.record(second).distilled_key)
    for key in (first, second):
        with pytest.raises(ArtefactDamaged, match="cannot be submitted"):
            submit(store, [key], tmp_path / "out.zip")
    with pytest.raises(UnknownName):
        submit(store, ["0" * 20], tmp_path / "out.zip")
    (tmp_path / "taken.zip").write_text("mine")
    with pytest.raises(BadRequest, match="there already"):
        submit(store, [third], tmp_path / "taken.zip")
    record = store.record(third)
    smoke = record.model_copy(update={"smoke": True, "protocol": {**record.protocol, "smoke": True}})
    path = store.root / "records" / f"{third}.json"
    from ddbench.api.protocol import ProtocolSpec

    smoke = smoke.model_copy(update={"protocol_sha256": ProtocolSpec.model_validate(smoke.protocol).sha256}).sealed()
    path.write_text(json.dumps(smoke.model_dump(mode="json")))
    with pytest.raises(BadRequest, match="smoke"):
        submit(store, [third], tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


class TestHostile:
    """A file from elsewhere: refused in a sentence, and nothing of it lands outside the folder it is unpacked into."""

    @pytest.fixture
    def repacked(self, sent, tmp_path):
        """Return a function that writes the submission again with parts changed, and its contents to match unless told not to."""

        def write(change, *, listed=True):
            with zipfile.ZipFile(sent) as archive:
                parts = {name: archive.read(name) for name in archive.namelist()}
            change(parts)
            if listed:
                content = json.loads(parts["submission.json"])
                content["files"] = {
                    name: content["files"].get(name, {"sha256": "0" * 64}) for name in parts if name != "submission.json"
                }
                parts["submission.json"] = json.dumps({**content, "sha256": checksum(content)}).encode()
            with zipfile.ZipFile(tmp_path / "hostile.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for name, part in parts.items():
                    archive.writestr(zipfile.ZipInfo(name), part)
            return tmp_path / "hostile.zip"

        return write

    @pytest.fixture
    def refused(self, tmp_path):
        def attempt(path, error, most=2**24):
            inside = tmp_path / "inside"
            before = sorted(file for file in tmp_path.rglob("*") if inside not in (file, *file.parents))
            with pytest.raises(error) as raised:
                unpack(path, inside, most)
            assert sorted(file for file in tmp_path.rglob("*") if inside not in (file, *file.parents)) == before
            assert isinstance(raised.value, DdbenchError)
            assert raised.value.exit_code == 3
            assert "\n" not in str(raised.value)

        return attempt

    @pytest.mark.parametrize(
        "name", ["../x.json", "records/../../x.json", "/etc/x", "records\\..\\x.json", "plugins/x.py", "records/x.py"]
    )
    def test_parts_that_no_submission_has(self, repacked, refused, name):
        refused(repacked(lambda parts: parts.update({name: b"x"})), UnsafeFile)

    def test_a_part_that_is_not_listed_and_one_that_is_not_there(self, repacked, refused):
        refused(repacked(lambda parts: parts.update({f"records/{'a' * 20}.json": b"x"}), listed=False), UnsafeFile)
        refused(repacked(lambda parts: parts.pop(next(name for name in parts if name.endswith(".npz"))), listed=False), UnsafeFile)

    def test_a_part_that_was_edited(self, repacked, refused):
        refused(
            repacked(lambda parts: parts.update({name: b"{}" for name in parts if name.endswith("manifest.json")})), ArtefactDamaged
        )

    def test_contents_that_were_edited_or_are_none(self, repacked, refused):
        for content in (b"", b"[]", b"{}", b"[" * 100_000, b'{"card": "submission", "schema_version": 2}'):
            refused(repacked(lambda parts, content=content: parts.update({"submission.json": content}), listed=False), DdbenchError)
        refused(repacked(lambda parts: parts.pop("submission.json"), listed=False), UnsafeFile)

    @pytest.mark.parametrize("keys", [["../../x"], [7], [], "abc", ["0" * 20]])
    def test_keys_that_are_none(self, repacked, refused, keys):
        def change(parts):
            content = {**json.loads(parts["submission.json"]), "records": keys}
            parts["submission.json"] = json.dumps({**content, "sha256": checksum(content)}).encode()

        refused(repacked(change, listed=False), ArtefactDamaged)

    def test_gigabytes_packed_small(self, repacked, refused):
        refused(repacked(lambda parts: parts.update({f"records/{'a' * 20}.json": bytes(2**25)})), UnsafeFile)

    def test_links(self, repacked, refused):
        path = repacked(lambda _: None)
        info = zipfile.ZipInfo(f"records/{'a' * 20}.json")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(info, "/etc/passwd")
        refused(path, UnsafeFile)

    @pytest.mark.parametrize("kept", [0, 30, 0.5, 0.95])
    def test_truncated(self, sent, refused, kept):
        content = sent.read_bytes()
        sent.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
        refused(sent, DataDamaged)

    def test_by_command_it_is_exit_3_and_a_sentence(self, repacked, tmp_path):
        path = repacked(lambda parts: parts.update({"../x.json": b"x"}))
        answered = CliRunner().invoke(app, ["verify", str(path), "--retrain", "--store", str(tmp_path / "elsewhere")])
        assert answered.exit_code == 3
        assert "leads out of its folder" in answered.stderr
        assert not (tmp_path / "hostile-verified").exists()
