"""A disk that fills up in the middle of a write, and a store that may only be read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from disturbed import content, finished, half_there

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    finished(folder, folder / "store")
    return folder, content(folder / "store")


def mount(*words: str) -> None:
    """Mount, or skip the test where that is forbidden."""
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounts are forbidden here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=40k", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_ends_the_run_in_a_sentence_and_with_more_room_it_goes_on(whole, disk):
    folder, found = whole
    for size in ("40k", "60k", "80k"):  # the whole store takes several times that
        mount("-o", f"remount,size={size}", str(disk))
        said = finished(folder, disk / "store", code=3)
        assert "no space left on the device" in said
        assert half_there(disk / "store") == []
    mount("-o", "remount,size=64m", str(disk))
    finished(folder, disk / "store")
    assert content(disk / "store") == found
    assert half_there(disk / "store") == []


def test_a_store_that_may_only_be_read_is_planned_and_shown_and_refused_before_anything_is_made(whole, tmp_path):
    folder, found = whole
    target: Path = tmp_path / "mounted"
    target.mkdir()
    mount("--bind", str(folder), str(target))
    try:
        mount("-o", "remount,ro,bind", str(target))
        said = finished(folder, target / "store", code=3)
        assert "cannot be written" in said
    finally:
        subprocess.run(["umount", str(target)], check=True)
    assert content(folder / "store") == found
