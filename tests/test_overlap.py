"""A distilled set that holds images of the test split is refused, however its pixels are kept; train's own images never are."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import ddbench
from ddbench import students
from ddbench.cli.app import app
from ddbench.data import HeldSplit, TestSplit, open_dataset
from ddbench.errors import TestImagesInSet
from ddbench.overlap import NEAR, refuse_test_images
from ddbench.plugins import Plugins
from ddbench.training.zca import whitening_of

PLACES = torch.tensor([3, 400, 900])


@pytest.fixture(scope="module")
def digits():
    data = open_dataset("digits", roots=[], sources=Plugins(()).all("dataset"))
    return HeldSplit(data), TestSplit(data)


def a_set(images, space="uint8"):
    return SimpleNamespace(images=images, space=space)


def normalised(images, facts):
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (facts.mean, facts.std))
    return (images.float() / 255 - mean) / std


def in_space(images, space, train):
    """Return images of the split as a set in `space` would keep them."""
    if space == "uint8":
        return images
    if space == "unit":
        return images.float() / 255
    return normalised(images, train.facts) if space == "normalised" else whitening_of(train).apply(images)


@pytest.mark.parametrize("space", ["uint8", "unit", "normalised", "zca"])
def test_three_test_images_among_real_ones_are_counted_and_named(digits, space):
    train, test = digits
    images = torch.cat([train.images(torch.arange(20)), test.images(PLACES)])
    with pytest.raises(TestImagesInSet, match=r"^3 of the 23 images of the set \(at 20, 21, 22\) are in the test split of digits"):
        refuse_test_images(a_set(in_space(images, space, train), space), train, test)


@pytest.mark.parametrize("space", ["uint8", "unit", "normalised", "zca"])
def test_the_whole_train_split_passes(digits, space):
    train, test = digits
    images = train.images(torch.arange(sum(train.facts.counts)))
    refuse_test_images(a_set(in_space(images, space, train), space), train, test)


def test_what_rounding_and_noise_below_the_bound_leave_is_found_and_more_is_not(digits):
    train, test = digits
    images = test.images(PLACES).float() / 255
    with pytest.raises(TestImagesInSet, match="3 of the 3"):
        refuse_test_images(a_set((images + 0.9 * NEAR).clamp(0, 1), "unit"), train, test)
    refuse_test_images(a_set(images * 0.9, "unit"), train, test)


def test_an_image_that_stands_in_both_splits_is_train_s_own(digits):
    train, test = digits
    image = a_set(test.images(PLACES[:1]))

    class Twin(HeldSplit):
        def images(self, index):
            found = super().images(index)
            found[index == 0] = test.images(PLACES[:1])
            return found

    with pytest.raises(TestImagesInSet):
        refuse_test_images(image, train, test)
    refuse_test_images(image, Twin(open_dataset("digits", roots=[], sources=Plugins(()).all("dataset"))), test)


def test_every_image_of_many_is_found_as_a_plain_comparison_finds_them(digits):
    train, test = digits
    generator = torch.Generator().manual_seed(0)
    share = torch.rand(200, 1, 1, 1, generator=generator) * 0.02
    images = test.images(torch.randint(len(test), (200,), generator=generator)).float() / 255
    moved = images * (1 - share) + share * torch.rand(images.shape, generator=generator)
    pixels = (moved * 255).round() / 255
    every = test.images(torch.arange(len(test))).float() / 255
    plain = sum(bool(((every - pixel).abs().mean(dim=(1, 2, 3)) <= NEAR).any()) for pixel in pixels)
    assert 20 < plain < 180
    with pytest.raises(TestImagesInSet, match=rf"^{plain} of the 200"):
        refuse_test_images(a_set(moved, "unit"), train, test)


def test_evaluate_refuses_such_a_set_with_one_sentence_and_keeps_no_record(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("DDBENCH_PLUGINS", "")
    _, test = digits
    labels = test.labels()
    chosen = torch.cat([(labels == label).nonzero().flatten()[:1] for label in range(10)])
    save_file({"images": test.images(chosen), "labels": labels[chosen]}, tmp_path / "set.safetensors")
    trained, train = [], students.train_student

    def counted(student, data, *rest, **more):
        trained.append(data.images)
        return train(student, data, *rest, **more)

    monkeypatch.setattr(students, "train_student", counted)
    asked = ["evaluate", str(tmp_path / "set.safetensors"), "--protocol", "quick-hard/1", "--students", "convnet1-w32"]
    few = [
        "--eval-seeds",
        "3",
        "--smoke",
        "0.02",
        "--threads",
        "1",
        "--no-class-check",
        "--store",
        str(tmp_path / "store"),
        "--json",
    ]
    result = CliRunner().invoke(app, [*asked, *few])
    assert result.exit_code != 0
    assert "10 of the 10 images of the set" in result.stderr
    kept = [json.loads(path.read_text()) for path in (tmp_path / "store" / "records").glob("*.json")]
    assert [record["cell"]["synthesizer"] for record in kept if record["cell"]["synthesizer"] != "random"] == []
    assert sum(torch.equal(images, test.images(chosen)) for images in trained) == 1  # not one for each eval seed
    assert result.stderr.count("in the test split") == 1


def test_a_set_is_looked_through_once_for_all_its_students(tmp_path, monkeypatch):
    looked = []
    refuse = students.refuse_test_images
    monkeypatch.setattr(students, "refuse_test_images", lambda *given: looked.append(given[0].sha256) or refuse(*given))
    asked = {"protocol": "quick-hard/1", "students": ["convnet1-w32"], "ipc": 1, "smoke": 0.02, "eval_seeds": 2, "threads": 1}
    assert len(ddbench.run("random", store=tmp_path, **asked).records) == 6
    assert len(looked) == len(set(looked)) == 3
