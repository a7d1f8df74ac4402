from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint

import pytest

from ddbench.errors import NameClash, UnknownName
from ddbench.plugins import Plugins, files_sha256

METHOD = """
from ddbench import hookimpl, NoOptions, Synthesizer, jobs_per_image_index

class Mine(Synthesizer):
    name = {name!r}
    version = 1
    options = NoOptions
    def start(self, o): return "noise"
    def needs(self, o, facts): return {{}}
    def jobs(self, o, facts, ipc, seed): return jobs_per_image_index(facts, ipc, seed)
    def run(self, ctx, o, group): raise NotImplementedError

@hookimpl
def ddbench_synthesizers():
    return [Mine()]
"""


@dataclass(frozen=True)
class FakeDistribution:
    name: str
    version: str = "1.0"


@pytest.fixture
def point(tmp_path, monkeypatch):
    """Make an entry point of a distribution from a module's text."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(distribution, module, text):
        (tmp_path / f"{module}.py").write_text(text)
        made.append(module)
        return EntryPoint(module, module, "ddbench")._for(FakeDistribution(distribution))

    yield make
    for module in made:
        sys.modules.pop(module, None)


def test_a_plugin_that_fails_at_import_hurts_only_itself(point):
    plugins = Plugins(found=[point("good-dist", "good_one", METHOD.format(name="good")), point("bad-dist", "bad_one", "1 / 0")])
    assert plugins.names("synthesizer") == ["good"]
    assert [(error.distribution, error.entry_point) for error in plugins.errors] == [("bad-dist", "bad_one")]
    assert "ZeroDivisionError" in plugins.errors[0].message


def test_a_hook_that_raises_hurts_only_its_own_names(point):
    text = "from ddbench import hookimpl\n@hookimpl\ndef ddbench_synthesizers():\n    raise RuntimeError('no')\n"
    plugins = Plugins(found=[point("good-dist", "good_two", METHOD.format(name="good")), point("bad-dist", "bad_two", text)])
    assert plugins.names("synthesizer") == ["good"]
    assert "RuntimeError: no" in plugins.errors[0].message


def test_two_plugins_with_one_name_are_refused_with_both_owners_named_and_others_still_work(point):
    found = [
        point(f"dist-{name}", f"clash_{name}", METHOD.format(name=same)) for name, same in [("a", "x"), ("b", "x"), ("c", "y")]
    ]
    plugins = Plugins(found=found)
    with pytest.raises(NameClash) as caught:
        plugins.get("synthesizer", "x")
    assert "dist-a" in str(caught.value)
    assert "dist-b" in str(caught.value)
    assert list(plugins.all("synthesizer")) == ["y"]
    assert len(plugins.clashes()) == 1


def test_two_distributions_with_one_entry_point_name_are_both_loaded(point, tmp_path):
    (tmp_path / "first.py").write_text(METHOD.format(name="one"))
    (tmp_path / "second.py").write_text(METHOD.format(name="two"))
    found = [EntryPoint("same", module, "ddbench")._for(FakeDistribution(module)) for module in ("first", "second")]
    assert Plugins(found=found).names("synthesizer") == ["one", "two"]


def test_an_unknown_name_suggests_the_nearest(point):
    plugins = Plugins(found=[point("d", "near", METHOD.format(name="dwa"))])
    with pytest.raises(UnknownName, match=r"unknown synthesizer 'dwaa'\. Did you mean 'dwa'\? See: ddbench list synthesizers"):
        plugins.get("synthesizer", "dwaa")


def test_a_misspelt_hook_and_a_thing_of_the_wrong_kind_are_load_errors(point):
    misspelt = "from ddbench import hookimpl\n@hookimpl\ndef ddbench_synthesizer():\n    return []\n"
    wrong = "from ddbench import hookimpl\n@hookimpl\ndef ddbench_synthesizers():\n    return [object()]\n"
    plugins = Plugins(found=[point("d1", "misspelt", misspelt), point("d2", "wrong", wrong)])
    assert plugins.names("synthesizer") == []
    assert "not a hook of ddbench" in plugins.errors[0].message
    assert "lacks" in plugins.errors[1].message


def test_a_class_instead_of_an_instance_and_a_method_without_options_are_load_errors(point):
    a_class = METHOD.format(name="a").replace("()]", "]")
    bare = "from ddbench import Synthesizer, hookimpl\n\n\nclass Bare(Synthesizer):\n    name, version = 'bare', 1\n\n\n"
    bare += "@hookimpl\ndef ddbench_synthesizers():\n    return [Bare()]\n"
    plugins = Plugins(found=[point("d1", "a_class", a_class), point("d2", "bare", bare)])
    assert plugins.names("synthesizer") == []
    assert "is a class; give an instance of it" in plugins.errors[0].message
    assert "lacks options" in plugins.errors[1].message


def test_only_allowed_plugins_are_loaded(point):
    found = [point("dist-a", "allowed", METHOD.format(name="a")), point("dist-b", "left_out", METHOD.format(name="b"))]
    assert Plugins((), found).names("synthesizer") == []
    assert Plugins(("dist-a",), found).names("synthesizer") == ["a"]
    assert Plugins(("left_out",), found).names("synthesizer") == ["b"]


def test_an_edited_plugin_has_another_hash(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "edited_plugin"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "algorithm.py").write_text("rho = 1")
    module = __import__("edited_plugin")
    before = files_sha256.__wrapped__(module)
    (folder / "README.md").write_text("words do not count")
    assert files_sha256.__wrapped__(module) == before
    (folder / "algorithm.py").write_text("rho = 2")
    assert files_sha256.__wrapped__(module) != before
    sys.modules.pop("edited_plugin")


def test_every_first_party_plugin_loads():
    plugins = Plugins(())
    assert plugins.errors == []
    assert plugins.clashes() == []
    assert {"random", "noise", "herding", "kcenter", "full", "sre2l", "dwa"} <= set(plugins.names("synthesizer"))
    assert plugins.errors == []


def test_a_distributions_metadata_is_read_once(monkeypatch):
    asked = []
    read = Distribution.metadata.fget
    monkeypatch.setattr(Distribution, "metadata", property(lambda self: asked.append(self) or read(self)))
    Plugins(allowed=())
    assert 0 < len(asked) <= 2  # name and version
