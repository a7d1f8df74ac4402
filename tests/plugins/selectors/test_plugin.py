"""What the selectors ask for, and the two that need nothing."""

from __future__ import annotations

import pytest
import torch

from ddbench import Candidate, Job
from ddbench.plugins import Plugins
from ddbench.testing import toy_dataset
from ddbench_plugins.selectors import Cam, Feature, Last, Loss

FACTS = toy_dataset().facts
IMAGE, LABEL = torch.zeros(1, 3, 8, 8), torch.zeros(1, dtype=torch.int64)


def candidate(loss, step):
    return Candidate(IMAGE, LABEL, torch.tensor(loss), step)


def test_they_come_in_through_the_entry_point():
    assert {"cam", "feature", "last", "loss"} <= set(Plugins(()).names("selector"))


@pytest.mark.parametrize("selector", [Cam(), Feature()])
def test_a_classifier_is_asked_for_by_name_with_its_epochs(selector):
    (need,) = selector.needs(selector.options(network="scratch:convnet3"), FACTS).values()
    assert (need.kind, need.name, need.options) == ("teacher", "scratch:convnet3", {"epochs": 30})


def test_cam_and_feature_share_one_classifier():
    assert Cam().needs(Cam.options(), FACTS) == Feature().needs(Feature.options(), FACTS)


@pytest.mark.parametrize("selector", [Last(), Loss()])
def test_last_and_loss_need_nothing(selector):
    assert selector.needs(selector.options(), FACTS) == {}


def test_last_takes_the_latest_and_loss_the_lowest():
    job = Job(0, (0,), 0)
    met = [candidate(2.0, 0), candidate(1.0, 5), candidate(3.0, 10)]
    last, loss = (selector.start(None, selector.options(), job) for selector in (Last(), Loss()))
    assert min(met, key=last.score).step == 10
    assert min(met, key=loss.score).step == 5
