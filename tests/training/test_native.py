"""C sources of ours: compiled once for a machine, kept, and refused with a sentence where they cannot be."""

from __future__ import annotations

import stat
from pathlib import Path

import platformdirs
import pytest

from ddbench.errors import BadRequest
from ddbench.training import native

needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="this machine has no C compiler")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Keep libraries in a folder of the test's own, and forget those that were loaded."""
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    native.library.cache_clear()
    yield tmp_path / "cache" / "native"
    native.library.cache_clear()


@pytest.fixture
def source(tmp_path):
    """A source that tells how many threads it had, and a number that an option sets."""
    path = tmp_path / "threads.c"
    path.write_text(
        "#include <omp.h>\n#ifndef NUMBER\n#define NUMBER 1\n#endif\nint number(void) { return NUMBER; }\n"
        "int threads(int n) { int found = 0;\n#pragma omp parallel num_threads(n)\n#pragma omp single\n"
        "found = omp_get_num_threads(); return found; }\n"
    )
    return path


def _libraries(folder):
    return sorted(folder.glob("*.so"))


@needs_compiler
def test_a_source_is_compiled_once_and_kept(cache, source):
    assert native.library(source).threads(2) == 2
    (kept,) = _libraries(cache)
    written = kept.stat().st_mtime_ns
    native.library.cache_clear()
    assert native.library(source).number() == 1
    assert _libraries(cache) == [kept]
    assert kept.stat().st_mtime_ns == written
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert [path.name for path in cache.iterdir()] == [kept.name]  # nothing half made is left


@needs_compiler
def test_another_option_source_or_processor_is_another_library(cache, source, monkeypatch):
    assert native.library(source, "-DNUMBER=7").number() == 7
    assert native.library(source).number() == 1
    source.write_text(source.read_text().replace("return NUMBER", "return NUMBER + 1"))
    native.library.cache_clear()
    assert native.library(source).number() == 2
    monkeypatch.setattr(native, "_processor", lambda: "another")
    native.library.cache_clear()
    native.library(source)
    assert len(_libraries(cache)) == 4


@needs_compiler
def test_where_the_cache_cannot_be_written_a_process_compiles_for_itself(cache, source, monkeypatch):
    cache.parent.mkdir()
    cache.touch()  # a file where the folder should be
    assert native.library(source).number() == 1
    assert len(_libraries(Path(native._own_folder().name))) >= 1


@needs_compiler
def test_a_damaged_library_is_compiled_anew_and_replaced(cache, source):
    cache.mkdir(parents=True)
    kept = cache / f"threads-{native._key(native.compiler(), source, ())}.so"
    kept.write_bytes(b"not a library")
    assert native.library(source).number() == 1
    assert _libraries(cache) == [kept]
    assert kept.read_bytes().startswith(b"\x7fELF")


@needs_compiler
def test_what_the_compiler_says_is_told_in_one_line(cache, source):
    source.write_text("int broken(void) { return nothing; }\n")
    with pytest.raises(BadRequest, match=r"threads\.c could not be compiled .*--compile off") as caught:
        native.library(source)
    assert "\n" not in str(caught.value)


def test_without_a_compiler_there_is_no_library(cache, source, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert native.compiler() is None
    with pytest.raises(BadRequest, match="there is no C compiler here \\(install gcc\\)"):
        native.library(source)


def test_the_compiler_that_the_user_names_comes_first(monkeypatch, tmp_path):
    mine = tmp_path / "mine"
    mine.touch(mode=0o755)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("CC", str(mine))
    assert native.compiler() == str(mine)
    monkeypatch.setattr("sys.platform", "darwin")
    assert native.compiler() is None
