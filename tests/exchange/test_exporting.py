"""What is exported and brought again is the same set, and scores the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import ddbench
from ddbench.api.synthesizer import JobResult, Synthesizer, one_job
from ddbench.cells import Request
from ddbench.cli.app import app
from ddbench.errors import ArtefactDamaged, BadRequest, EnvironmentProblem
from ddbench.exchange.bringing import Elsewhere, bring, make_sets
from ddbench.exchange.exporting import export
from ddbench.exchange.opening import Telling, open_elsewhere
from ddbench.exchange.spaces import Asked
from ddbench.options import NoOptions
from ddbench.progress import Silent
from ddbench.runner import run
from ddbench.settings import Settings
from ddbench.testing import Bench, toy_dataset
from ddbench.workspace import open_workspace

FORMS = ["safetensors", "npz", "imagefolder"]


class Odd(Synthesizer):
    """Gives images of one space in an order of its own, with soft labels, a step size and latents."""

    name = "odd"
    version = 1
    options = NoOptions

    def __init__(self, space):
        self.space = space

    def start(self, o):
        return "noise"

    def needs(self, o, facts):
        return {}

    def jobs(self, o, facts, ipc, seed):
        from dataclasses import replace

        (job,) = one_job(facts, ipc, seed)
        return [replace(job, labels=tuple(sorted(job.labels, key=lambda label: (label * 7 + 3) % 4)))]

    def run(self, ctx, o, group):
        count = len(group[0].labels)
        images = torch.rand(count, *ctx.train.facts.shape, generator=ctx.generator)
        images = (images * 255).to(torch.uint8) if self.space == "uint8" else images if self.space == "unit" else images * 4 - 2
        soft = torch.rand(count, ctx.train.facts.num_classes, generator=ctx.generator).softmax(dim=1)
        extras = {"lr": torch.tensor([0.013]), "latents.w": torch.randn(count, 5, generator=ctx.generator)}
        return [JobResult(images, torch.tensor(group[0].labels), self.space, soft, extras)]


@pytest.fixture
def made(tmp_path):
    """Return a function that makes a set whose images are in a space."""
    bench = Bench(tmp_path / "store", toy_dataset())
    return lambda space: bench.distil(Odd(space), ipc=2)


def again(path):
    return open_elsewhere(path, toy_dataset().facts, Telling())


@pytest.mark.parametrize(
    ("space", "form"),
    [("uint8", form) for form in FORMS] + [(space, form) for space in ("unit", "normalised", "zca") for form in FORMS[:2]],
)
def test_every_tensor_comes_back_bit_by_bit_and_in_order(tmp_path, made, space, form):
    kept = made(space)
    done = export(kept, tmp_path / "out", form=form)
    assert not done.lossy
    opened = again(tmp_path / "out")
    (result,) = opened.results
    assert opened.raw.format == form
    assert result.space == space
    assert result.images.equal(kept.images)
    assert result.labels.equal(kept.labels)
    assert result.soft_labels.equal(kept.soft_labels)
    assert {name: tensor.tolist() for name, tensor in result.extras.items()} == {
        name: tensor.tolist() for name, tensor in kept.extras.items()
    }


@pytest.mark.parametrize("form", FORMS)
def test_the_manifest_travels_along(tmp_path, made, form):
    kept = made("uint8")
    export(kept, tmp_path / "out", form=form)
    content = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert content["set"] == json.loads((kept.folder / "manifest.json").read_text())
    assert (content["format"], content["lossy"]) == (form, False)
    assert again(tmp_path / "out").raw.stated.made_by == "odd"


def test_image_folders_read_as_other_tools_read_them(tmp_path, made):
    from torchvision.datasets import ImageFolder

    kept = made("uint8")
    export(kept, tmp_path / "out", form="imagefolder")
    found = ImageFolder(str(tmp_path / "out"))
    assert found.classes == ["00000", "00001", "00002", "00003"]
    assert sorted(label for _, label in found.samples) == [0, 0, 1, 1, 2, 2, 3, 3]
    path, label = found.samples[0]
    position = int(Path(path).stem)
    assert label == int(kept.labels[position])
    assert np.array_equal(np.asarray(Image.open(path)).transpose(2, 0, 1), kept.images[position].numpy())


def test_without_its_manifest_an_export_is_still_a_set(tmp_path, made):
    kept = made("uint8")
    for form in FORMS:
        export(kept, tmp_path / form, form=form)
        (tmp_path / form / "manifest.json").unlink()
    assert again(tmp_path / "safetensors" / "data.safetensors").results[0].images.equal(kept.images)
    assert again(tmp_path / "npz" / "data.npz").results[0].images.equal(kept.images)


@pytest.mark.parametrize("space", ["unit", "normalised"])
def test_float_images_are_refused_as_image_files_or_marked_lossy(tmp_path, made, space):
    kept = made(space)
    with pytest.raises(BadRequest, match="--lossy"):
        export(kept, tmp_path / "out", form="imagefolder")
    assert list(tmp_path.iterdir()) == [tmp_path / "store"]
    assert export(kept, tmp_path / "out", form="imagefolder", lossy=True).lossy
    opened = again(tmp_path / "out")
    assert opened.raw.stated.lossy
    assert opened.read.space == "uint8"


def test_whitened_images_are_no_image_files_whatever_is_asked(tmp_path, made):
    with pytest.raises(BadRequest, match="whitened"):
        export(made("zca"), tmp_path / "out", form="imagefolder", lossy=True)


def test_nothing_that_is_there_is_overwritten(tmp_path, made):
    kept = made("uint8")
    (tmp_path / "out").mkdir()
    export(kept, tmp_path / "out", form="npz")
    with pytest.raises(BadRequest, match="there already"):
        export(kept, tmp_path / "out", form="npz")
    (tmp_path / "file").write_text("mine")
    with pytest.raises((BadRequest, EnvironmentProblem)):
        export(kept, tmp_path / "file" / "out", form="npz")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failed_export_leaves_nothing(tmp_path, made, monkeypatch):
    kept = made("uint8")
    monkeypatch.setattr("ddbench.exchange.exporting.save_image", lambda array, path: path.write_bytes(b"x") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(kept, tmp_path / "out", form="imagefolder")
    assert list(tmp_path.iterdir()) == [tmp_path / "store"]


def test_an_edited_export_is_not_scored(tmp_path, made):
    export(made("uint8"), tmp_path / "out", form="imagefolder")
    image = next((tmp_path / "out").glob("*/*.png"))
    Image.new("RGB", (8, 8)).save(image)
    with pytest.raises(ArtefactDamaged, match="does not match the checksum"):
        again(tmp_path / "out")


def test_flags_that_contradict_a_manifest_are_refused(tmp_path, made):
    export(made("unit"), tmp_path / "out", form="npz")
    with pytest.raises(BadRequest, match="manifest"):
        open_elsewhere(tmp_path / "out", toy_dataset().facts, Telling(Asked(space="zca")))


def test_a_set_of_other_classes_or_another_order_of_them_is_refused(tmp_path, made):
    from dataclasses import replace

    export(made("uint8"), tmp_path / "out", form="npz")
    from ddbench.errors import BadSet

    other = replace(toy_dataset().facts, classes=("1", "0", "2", "3"))
    with pytest.raises(BadSet, match="in this order"):
        open_elsewhere(tmp_path / "out", other, Telling())


HARD = {"protocol": "quick-hard/1", "students": ("convnet1-w32",), "eval_seeds": 1, "smoke": 0.02, "threads": 1}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_exported_by_command_and_brought_again_scores_the_same(tmp_path, monkeypatch, form):
    monkeypatch.setenv("DDBENCH_DATA", str(tmp_path / "no-data"))
    store = tmp_path / "store"
    record = ddbench.run("random", store=store, ipc=2, **{**HARD, "students": ["convnet1-w32"]}).records[1]
    out = tmp_path / "out"
    arguments = ["export", record.key, "--format", form, "--out", str(out), "--store", str(store), "--json"]
    answered = CliRunner().invoke(app, arguments)
    assert answered.exit_code == 0, answered.output
    assert json.loads(answered.stdout)["images"] == 20
    workspace = open_workspace(Settings(store, (), ()), Silent())
    brought = bring(Elsewhere(out, class_check=False), Request((), **HARD), workspace)
    make_sets(brought, workspace)
    found = run(brought.planned, workspace).records[-1]
    assert found.cell.synthesizer == "external:random"
    assert (found.metrics, found.sidecar) == (record.metrics, record.sidecar)
    assert found.options["synthesizer"].values["format"] == form
