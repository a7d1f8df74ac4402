"""A dataset is found by name, or one sentence says where it was looked for; preparing is whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ddbench.api.dataset import DatasetDefaults, DatasetSource
from ddbench.data import (
    Description,
    FolderSource,
    defaults_for,
    defaults_of_size,
    in_memory,
    list_datasets,
    open_dataset,
    prepare,
    source_for,
    write_prepared,
)
from ddbench.errors import (
    BadRequest,
    DataDamaged,
    DataMissing,
    EnvironmentProblem,
    Offline,
    PluginFailed,
    UnknownName,
)


@dataclass
class Source:
    """A source that writes arrays, or fails as it is told."""

    splits: dict
    name: str = "toy"
    version: int = 1
    description: str = "made up"
    defaults: DatasetDefaults | None = None
    download_bytes: int = 3_000_000
    origin: str = "nowhere.example"
    folder: Path | None = None
    fails: Exception | None = None
    calls: int = 0

    def prepare(self, out, *, originals, offline, report):
        self.calls += 1
        report("downloading toy (3 MB) from nowhere.example", 0, self.download_bytes)
        (out / "left-over").write_text("x")
        if offline:
            raise Offline("not now")
        if self.fails:
            raise self.fails
        write_prepared(out, Description(self.name, ("ape", "bee", "cat")), self.splits)
        (out / "left-over").unlink()


@pytest.fixture
def source(splits) -> Source:
    return Source(splits)


def test_a_source_is_prepared_once_into_the_first_root_that_can_be_written(tmp_path, source):
    (tmp_path / "file").write_text("no folder")
    roots = [tmp_path / "file" / "below", tmp_path / "one", tmp_path / "two"]
    told = []
    first = open_dataset("toy", roots=roots, sources={"toy": source}, report=lambda *args: told.append(args[0]))
    again = open_dataset("toy", roots=roots, sources={"toy": source}, offline=True)
    assert first.folder == again.folder == tmp_path / "one" / "toy"
    assert first.facts == again.facts
    assert source.calls == 1
    assert told == ["downloading toy (3 MB) from nowhere.example"]
    assert not (tmp_path / "two").exists()
    assert sorted(path.name for path in (tmp_path / "one" / "toy").iterdir()) == [
        ".facts.json",
        "dataset.json",
        "test.safetensors",
        "train.safetensors",
    ]


def test_the_first_root_that_holds_a_dataset_wins_over_later_ones_and_the_source(tmp_path, source, splits, write):
    write(splits, "toy")
    later = Path(prepare(source, tmp_path / "later").folder)
    assert open_dataset("toy", roots=[tmp_path / "root", later.parent], sources={"toy": source}).folder == tmp_path / "root/toy"
    assert open_dataset("toy", roots=[later.parent, tmp_path / "root"], sources={}).folder == later


def test_a_folder_in_prepared_form_is_a_dataset_by_its_own_name(tmp_path, splits, write):
    write(splits, "mine.v2")
    assert open_dataset("mine.v2", roots=[tmp_path / "root"], sources={}, offline=True).facts.name == "mine.v2"


def test_a_shipped_dataset_is_opened_where_it_is_and_nothing_is_written_there(folder, source):
    before = sorted(folder.iterdir())
    source.folder = folder
    opened = open_dataset("toy", roots=[], sources={"toy": source}, offline=True)
    assert opened.folder == folder
    assert sorted(folder.iterdir()) == before
    assert source.calls == 0


def test_a_damaged_shipped_dataset_says_to_reinstall(folder, source):
    source.folder = folder
    (folder / "test.safetensors").write_bytes(b"")
    with pytest.raises(DataDamaged, match="reinstall the package"):
        open_dataset("toy", roots=[], sources={"toy": source})


def test_without_network_and_data_one_sentence_says_where_it_looked_and_what_to_do(tmp_path, source):
    with pytest.raises(DataMissing) as caught:
        open_dataset("toy", roots=[tmp_path / "a", tmp_path / "b"], sources={"toy": source}, offline=True)
    assert str(caught.value) == (
        f"dataset 'toy' is not in {tmp_path}/a, {tmp_path}/b; run ddbench data prepare toy (downloads 3 MB from nowhere.example), "
        "or name a data root that has it with --data-root DIR"
    )
    assert source.calls == 0
    assert caught.value.exit_code == 3


def test_a_dataset_that_cannot_be_downloaded_asks_for_its_originals(tmp_path, source):
    source.download_bytes, source.fails = 0, DataMissing("no folder was given")
    with pytest.raises(DataMissing, match=r"run ddbench data prepare toy --from DIR, where DIR holds nowhere\.example"):
        open_dataset("toy", roots=[tmp_path], sources={"toy": source})


def test_a_dataset_that_needs_neither_download_nor_originals_is_prepared_when_it_is_asked_for(tmp_path, source):
    source.download_bytes = 0
    assert open_dataset("toy", roots=[tmp_path], sources={"toy": source}).facts.name == "toy"
    assert (tmp_path / "toy" / "dataset.json").is_file()


def test_a_download_that_fails_says_where_it_looked_too(tmp_path, source):
    source.fails = DataMissing("http://x cannot be downloaded (no route); get it elsewhere and name its folder with --from")
    with pytest.raises(DataMissing, match=rf"not in {tmp_path}, and http://x cannot be downloaded .*--data-root"):
        open_dataset("toy", roots=[tmp_path], sources={"toy": source})


def test_an_unknown_name_suggests_sources_and_folders(tmp_path, source, splits, write):
    write(splits, "flowers")
    for wrong, near in (("toi", "toy"), ("flower", "flowers")):
        with pytest.raises(UnknownName, match=rf"unknown dataset '{wrong}'. Did you mean '{near}'\? See: ddbench data list"):
            open_dataset(wrong, roots=[tmp_path / "root"], sources={"toy": source})


@pytest.mark.parametrize("name", ["", ".", "..", "../toy", "a/b", "/toy", "a\\b", ".hidden", "a..b", "-o", "toy\n", "toy\0"])
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path, name, source):
    with pytest.raises(BadRequest, match="no dataset name"):
        open_dataset(name, roots=[tmp_path], sources={})
    with pytest.raises(BadRequest, match="no dataset name"):
        prepare(replace(source, name=name), tmp_path)


def test_a_linked_dataset_is_followed_and_a_dangling_link_is_occupied(tmp_path, source, splits, write):
    real = write(splits, "real")
    root = tmp_path / "links"
    root.mkdir()
    (root / "linked").symlink_to(real, target_is_directory=True)
    assert open_dataset("linked", roots=[root], sources={}).facts.counts == (2, 3, 2)
    (root / "toy").symlink_to(tmp_path / "gone")
    with pytest.raises(EnvironmentProblem, match="exists and is no dataset"):
        prepare(source, root)


def test_a_place_that_holds_something_else_is_left_alone(tmp_path, source):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "thesis.tex").write_text("dear")
    with pytest.raises(EnvironmentProblem, match="move it away"):
        prepare(source, tmp_path)
    assert (tmp_path / "toy" / "thesis.tex").read_text() == "dear"


def test_an_empty_folder_is_no_obstacle(tmp_path, source):
    (tmp_path / "toy").mkdir()
    assert prepare(source, tmp_path).facts.name == "toy"


@pytest.mark.parametrize("fails", [DataDamaged("cut short"), KeyboardInterrupt(), ValueError("a bug")])
def test_a_preparation_that_fails_leaves_nothing(tmp_path, source, fails):
    source.fails = fails
    with pytest.raises(type(fails)):
        prepare(source, tmp_path)
    assert not (tmp_path / "toy").exists()
    assert list((tmp_path / ".preparing").iterdir()) == []
    source.fails = None
    assert prepare(source, tmp_path).facts.name == "toy"


def test_what_a_killed_preparation_left_is_cleared(tmp_path, source):
    (tmp_path / ".preparing/toy").mkdir(parents=True)
    (tmp_path / ".preparing/toy/train.safetensors").write_text("half")
    assert prepare(source, tmp_path).facts.name == "toy"


def test_a_full_disk_is_one_sentence(tmp_path, source):
    source.fails = OSError(errno.ENOSPC, "No space left on device", "train.safetensors.part")
    with pytest.raises(EnvironmentProblem, match=r"no space is left\); name another folder with --data-root") as caught:
        prepare(source, tmp_path)
    assert caught.value.exit_code == 3


def test_a_root_that_cannot_be_written_is_one_sentence(tmp_path, source):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(EnvironmentProblem, match=r"cannot be prepared in .*file.* --data-root"):
        prepare(source, tmp_path / "file")
    with pytest.raises(DataMissing, match="is not in"):
        open_dataset("toy", roots=[tmp_path / "file"], sources={"toy": source})


def test_a_read_only_root_is_read_and_not_written(tmp_path, source, folder, user_cache):
    root = folder.parent
    for path in (folder, root):
        path.chmod(0o555)
    try:
        if os.access(root, os.W_OK):
            pytest.skip("this user may write anywhere")
        assert open_dataset("toy", roots=[root], sources={}).facts.counts == (2, 3, 2)
        assert user_cache.is_dir()
        other = replace(source, name="other")
        opened = open_dataset("other", roots=[root, tmp_path / "spare"], sources={"other": other})
        assert opened.folder == tmp_path / "spare/other"
    finally:
        for path in (root, folder):
            path.chmod(0o755)


def test_a_source_that_writes_nothing_is_its_plugins_fault(tmp_path, source):
    source.prepare = lambda *_, **__: None
    with pytest.raises(PluginFailed, match=r"'toy' wrote no dataset\.json"):
        prepare(source, tmp_path)


PREPARE = """
import sys, time
from pathlib import Path
from ddbench.data import FolderSource, prepare
from ddbench.data import folder

