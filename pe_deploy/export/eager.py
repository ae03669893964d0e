"""A torch module as a predictor, and the golden vectors that it gives."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pe_deploy.bundle import GoldenCase
from pe_deploy.parity import Predictor


def eager_predictor(module: nn.Module, dtype: torch.dtype = torch.float32) -> Predictor:
    """Run a copy of a module in eval mode, with its weights as `dtype`."""
    frozen = copy.deepcopy(module).eval().requires_grad_(False).to(dtype)

    def predict(input_ids: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        with torch.inference_mode():
            logits: NDArray[np.floating[Any]] = frozen(torch.from_numpy(input_ids)).numpy()
        return logits

    return predict


def golden_cases(module: nn.Module, inputs: Sequence[NDArray[np.int64]]) -> list[GoldenCase]:
    """The logits of a module for each input, in float64 and in float32."""
    exact, single = eager_predictor(module, torch.float64), eager_predictor(module)
    return [
        GoldenCase(
            ids,
            exact(ids).astype(np.float64, copy=False),
            single(ids).astype(np.float32, copy=False),
        )
        for ids in inputs
    ]
