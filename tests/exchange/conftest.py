"""A small dataset, a distilled set of it, and files of every kind that hold it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ddbench.data import HeldSplit
from ddbench.testing import toy_dataset

IPC = 3


@pytest.fixture(scope="session")
def data():
    """Four classes of 3×8×8 images, twelve train images each."""
    return toy_dataset()


@pytest.fixture(scope="session")
def facts(data):
    return data.facts


@pytest.fixture(scope="session")
def pixels(data):
    """uint8 (12, 3, 8, 8): three real images of each class, class by class."""
    split = HeldSplit(data)
    index = torch.cat([split.indices(label)[:IPC] for label in range(data.facts.num_classes)])
    return split.images(index)


@pytest.fixture(scope="session")
def labels(facts):
    return torch.arange(facts.num_classes).repeat_interleave(IPC)


@pytest.fixture(scope="session")
def normalised(pixels, facts):
    """The same images as float32, normalised by the dataset's own figures."""
    mean, std = (torch.tensor(numbers).view(1, -1, 1, 1) for numbers in (facts.mean, facts.std))
    return (pixels.float() / 255 - mean) / std


@pytest.fixture
def image_folder(tmp_path, pixels, labels):
    """Return a function that writes an image folder with folders named by `name(label)`."""

    def write(name=lambda label: f"{label:05d}", suffix="png"):
        root = tmp_path / "folder"
        for position, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
            path = root / name(label) / f"{position:04d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
        return root

    return write


@pytest.fixture
def save(tmp_path):
    """Return a function that saves content under a name, by its suffix, and returns the path."""

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npz":
            np.savez_compressed(path, **{key: np.asarray(value) for key, value in content.items()})
        elif path.suffix == ".safetensors":
            save_file({key: value.contiguous() for key, value in content.items()}, path)
        else:
            torch.save(content, path)
        return path

    return write


@pytest.fixture
def saved(save, pixels, labels, normalised):
    """Return a function that saves what `content(images, labels)` gives, of uint8 images or of normalised ones."""

    def write(name, content=lambda images, labels: {"images": images, "labels": labels}, *, floats=False):
        return save(name, content(normalised if floats else pixels, labels))

    return write
