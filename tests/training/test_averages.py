"""Moving averages of weights against their definition."""

from __future__ import annotations

import pytest
import torch

from ddbench.training.averages import Average


def _numbers(average, network, values):
    """Return the average of a parameter after it took these values in turn."""
    for value in values:
        with torch.no_grad():
            network.head.bias.fill_(value)
        average.update(network)
    return float(average.values["head.bias"][0])


def test_a_young_average_is_the_plain_mean(small):
    network = small()
    assert _numbers(Average(network, 0.99), network, [1.0, 2.0, 6.0]) == pytest.approx(3.0)


def test_an_old_average_forgets_at_its_rate(small):
    network, decay = small(), 0.5
    values, expected = [1.0, 2.0, 6.0, -3.0, 8.0], 0.0
    for update, value in enumerate(values):
        keep = min(decay, update / (update + 1))
        expected = keep * expected + (1 - keep) * value
    assert _numbers(Average(network, decay), network, values) == pytest.approx(expected)


def test_statistics_are_averaged_and_counters_are_the_latest(small):
    network = small()
    average = Average(network, 0.99)
    for count in (1, 2):
        network.norm.running_mean.fill_(float(count))
        network.norm.num_batches_tracked.fill_(10 * count)
        average.update(network)
    average.apply(network)
    assert network.norm.running_mean[0].item() == pytest.approx(1.5)
    assert network.norm.num_batches_tracked.item() == 20
