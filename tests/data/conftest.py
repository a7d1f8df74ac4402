"""A small dataset, written in prepared form, that tests may damage."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ddbench.data import Arrays, Description, write_prepared

SHAPE = (3, 5, 4)


def toy_splits(seed: int = 0) -> dict[str, Arrays]:
    """Return a dataset of three classes with unequal counts; pixels are random, so that no two images are equal."""
    rng = np.random.default_rng(seed)
    labels = {"train": np.array([2, 0, 1, 1, 0, 1, 2], np.int64), "test": np.array([1, 0, 2, 2], np.int64)}
    return {name: Arrays(rng.integers(0, 256, (len(of), *SHAPE), np.uint8), of) for name, of in labels.items()}


@pytest.fixture
def splits() -> dict[str, Arrays]:
    return toy_splits()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes arrays under a data root and returns the dataset's folder."""

    def written(of: dict[str, Arrays], name: str = "toy", classes: tuple[str, ...] = ("ape", "bee", "cat")) -> Path:
        write_prepared(tmp_path / "root" / name, Description(name, classes, "made up"), of)
        return tmp_path / "root" / name

    return written


@pytest.fixture
def folder(write: Callable[..., Path], splits: dict[str, Arrays]) -> Path:
    return write(splits)


@pytest.fixture(autouse=True)
def remember_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat the toy as if it were large enough for its full pass to be remembered."""
    monkeypatch.setattr("ddbench.data.prepared.REMEMBERED_BYTES", 0)


@pytest.fixture(autouse=True)
def user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep tests out of the user's cache directory."""
    place = tmp_path / "user-cache"
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(place))
    return place


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Give a folder and the address under which it is served on this machine only."""
    place = tmp_path / "served"
    place.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(place)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield place, f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()
