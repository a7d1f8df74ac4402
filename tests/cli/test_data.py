from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ddbench.cli.app import app
from ddbench.cli.data import _reported, first_writable
from ddbench.errors import EnvironmentProblem, Offline
from ddbench.progress import Silent


def data(*arguments: str):
    return CliRunner().invoke(app, ["data", *arguments])


def test_digits_are_there_without_network_and_cifar_says_how_to_get_it(tmp_path):
    rows = {row["name"]: row for row in json.loads(data("list", "--json", "--data-root", str(tmp_path)).stdout)}
    assert rows["digits"]["folder"]
    assert rows["digits"]["shape"] == [1, 8, 8]
    text = data("list", "--data-root", str(tmp_path)).stdout
    assert "ddbench data prepare tiny-imagenet" in text


def test_preparing_an_unknown_dataset_suggests_the_nearest(tmp_path):
    result = data("prepare", "cifar11", "--data-root", str(tmp_path))
    assert result.exit_code == 2
    assert "cifar1" in result.stderr


def test_what_can_neither_be_found_nor_downloaded_says_what_to_do(tmp_path):
    result = data("prepare", "imagenette", "--data-root", str(tmp_path))
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1].startswith("error: ")


def test_offline_is_handed_on(monkeypatch, tmp_path):
    asked = {}

    def refuse(*_, **given):
        asked.update(given)
        raise Offline("it would be downloaded")

    monkeypatch.setattr("ddbench.data.opening.prepare", refuse)
    assert data("prepare", "cifar10", "--offline", "--data-root", str(tmp_path)).exit_code == 3
    assert asked["offline"] is True


def test_the_first_root_that_can_be_written_is_taken(tmp_path):
    (tmp_path / "file").write_text("")
    assert first_writable([tmp_path / "file", tmp_path / "new"]) == tmp_path / "new"
    with pytest.raises(EnvironmentProblem, match="--data-root"):
        first_writable([tmp_path / "file"])


def test_a_download_is_told_in_tenths_not_in_bytes():
    silent = Silent()
    report = _reported(silent)
    for done in range(1001):
        report("downloading", done, 1000)
    assert silent.notes[0] == "downloading"
    assert len(silent.notes) == 11
