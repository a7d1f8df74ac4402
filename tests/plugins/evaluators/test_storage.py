"""storage against closed forms."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from ddbench import DatasetFacts, NoOptions, TrainedNetwork
from ddbench.distilled import DistilledSet
from ddbench_plugins.evaluators import Storage

FACTS = DatasetFacts(
    name="toy",
    classes=("a", "b"),
    shape=(3, 4, 4),
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    counts=(30, 10),
    test_images=5,
    sha256="0" * 64,
)


def stored_set(folder, **tensors) -> DistilledSet:
    save_file(tensors, folder / "data.safetensors")
    return DistilledSet(folder, {"space": "uint8"})


def metrics(distilled, *, teacher=None, soft_label_bytes=0) -> dict[str, float]:
    context = SimpleNamespace(facts=FACTS, distilled=distilled, teacher=teacher, soft_label_bytes=soft_label_bytes)
    found = Storage().evaluate(context, NoOptions())
    assert not any(metric.higher_is_better for metric in found)
    return {metric.name: metric.value for metric in found}


def network(parameters: int) -> TrainedNetwork:
    module = torch.nn.Linear(parameters, 1, bias=False)
    return TrainedNetwork(module, FACTS.classes, torch.zeros(3), torch.ones(3))


@pytest.fixture
def plain(tmp_path):
    return stored_set(tmp_path, images=torch.zeros(4, 3, 4, 4, dtype=torch.uint8), labels=torch.zeros(4, dtype=torch.int64))


def test_a_plain_set_costs_a_byte_a_pixel_and_eight_a_label(plain):
    found = metrics(plain)
    assert found == {
        "image_bytes": 4 * 48,
        "label_bytes": 4 * 8,
        "extra_bytes": 0,
        "total_bytes": 4 * 56,
        "real_ratio": pytest.approx(4 / 40),
    }


def test_the_whole_train_split_has_ratio_one(tmp_path):
    whole = stored_set(tmp_path, images=torch.zeros(40, 3, 4, 4, dtype=torch.uint8), labels=torch.zeros(40, dtype=torch.int64))
    assert metrics(whole)["real_ratio"] == 1.0


def test_float_images_learnt_labels_and_extras_are_charged_but_provenance_is_not(tmp_path):
    found = metrics(
        stored_set(
            tmp_path,
            images=torch.zeros(2, 3, 4, 4),
            labels=torch.zeros(2, dtype=torch.int64),
            soft_labels=torch.zeros(2, 2),
            step_size=torch.zeros(1),
            real_index=torch.zeros(2, dtype=torch.int64),
        )
    )
    assert found["image_bytes"] == 2 * 48 * 4
    assert found["label_bytes"] == 2 * 8 + 2 * 2 * 4
    assert found["extra_bytes"] == 4
    assert found["total_bytes"] == found["image_bytes"] + found["label_bytes"] + found["extra_bytes"]


@pytest.mark.parametrize(("stored", "charged"), [(1000, 1000), (400 * 10**6, 4 * 500)])
def test_answers_of_a_teacher_cost_the_less_of_their_storage_and_its_weights(plain, stored, charged):
    found = metrics(plain, teacher=network(parameters=500), soft_label_bytes=stored)
    assert found["label_bytes"] == 4 * 8 + charged


def test_stored_answers_are_charged_whole_where_there_is_no_teacher_to_hand_over(plain):
    assert metrics(plain, soft_label_bytes=7000)["label_bytes"] == 4 * 8 + 7000