root, images, log = map(Path, sys.argv[1:4])
slowly = folder.write_prepared

def write(*args, **kwargs):
    with log.open("a") as file:
        file.write("wrote\\n")
    time.sleep(0.3)
    slowly(*args, **kwargs)

folder.write_prepared = write
print(prepare(FolderSource("mine", images), root).facts.sha256)
"""


def test_two_processes_that_prepare_at_once_make_one_dataset(tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        for number, label in enumerate("ab"):
            (tmp_path / "images" / split / label).mkdir(parents=True)
            Image.new("RGB", (4, 4), (number, 2, 3)).save(tmp_path / "images" / split / label / "1.png")
    command = [sys.executable, "-c", PREPARE, str(tmp_path / "root"), str(tmp_path / "images"), str(tmp_path / "log")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert answers[0] == answers[1] != ""
    assert (tmp_path / "log").read_text() == "wrote\n"


def test_one_that_waits_for_another_says_so_and_prepares_nothing(tmp_path, source, splits):
    started = threading.Event()
    other = Source(splits)
    write = other.prepare

    def slow(out, **kwargs):
        started.set()
        time.sleep(0.2)
        write(out, **kwargs)

    other.prepare = slow
    thread = threading.Thread(target=prepare, args=(other, tmp_path))
    thread.start()
    started.wait()
    told = []
    prepare(source, tmp_path, report=lambda *args: told.append(args[0]))
    thread.join()
    assert told == ["waiting for another process that prepares toy"]
    assert source.calls == 0


def test_the_list_holds_sources_and_folders_with_what_is_known(tmp_path, source, splits, write):
    write(splits, "mine")
    broken = write(splits, "broken")
    (broken / "dataset.json").write_text("{")
    (tmp_path / "root" / "no-dataset").mkdir()
    listed = {entry.name: entry for entry in list_datasets([tmp_path / "root", tmp_path / "gone"], {"toy": source})}
    assert sorted(listed) == ["broken", "mine", "toy"]
    assert (listed["mine"].folder, listed["mine"].num_classes, listed["mine"].shape) == (tmp_path / "root/mine", 3, (3, 5, 4))
    assert (listed["toy"].folder, listed["toy"].download_bytes, listed["toy"].origin) == (None, 3_000_000, "nowhere.example")
    assert "cannot be read" in listed["broken"].problem


def test_a_name_to_prepare_is_a_source_or_a_folder_of_images(tmp_path, source):
    sources = {"toy": source}
    assert source_for("toy", sources, originals=None, size=None) is source
    mine = source_for("mine", sources, originals=tmp_path, size=32)
    assert isinstance(mine, FolderSource)
    assert (mine.name, mine.originals, mine.size) == ("mine", tmp_path, 32)
    assert isinstance(mine, DatasetSource)
    with pytest.raises(UnknownName, match="Did you mean 'toy'"):
        source_for("tor", sources, originals=None, size=None)
    with pytest.raises(BadRequest, match="its own image size"):
        source_for("toy", sources, originals=tmp_path, size=32)


@pytest.mark.parametrize(("side", "like"), [(8, 32), (32, 32), (33, 64), (64, 64), (65, 224), (224, 224)])
def test_defaults_come_from_the_source_else_from_the_resolution(source, side, like):
    import torch

    images = torch.zeros(2, 1, side, side - 1, dtype=torch.uint8)
    facts = in_memory((images, torch.tensor([0, 1])), (images, torch.tensor([0, 1])), name="toy").facts
    derived = defaults_for(facts, {"toy": source})
    assert derived == replace(defaults_of_size(like), derived=True)
    own = DatasetDefaults(1, "net", ("net",), "p/1")
    assert defaults_for(facts, {"toy": replace(source, defaults=own)}) == own
    assert defaults_for("toy", {"toy": replace(source, defaults=own)}) == own
    with pytest.raises(UnknownName):
        defaults_for("toy", {"toy": source})


def test_finding_and_listing_datasets_imports_no_torch(tmp_path, folder):
    code = (
        "import sys; from pathlib import Path; from ddbench.data import list_datasets, open_dataset;"
        f"roots = [Path({str(folder.parent)!r})]; list_datasets(roots, {{}}); open_dataset('toy', roots=roots, sources={{}});"
        "print(sorted({'torch', 'torchvision', 'timm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_importing_the_package_imports_neither_numpy_nor_torch():
    code = "import sys, ddbench.data, ddbench.data.defaults; print(sorted({'numpy', 'torch', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_public_name_is_where_the_package_says():
    import ddbench.data

    for name in ddbench.data.__all__:
        assert getattr(ddbench.data, name).__module__.startswith("ddbench.data.")
    assert sorted(ddbench.data._HOMES) == sorted(ddbench.data.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = ddbench.data.Nothing
