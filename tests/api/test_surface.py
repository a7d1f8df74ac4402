"""Nothing of the public surface changes, not even a default, without a line in the changelog that names it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import ddbench

HERE = Path(__file__).parent
SPEC = importlib.util.spec_from_file_location("surface", HERE / "surface.py")
surface = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(surface)

from telling import Snapshots, changed, digest, entries  # noqa: E402 - surface.py makes it importable

HOW = (
    "write a line under `### API` of Unreleased in CHANGELOG.md that names what changed, raise ddbench.api_version where plugins "
    "that fit before fit no longer, then run: python tests/api/surface.py"
)

KEPT = """api_version 1
class ddbench.Use()
ddbench.Use.name: str
def ddbench.one_job(facts: DatasetFacts, ipc: int = 1) -> list[Job]
"""

OTHER_FIELD = KEPT.replace("name: str", "name: int")
OTHER_DEFAULT = KEPT.replace("ipc: int = 1", "ipc: int = 2")
NEW_CLASS = KEPT + "class ddbench.Pet()\nddbench.Pet.name: str\n"
NEW_HOOK = KEPT + "hook ddbench_pets() -> Iterable[Pet]\n"
WITHOUT = KEPT.replace("ddbench.Use.name: str\n", "")
SECOND = OTHER_FIELD.replace("api_version 1", "api_version 2")


def line(text, words, version=1):
    return f"- api_version {version}, surface `{digest(text)}`: {words}\n"


def changelog(*lines, before=""):
    """Return a changelog whose newest version has these lines, and an older one those `before`."""
    older = before or line(KEPT, "all of it.")
    return f"# Changelog\n\n## Unreleased\n\n### API\n\n{''.join(lines)}\n### Results\n\n- `Other`.\n\n## 0.1\n\n### API\n\n{older}"


def test_what_plugins_are_written_against_is_as_the_snapshot_says():
    kept, now = Snapshots.read(HERE).now, surface.surface()
    assert sorted(set(kept.splitlines()) ^ set(now.splitlines())) == [], f"the public surface changed: {HOW}"


def test_what_changed_since_the_api_version_began_is_told_in_the_changelog():
    kept = Snapshots.read(HERE)
    assert max(kept.begun) == ddbench.api_version, f"there is no surface-{ddbench.api_version}.txt: {HOW}"
    assert kept.untold(surface.CHANGELOG.read_text("utf-8")) == [], HOW


@pytest.mark.parametrize(
    ("now", "lacks"),
    [
        (OTHER_FIELD, "ddbench.Use.name"),
        (OTHER_DEFAULT, "ddbench.one_job"),
        (NEW_CLASS, "ddbench.Pet"),
        (NEW_HOOK, "ddbench_pets"),
        (WITHOUT, "ddbench.Use.name"),
    ],
    ids=["a field", "a default", "a new class, which stands for its members", "a hook", "a field that is gone"],
)
def test_a_name_that_changed_must_stand_in_a_line_of_its_version(now, lacks):
    kept = Snapshots(now, {1: KEPT})
    assert kept.untold(changelog(line(now, "something else, `ddbench.one`."))) == [f"no line of api_version 1 names `{lacks}`"]
    assert kept.untold(changelog(line(now, f"`{lacks}` is another."))) == []


@pytest.mark.parametrize(
    ("words", "enough"),
    [
        ("`ddbench.Use.name` is a number.", True),
        ("`ddbench.Use.name: int`, before `str`.", True),
        ("it is a number now; it was told\n  over two lines of `ddbench.Use.name`.", True),
        ("ddbench.Use.name is a number.", False),
        ("`Use.name` is a number.", False),
        ("`ddbench.Use` changed.", False),
        ("`ddbench.Use.names` changed.", False),
    ],
)
def test_a_name_is_told_whole_and_as_code(words, enough):
    assert (Snapshots(OTHER_FIELD, {1: KEPT}).untold(changelog(line(OTHER_FIELD, words))) == []) == enough


def test_a_mention_elsewhere_in_the_changelog_is_no_line_about_the_api():
    text = changelog(line(OTHER_FIELD, "more.")).replace("`Other`", "`ddbench.Use.name` is a number")
    assert Snapshots(OTHER_FIELD, {1: KEPT}).untold(text) == ["no line of api_version 1 names `ddbench.Use.name`"]


def test_a_second_change_of_a_name_needs_a_line_too():
    text = changelog(line(OTHER_FIELD, "`ddbench.Use.name` is a number."))
    again = OTHER_FIELD.replace("name: int", "name: float")
    (lacks,) = Snapshots(again, {1: KEPT}).untold(text)
    assert f"surface `{digest(again)}`" in lacks
    assert "does not begin" in lacks


def test_what_a_version_began_with_is_held_by_its_hash():
    text = changelog(line(OTHER_FIELD, "nothing is named."))
    (lacks,) = Snapshots(OTHER_FIELD, {1: OTHER_FIELD.replace("Use", "Used")}).untold(text)[:1]
    assert "what surface-1.txt holds" in lacks


def test_a_new_version_begins_with_a_snapshot_whose_changes_its_own_lines_tell():
    kept = Snapshots(KEPT, {1: KEPT}).renewed(SECOND, 2)
    assert kept.begun == {1: KEPT, 2: SECOND}
    told = line(SECOND, "`ddbench.Use.name` is a number.", 2)
    assert kept.untold(changelog(told)) == []
    assert kept.untold(changelog(line(SECOND, "more.", 2))) == ["no line of api_version 2 names `ddbench.Use.name`"]
    later = kept.renewed(SECOND + "hook ddbench_pets() -> Iterable[Pet]\n", 2)
    assert later.begun == kept.begun
    assert later.untold(changelog(told, line(later.now, "`ddbench_pets` is new.", 2))) == []


def test_nothing_differs_between_equal_surfaces_whatever_their_version():
    assert changed(KEPT, KEPT.replace("api_version 1", "api_version 2")) == frozenset()


@pytest.fixture
def copied(tmp_path, monkeypatch, capsys):
    """Return a function that renews copies for code with another field, and gives exit code, stderr and surface.txt."""
    for name in ("surface.txt", "surface-1.txt"):
        (tmp_path / name).write_text(KEPT)
    monkeypatch.setattr(surface, "HERE", tmp_path)
    monkeypatch.setattr(surface, "CHANGELOG", tmp_path / "CHANGELOG.md")
    monkeypatch.setattr(surface, "surface", lambda: OTHER_FIELD)

    def renew(text):
        (tmp_path / "CHANGELOG.md").write_text(text)
        return surface.main(), capsys.readouterr().err, (tmp_path / "surface.txt").read_text()

    yield renew
    assert (tmp_path / "surface-1.txt").read_text() == KEPT


def test_a_snapshot_is_renewed_once_the_changelog_tells_and_says_what_it_lacks(copied):
    code, said, kept = copied(changelog())
    assert (code, kept) == (1, KEPT)
    assert f"- api_version 1, surface `{digest(OTHER_FIELD)}`:" in said
    assert "names `ddbench.Use.name`" in said
    assert copied(changelog(line(OTHER_FIELD, "`ddbench.Use.name` is a number."))) == (0, "", OTHER_FIELD)


def test_the_surface_has_every_public_name_and_the_version():
    text = surface.surface()
    assert text.startswith(f"api_version {ddbench.api_version}\n")
    assert len(entries(text)) == len(text.splitlines())
    for place, module in surface.PLACES.items():
        missing = [name for name in module.__all__ if not name.startswith("__") and f"{place}.{name}" not in entries(text)]
        assert missing == []


def test_no_default_is_shown_by_what_differs_between_processes_or_hides_a_change():
    assert [text for text in surface.surface().splitlines() if " at 0x" in text or "<lambda>" in text] == []


def test_a_default_is_part_of_a_signature():
    def one(a: int, *, b: float = 1.0, c: type = dict) -> list[str]:
        """It has defaults."""

    def two(a: int, *, b: float = 2.0, c: type = dict) -> list[str]:
        """One is another."""

    assert surface.signature(one) == "(a: int, *, b: float = 1.0, c: type = dict) -> list[str]"
    assert surface.signature(two) != surface.signature(one)


def test_a_default_of_a_field_an_option_or_an_attribute_is_part_of_the_surface():
    text = surface.surface()
    assert "\nddbench.DatasetDefaults.eval_seeds: int = 3\n" in text
    assert f"\nddbench.RecoverOptions.lr: float = {ddbench.RecoverOptions.model_fields['lr'].default}\n" in text
    assert "\nddbench.testing.SynthesizerConformance.limit_s: ClassVar[float] = 60.0\n" in text
