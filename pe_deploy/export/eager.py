"""A torch module as a predictor, and the golden vectors that it gives."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pe_deploy.bundle.golden import GoldenCase
from pe_deploy.config import Decision, Signature
from pe_deploy.errors import ExportError, line_of
from pe_deploy.export.adapt.copying import frozen_copy
from pe_deploy.export.adapt.exact import InFloat64, slow_attention
from pe_deploy.export.source import LabelledRows
from pe_deploy.parity import Predictor, Reference, golden_inputs, random_ids
from pe_deploy.runtime import to_input_ids

_MOST_ROWS = 512
_RANDOM_ROWS = 256
_MOST_IDS = 2**20
"""Of the random rows, as few or as many as they are."""


def eager_predictor(
    module: nn.Module, signature: Signature, dtype: torch.dtype = torch.float32
) -> Predictor:
    """Run a copy of a module in eval mode, with its weights as `dtype`.

    The predictor raises InvalidInputError for ids that the signature does not allow.
    """
    frozen = frozen_copy(module).to(dtype)
    precision = InFloat64() if dtype == torch.float64 else nullcontext()

    def predict(input_ids: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        ids = torch.from_numpy(to_input_ids(input_ids, signature).copy())
        with torch.inference_mode(), slow_attention(), precision:
            logits: NDArray[np.floating[Any]] = frozen(ids).numpy()
        return logits

    return predict


def reference_of(
    module: nn.Module,
    signature: Signature,
    trained: nn.Module | None = None,
    held_out: LabelledRows | None = None,
) -> Reference:
    """A module as the reference that a bundle is compared with.

    Args:
        module: with the weights that the bundle holds.
        signature: what it takes and gives.
        trained: the same before its weights were rounded, if they were.
        held_out: rows of the data to hold the two against each other on.
    """
    return Reference(
        eager_predictor(module, signature),
        eager_predictor(module, signature, torch.float64),
        None if trained is None else eager_predictor(trained, signature),
        None if held_out is None else held_out.input_ids,
    )


def golden_cases(
    module: nn.Module, signature: Signature, decision: Decision, rows: LabelledRows | None = None
) -> list[GoldenCase]:
    """The logits of a module for each golden input, in float64 and in float32, with 0 at padding.

    The last case is the one to judge decisions on: the rows of the data, as far as there are some
    and up to 512 of them, else random rows; it holds the label that the model gives each.

    Raises:
        ExportError: the module fails on an input that its signature allows, or answers with
            another shape or dtype.
    """
    reference = reference_of(module, signature)

    def case(ids: NDArray[np.int64]) -> GoldenCase:
        return GoldenCase(
            ids,
            _answer(reference.exact, ids, signature, np.dtype(np.float64)),
            _answer(reference.eager, ids, signature, np.dtype(np.float32)),
        )

    if rows is None:
        rng = np.random.default_rng(5)
        count = max(1, min(_RANDOM_ROWS, _MOST_IDS // signature.max_length))
        rows = LabelledRows(random_ids(signature, count, signature.max_length, rng), None)
    decided = case(rows.input_ids[:_MOST_ROWS])
    decided = dataclasses.replace(
        decided,
        labels=decision.recorded(decided.float64),
        targets=None if rows.targets is None else rows.targets[:_MOST_ROWS],
    )
    return [*map(case, golden_inputs(signature)), decided]


def _answer(
    predict: Predictor, ids: NDArray[np.int64], signature: Signature, dtype: np.dtype[Any]
) -> NDArray[Any]:
    batch, length = ids.shape
    try:
        logits = predict(ids)
        found = f"{logits.dtype} {list(logits.shape)}"
    except Exception as error:
        raise ExportError(
            f"the module fails in {dtype} on ids of batch {batch} × length {length} that its "
            f"signature allows: {type(error).__name__}: {line_of(error)}"
        ) from error
    shape = list(signature.output_shape(batch, length))
    if found != f"{dtype} {shape}":
        raise ExportError(f"the module gives {found} for {batch} rows instead of {dtype} {shape}")
    return signature.zero_padding(logits, ids)
