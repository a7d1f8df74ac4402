"""full: every train image once."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from ddbench_plugins.baselines import Full, full


@pytest.mark.parametrize("chunk", [1, 4, 1000])
@pytest.mark.parametrize("ipc", [0, 1, 50])
def test_the_set_is_the_train_split_as_a_multiset_whatever_ipc_and_chunk(distil, train, monkeypatch, ipc, chunk):
    monkeypatch.setattr(full, "CHUNK", chunk)
    results = distil(Full(), ipc)
    images, labels = torch.cat([r.images for r in results]), torch.cat([r.labels for r in results])
    found = Counter((image.numpy().tobytes(), int(label)) for image, label in zip(images, labels, strict=True))
    expected = Counter((image.numpy().tobytes(), int(label)) for image, label in zip(train.pixels, train.labels, strict=True))
    assert found == expected


def test_no_job_holds_more_than_a_chunk(train, monkeypatch):
    monkeypatch.setattr(full, "CHUNK", 5)
    jobs = Full().jobs(Full.options(), train.facts, 0, 0)
    assert [len(job.labels) for job in jobs] == [5, 2, 5, 5, 2, 5, 4]
    assert [job.index for job in jobs] == list(range(7))
