"""Files of every format that other people write are scored by `ddbench evaluate`, the order of their classes checked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from ddbench.cells import Request
from ddbench.cli.app import app
from ddbench.data import HeldSplit
from ddbench.distilled import DistilledSet
from ddbench.planning import plan
from ddbench.progress import Silent
from ddbench.settings import Settings
from ddbench.store import Store
from ddbench.workspace import open_workspace

IPC = 10
TEACHER = ["--teacher", "convnet1-bn-w32", "-o", "teacher.epochs=4"]
QUICK = ["--protocol", "quick-hard/1", "--students", "convnet1-w32", "--eval-seeds", "1", "--smoke", "0.02", "--threads", "1"]
SWAPPED = torch.tensor([3, 1, 0, 2, 5, 4, 9, 7, 6, 8])
"""A wrong order of classes: what each label is said to be."""


def as_recovered_folder(folder, images, labels):
    """Write JPEGs as the released code of SRe2L lays them out, without a manifest."""
    numbers = dict.fromkeys(range(10), 0)
    for image, label in zip(images, labels.tolist(), strict=True):
        path = folder / "syn" / f"new{label:03d}" / f"class{label:03d}_id{numbers[label]:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path, quality=95)
        numbers[label] += 1
    return folder / "syn"


def as_npz(folder, images, labels):
    """Write channels last, as most people's arrays are."""
    np.savez(folder / "set.npz", x=images.permute(0, 2, 3, 1).numpy(), y=labels.numpy().astype(np.int32))
    return folder / "set.npz"


def as_safetensors(folder, images, labels):
    """Write floats from 0 to 1, and labels one-hot."""
    save_file({"images": images / 255, "labels": torch.nn.functional.one_hot(labels, 10).float()}, folder / "set.safetensors")
    return folder / "set.safetensors"


FORMATS = {"imagefolder": as_recovered_folder, "npz": as_npz, "safetensors": as_safetensors}


@pytest.fixture(autouse=True)
def no_other_data(monkeypatch, tmp_path):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("DDBENCH_PLUGINS", "")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """One store for all, so that the teacher and the controls are made once."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def digits():
    """uint8 images and labels: ten real digits of each class, class by class."""
    split = HeldSplit(plan(Request(("random",)), open_workspace(Settings(Path("/nonexistent"), (), ()), Silent())).data)
    index = torch.cat([split.indices(label)[:IPC] for label in range(10)])
    return split.images(index), torch.arange(10).repeat_interleave(IPC)


def evaluate(path, store):
    return CliRunner().invoke(app, ["evaluate", str(path), *TEACHER, *QUICK, "--store", str(store), "--json"])


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_from_elsewhere_is_scored_beside_random_once_its_classes_agree_with_a_teacher(name, tmp_path, digits, store):
    answered = evaluate(FORMATS[name](tmp_path, *digits), store)
    assert answered.exit_code == 0, answered.output
    *controls, brought = json.loads(answered.stdout)["records"]
    assert [record["cell"]["synthesizer"] for record in controls] == ["random"] * 3
    values = brought["options"]["synthesizer"]["values"]
    assert (values["format"], values["class_check"], brought["cell"]["ipc"]) == (name, "convnet1-bn-w32", IPC)
    assert [metric["name"] for metric in brought["metrics"]] == [metric["name"] for metric in controls[0]["metrics"]]
    assert brought["training"] | {"curve": ()} == controls[0]["training"] | {"curve": ()}


@pytest.mark.parametrize(("name", "apart"), [("imagefolder", 12), ("npz", 0), ("safetensors", 0)])
def test_what_is_scored_are_the_images_of_the_file(name, apart, tmp_path, digits, store):
    record = json.loads(evaluate(FORMATS[name](tmp_path, *digits), store).stdout)["records"][-1]
    kept = DistilledSet.open(Store(store).find("distilled", record["distilled_key"]))
    order = torch.argsort(kept.labels, stable=True)
    images = kept.images[order] * (255 if kept.space == "unit" else 1)
    assert kept.labels[order].equal(digits[1])
    assert (images.float() - digits[0].float()).abs().max() <= apart + 1e-4


@pytest.mark.parametrize("name", FORMATS)
def test_a_wrong_order_of_classes_is_found_in_every_format_and_nothing_is_scored(name, tmp_path, digits, store):
    before = Store(store).record_keys()
    answered = evaluate(FORMATS[name](tmp_path, digits[0], SWAPPED[digits[1]]), store)
    assert answered.exit_code == 1
    assert "seems to be" in answered.stderr
    assert Store(store).record_keys() == before
