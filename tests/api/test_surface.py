"""A public signature does not change without a line in the changelog."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import ddbench

HERE = Path(__file__).parent
SPEC = importlib.util.spec_from_file_location("surface", HERE / "surface.py")
surface = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(surface)

CHANGELOG = "# Changelog\n\n## Unreleased\n\n- `Bench` gained a method; api_version is 2.\n\n## 0.1\n\n- `Use` is new.\n"
KEPT = "api_version 1\nclass ddbench.Use()\nddbench.Use.name: str\ndef ddbench.one_job(facts: DatasetFacts) -> list[Job]\n"


def test_what_plugins_are_written_against_is_as_the_snapshot_says():
    kept, now = surface.SNAPSHOT.read_text("utf-8"), surface.surface()
    changed = sorted(set(kept.splitlines()) ^ set(now.splitlines()))
    assert changed == [], (
        "the public surface changed: tell of it in CHANGELOG.md under Unreleased, raise ddbench.api_version where plugins that fit "
        "before fit no longer, then run: python tests/api/surface.py"
    )


def test_the_surface_has_every_public_name_and_the_version():
    text = surface.surface()
    assert text.startswith(f"api_version {ddbench.api_version}\n")
    for place, module in surface.PLACES.items():
        missing = [name for name in module.__all__ if not name.startswith("__") and f"{place}.{name}" not in text]
        assert missing == []


@pytest.mark.parametrize(
    ("now", "lacks"),
    [
        (KEPT, []),
        (KEPT.replace("name: str", "name: int"), ["Use"]),
        (KEPT.replace("facts: DatasetFacts", "facts: DatasetFacts, ipc: int"), ["one_job"]),
        (KEPT + "ddbench.testing.Bench.session(self) -> Session\n", []),
        (KEPT + "hook ddbench_pets() -> Iterable[Pet]\n", ["ddbench_pets"]),
        (KEPT.replace("api_version 1", "api_version 2").replace("name: str", "name: int"), []),
        (KEPT.replace("api_version 1", "api_version 3").replace("name: str", "name: int"), ["Use"]),
    ],
)
def test_what_the_changelog_does_not_tell_is_named(now, lacks):
    assert surface.untold(KEPT, now, CHANGELOG) == lacks


def test_a_snapshot_is_not_renewed_before_the_changelog_tells(tmp_path, monkeypatch, capsys):
    (tmp_path / "surface.txt").write_text(KEPT)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    monkeypatch.setattr(surface, "SNAPSHOT", tmp_path / "surface.txt")
    monkeypatch.setattr(surface, "CHANGELOG", tmp_path / "CHANGELOG.md")
    monkeypatch.setattr(surface, "surface", lambda: KEPT.replace("name: str", "name: int"))
    assert surface.main() == 1
    assert "does not mention Use" in capsys.readouterr().err
    assert (tmp_path / "surface.txt").read_text() == KEPT
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG.replace("`Bench` gained", "`Use.name` is a number; `Bench` gained"))
    assert surface.main() == 0
    assert (tmp_path / "surface.txt").read_text() == KEPT.replace("name: str", "name: int")


def test_a_default_may_move_but_not_that_there_is_one():
    def one(a, *, b=1):
        """Two parameters."""

    def two(a, *, b=2):
        """The same."""

    assert surface.signature(one) == surface.signature(two) == "(a, *, b=…)"
