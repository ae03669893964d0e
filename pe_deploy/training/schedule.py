"""The optimizer, and how large its steps are as training goes on."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import Optimizer

from pe_deploy.model_config import TrainConfig

WARM_UP = 0.1
"""The share of the steps over which `cosine` rises to the learning rate."""


def optimizer_of(model: nn.Module, config: TrainConfig) -> Optimizer:
    """Adam, the notebook's; with `weight_decay`, AdamW."""
    rate = config.learning_rate
    if config.weight_decay:
        return torch.optim.AdamW(
            model.parameters(), lr=rate, weight_decay=config.weight_decay, fused=True
        )
    return torch.optim.Adam(model.parameters(), lr=rate, fused=True)


def learning_rate_at(step: int, steps: int, config: TrainConfig) -> float:
    """The learning rate of a step, counted from 0, of so many.

    `cosine` rises in a line over the first tenth, then falls to 0 along half a cosine: Loshchilov
    and Hutter (2017), "SGDR", without restarts; the rise as in Goyal et al. (2017), "Accurate,
    large minibatch SGD".

    >>> config = TrainConfig(learning_rate=1.0, schedule="cosine")
    >>> [round(learning_rate_at(step, 20, config), 2) for step in (0, 1, 2, 11, 19)]
    [0.5, 1.0, 1.0, 0.5, 0.01]
    """
    if config.schedule == "constant":
        return config.learning_rate
    rising = WARM_UP * steps
    if step < rising:
        return config.learning_rate * min(1.0, (step + 1) / rising)
    done = (step - rising) / (steps - rising)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))
