from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ddbench import JobResult
from ddbench.distilled import job_tensors, join_jobs, shown_in_preview, to_pixels, write_preview
from ddbench.errors import ArtefactDamaged


def parts_of(tmp_path, *tensors):
    paths = []
    for number, content in enumerate(tensors):
        paths.append(tmp_path / f"job-{number}.safetensors")
        save_file(content, paths[-1])
    return paths


def a_job(seed, count):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 4, 5), dtype=torch.uint8, generator=generator)
    latents = torch.randn(count, 7, generator=generator)
    return job_tensors(
        JobResult(images, torch.arange(count), soft_labels=torch.rand(count, 2, generator=generator), extras={"latents": latents})
    )


def test_joined_jobs_are_their_concatenation(tmp_path):
    jobs = [a_job(seed, count) for seed, count in enumerate([3, 1, 4])]
    join_jobs(parts_of(tmp_path, *jobs), tmp_path / "data.safetensors")
    joined = load_file(tmp_path / "data.safetensors")
    assert sorted(joined) == ["images", "labels", "latents", "soft_labels"]
    for name, tensor in joined.items():
        assert tensor.equal(torch.cat([job[name] for job in jobs]))


def test_a_scalar_of_each_job_becomes_a_vector(tmp_path):
    join_jobs(parts_of(tmp_path, {"lr": torch.tensor(0.5)}, {"lr": torch.tensor(0.25)}), tmp_path / "out")
    assert load_file(tmp_path / "out")["lr"].tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    "other", [{"images": torch.zeros(1, 3)}, {"images": torch.zeros(1, 2, dtype=torch.uint8)}, {"else": torch.zeros(1, 2)}]
)
def test_jobs_that_do_not_fit_together_are_refused(tmp_path, other):
    with pytest.raises(ArtefactDamaged):
        join_jobs(parts_of(tmp_path, {"images": torch.zeros(1, 2)}, other), tmp_path / "out")


def test_a_job_cut_short_is_refused_by_name(tmp_path):
    paths = parts_of(tmp_path, {"images": torch.zeros(4, 2)})
    paths[0].write_bytes(paths[0].read_bytes()[:-1])
    with pytest.raises(ArtefactDamaged, match="not whole"):
        join_jobs(paths, tmp_path / "out")


def test_pixels_come_back_from_every_space():
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)
    unit = pixels.float() / 255
    normalised = (unit - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    for images, space in [(pixels, "uint8"), (unit, "unit"), (normalised, "normalised")]:
        assert to_pixels(images, space, mean, std).equal(pixels)


def test_whitened_images_are_stretched_to_their_own_range():
    shown = to_pixels(torch.tensor([-3.0, 5.0]).view(1, 1, 1, 2), "zca", (0.5,), (0.5,))
    assert shown.flatten().tolist() == [0, 255]


def test_a_preview_shows_a_row_per_class_enlarged_by_a_whole_factor(tmp_path):
    images = torch.arange(3, dtype=torch.uint8).repeat_interleave(2).view(-1, 1, 1, 1).expand(6, 1, 8, 8) * 100
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    assert shown_in_preview(labels) == [0, 1, 2, 3, 4, 5]
    write_preview(images, labels, tmp_path / "preview.png")
    picture = np.asarray(Image.open(tmp_path / "preview.png"))
    assert picture.shape == (3 * 9 * 8, 2 * 9 * 8, 3)
    assert [int(picture[row * 72 + 10, 10, 0]) for row in range(3)] == [0, 100, 200]


def test_a_preview_shows_ten_images_of_ten_classes_at_most():
    labels = torch.arange(12).repeat(11)
    shown = shown_in_preview(labels)
    assert len(shown) == 100
    assert sorted(set(labels[shown].tolist())) == list(range(10))
