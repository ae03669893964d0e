"""Replay a bundle's golden vectors: does this machine compute the model that was published?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle import GoldenCase
from pe_deploy.errors import ParityError

MULTIPLE_OF_FLOOR = 4.0
"""How many times as far off as float32 torch itself a logit may be."""

NEAR_ZERO = 1e-6
"""What is allowed beside it, where torch's own error happens to be nil."""


def replay(
    predict: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    golden: Sequence[GoldenCase],
    name: str,
    decide: Callable[[NDArray[np.floating[Any]]], NDArray[Any]] | None = None,
) -> float:
    """Hold a model against its golden vectors, by the rule of `pe_deploy.parity.Tolerance`.

    Args:
        predict: from int64 `[batch, sequence]` to logits `[batch]` or `[batch, num_classes]`.
        golden: the inputs, and what torch gave for them.
        name: what to call the model in an error.
        decide: from logits to labels, to hold against the labels that were recorded.

    Returns:
        The worst difference of a logit from float64 torch.

    Raises:
        ParityError: the model fails on a golden input, or its logits are further off than allowed,
            or neither they nor the exact ones give the label that was recorded.
    """
    worst = 0.0
    for case in golden:
        shape = "batch {} × length {}".format(*case.input_ids.shape)
        try:
            logits = predict(case.input_ids)
        except Exception as error:
            line = " ".join(str(error).split())
            raise ParityError(
                f"{name} fails on the golden vector of {shape}: {type(error).__name__}: {line}"
            ) from error
        if logits.shape != case.float64.shape:
            raise ParityError(
                f"{name} answers the golden vector of {shape} with logits {list(logits.shape)} "
                f"instead of {list(case.float64.shape)}"
            )
        if decide is not None and case.labels is not None:
            _check_labels(decide, logits, case, name)
        worst = float(np.maximum(worst, np.abs(logits - case.float64).max()))  # keeps a NaN
    floor = max(case.rounding for case in golden)
    allowed = MULTIPLE_OF_FLOOR * floor + NEAR_ZERO
    if not worst <= allowed:
        raise ParityError(
            f"{name} computes something else than was published: worst difference {worst:.2g} "
            f"over the golden vectors, floor {floor:.2g}, allowed {allowed:.2g}"
        )
    return worst


def _check_labels(
    decide: Callable[[NDArray[np.floating[Any]]], NDArray[Any]],
    logits: NDArray[np.float32],
    case: GoldenCase,
    name: str,
) -> None:
    """A label may differ by the rounding of a logit; then the exact logit still gives it."""
    recorded = [] if case.labels is None else case.labels.tolist()
    rows = zip(decide(logits).tolist(), decide(case.float64).tolist(), recorded, strict=True)
    for row, (label, exact, expected) in enumerate(rows):
        if expected not in (label, exact):
            raise ParityError(
                f"{name} gives row {row} of the golden vectors the label {label!r}; "
                f"published was {expected!r}"
            )
