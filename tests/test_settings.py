from __future__ import annotations

import os
from pathlib import Path

import pytest

from ddbench.errors import BadOption
from ddbench.settings import load_settings


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "ddbench.toml").write_text('store = "kept"\ndata = ["images"]\nplugins = ["mine"]\n')
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    return tmp_path


def test_the_projects_file_is_found_above_and_its_paths_are_relative_to_it(project):
    settings = load_settings(environ={})
    assert settings.store == project / "kept"
    assert settings.data_roots[0] == project / "images"
    assert settings.plugins == ("mine",)
    assert settings.sources["store"] == str(project / "ddbench.toml")


def test_the_environment_goes_before_the_project_and_a_flag_before_both(project):
    environ = {"DDBENCH_STORE": "/from/env", "DDBENCH_DATA": os.pathsep.join(["/a", "/b"]), "DDBENCH_PLUGINS": ""}
    settings = load_settings(environ=environ)
    assert settings.store == Path("/from/env")
    assert settings.data_roots[:2] == (Path("/a"), Path("/b"))
    assert settings.plugins == ()
    flagged = load_settings(store=project / "flag", data_roots=[project / "mine"], environ=environ)
    assert flagged.store == project / "flag"
    assert flagged.data_roots[0] == project / "mine"
    assert flagged.sources["store"] == "--store"


def test_without_anything_the_users_directories_serve(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = load_settings(environ={})
    assert settings.store.name == "store"
    assert settings.plugins is None
    assert len(settings.data_roots) == 1


@pytest.mark.parametrize(("text", "said"), [("stroe = 'x'", "unknown key 'stroe'"), ("store = ", "is not TOML")])
def test_a_wrong_project_file_is_named(tmp_path, monkeypatch, text, said):
    (tmp_path / "ddbench.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadOption, match=said):
        load_settings(environ={})
