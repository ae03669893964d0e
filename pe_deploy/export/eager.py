"""A torch module as a predictor, and the golden vectors that it gives."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pe_deploy.bundle import GoldenCase
from pe_deploy.config import Signature
from pe_deploy.errors import ExportError
from pe_deploy.parity import Predictor, golden_inputs


def eager_predictor(module: nn.Module, dtype: torch.dtype = torch.float32) -> Predictor:
    """Run a copy of a module in eval mode, with its weights as `dtype`."""
    frozen = copy.deepcopy(module).eval().requires_grad_(False).to(dtype)

    def predict(input_ids: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        with torch.inference_mode():
            logits: NDArray[np.floating[Any]] = frozen(torch.from_numpy(input_ids)).numpy()
        return logits

    return predict


def golden_cases(module: nn.Module, signature: Signature) -> list[GoldenCase]:
    """The logits of a module for each golden input, in float64 and in float32.

    Raises:
        ExportError: the module fails on an input that its signature allows, or answers with
            another shape or dtype.
    """
    exact, single = eager_predictor(module, torch.float64), eager_predictor(module)
    return [
        GoldenCase(
            ids,
            _answer(exact, ids, signature, np.dtype(np.float64)),
            _answer(single, ids, signature, np.dtype(np.float32)),
        )
        for ids in golden_inputs(signature)
    ]


def _answer(
    predict: Predictor, ids: NDArray[np.int64], signature: Signature, dtype: np.dtype[Any]
) -> NDArray[Any]:
    batch, length = ids.shape
    try:
        logits = predict(ids)
        found = f"{logits.dtype} {list(logits.shape)}"
    except Exception as error:
        line = " ".join(str(error).split())
        raise ExportError(
            f"the module fails in {dtype} on ids of batch {batch} × length {length} that its "
            f"signature allows: {type(error).__name__}: {line}"
        ) from error
    shape = [batch, *signature.output_axes[1:]]
    if found != f"{dtype} {shape}":
        raise ExportError(f"the module gives {found} for {batch} rows instead of {dtype} {shape}")
    return logits
