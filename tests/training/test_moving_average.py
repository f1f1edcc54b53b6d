"""The moving average of weights: what it remembers, copies and restores."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kpbe.training.moving_average import MovingAverage


def line(value: float) -> nn.Linear:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return network


def weight(average: MovingAverage) -> float:
    return average.network.state_dict()["weight"].item()


def test_early_updates_forget_the_untrained_weights_and_late_ones_follow_the_decay():
    average = MovingAverage(line(0.0), 0.5)
    average.update(line(1.0))  # decay 1/10
    assert weight(average) == pytest.approx(0.9)
    average.updates = 1000
    average.update(line(2.0))
    assert weight(average) == pytest.approx(0.5 * 0.9 + 0.5 * 2.0)


def test_statistics_are_averaged_and_counters_copied():
    network = nn.BatchNorm1d(2)
    average = MovingAverage(network, 0.9)
    network(torch.randn(8, 2) + 5)
    average.update(network)
    averaged = average.network.state_dict()
    assert averaged["num_batches_tracked"] == 1
    mean = network.state_dict()["running_mean"]
    torch.testing.assert_close(averaged["running_mean"], 0.9 * mean)


def test_the_average_neither_trains_nor_shares_memory():
    network = line(1.0)
    average = MovingAverage(network, 0.9)
    nn.init.constant_(network.weight, 3.0)
    assert weight(average) == 1.0
    assert not average.network.training and not any(p.requires_grad for p in average.network.parameters())


def test_restored_average_goes_on_as_the_original():
    one, other = MovingAverage(line(0.0), 0.99), MovingAverage(line(7.0), 0.99)
    one.update(line(1.0))
    other.load_state_dict(one.state_dict())
    for average in (one, other):
        average.update(line(2.0))
    assert weight(one) == weight(other)
