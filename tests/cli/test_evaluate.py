"""`ddbench evaluate` as a user types it: what is asked about, what is refused, what is answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ddbench.cells import Request
from ddbench.cli.app import app
from ddbench.data import HeldSplit
from ddbench.planning import plan
from ddbench.progress import Silent
from ddbench.settings import Settings
from ddbench.workspace import open_workspace

QUICK = ["--protocol", "quick-hard/1", "--students", "convnet1-w32", "--eval-seeds", "1", "--smoke", "0.02", "--threads", "1"]


@pytest.fixture(autouse=True)
def no_other_data(monkeypatch, tmp_path):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DDBENCH_PLUGINS", "")
    monkeypatch.setenv("DDBENCH_STORE", str(tmp_path / "store"))


@pytest.fixture
def real():
    """Float pixels from 0 to 1 and labels of one real digit of each class."""
    data = plan(Request(("random",)), open_workspace(Settings(Path("/nonexistent"), (), ()), Silent())).data
    split = HeldSplit(data)
    return split.images(torch.stack([split.indices(label)[0] for label in range(10)])) / 255, torch.arange(10)


def evaluate(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments), *QUICK])


def test_the_answer_is_a_table_with_random_beside_it_and_the_files(tmp_path, real):
    torch.save(list(real), tmp_path / "mine.pt")
    answered = evaluate(tmp_path / "mine.pt", "--no-class-check", "--json")
    assert answered.exit_code == 0, answered.output
    content = json.loads(answered.stdout)
    assert [record["cell"]["synthesizer"] for record in content["records"]] == ["random"] * 3 + ["external:mine"]
    assert [made["method"] for made in content["made"]] == ["external:mine"]
    assert Path(content["made"][0]["picture"]).is_file()
    assert "1 images per class, pixels from 0 to 1, as its values tell" in answered.stderr
    shown = CliRunner().invoke(app, ["show", content["records"][3]["key"]])
    assert shown.exit_code == 0
    assert "submitted" in shown.stdout


def test_a_dry_run_names_the_cells_and_the_checking_teacher_and_writes_nothing(tmp_path, real):
    torch.save(list(real), tmp_path / "mine.pt")
    answered = evaluate(tmp_path / "mine.pt", "--dry-run", "--teacher", "convnet1-bn-w32")
    assert answered.exit_code == 0, answered.output
    assert "external:mine" in answered.stdout
    assert "teacher scratch:ddbench/convnet1-bn-w32" in answered.stdout
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--space", "normalised", "--zca"], 2, "contradict one another"),
        (["--mean", "0.1,x", "--std", "1"], 2, "no list of numbers"),
        (["--mean", "nan", "--std", "1"], 2, "no list of numbers"),
        (["--mean", "0.3"], 2, "go together"),
        (["--ipc", "7"], 2, "not ipc 7"),
        (["--dataset", "nowhere"], 2, "nowhere"),
        (["-o", "rho=1"], 2, "rho"),
        (["--space", "uint8", "--name", "a/b"], 2, "no name for a method"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_flags_that_cannot_be_are_a_sentence_and_exit_2(tmp_path, real, arguments, code, words):
    torch.save(list(real), tmp_path / "mine.pt")
    answered = evaluate(tmp_path / "mine.pt", "--no-class-check", *arguments)
    assert answered.exit_code == code
    assert words in answered.stderr
    assert answered.stderr.count("\n") <= 2
    assert not (tmp_path / "store").exists()


def test_a_scale_that_values_do_not_tell_is_asked_about_with_the_flags_that_tell_it(tmp_path, real):
    torch.save([real[0] * 2 - 0.7, real[1]], tmp_path / "mine.pt")
    answered = evaluate(tmp_path / "mine.pt", "--no-class-check")
    assert answered.exit_code == 2
    assert all(flag in answered.stderr for flag in ("--zca", "--mean", "--std", "--space normalised"))


def test_a_file_with_code_is_exit_3_and_nothing_is_written(tmp_path):
    torch.save({"images": Path("x")}, tmp_path / "mine.pt")
    answered = evaluate(tmp_path / "mine.pt")
    assert answered.exit_code == 3
    assert answered.stderr.startswith("error: ")
    assert "nothing of it was run" in answered.stderr
    assert not (tmp_path / "store").exists()
