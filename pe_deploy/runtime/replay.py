"""Replay a bundle's golden vectors: does this machine compute the model that was published?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle.golden import GoldenCase
from pe_deploy.errors import ParityError, PeDeployError
from pe_deploy.runtime.floors import MULTIPLE, NEAR_ZERO, Floors

Decide = Callable[[NDArray[np.floating[Any]]], NDArray[Any]]
"""From logits to the label of each row."""


def floors_with(golden: Sequence[GoldenCase], known: Floors) -> Floors:
    """What is known of torch's own error, and what it shows in golden vectors.

    These are too few to show it at each of their lengths: alone, they have one floor together.
    """
    own = Floors.of((case.input_ids.shape[1], case.rounding) for case in golden)
    return known.joined(own if known.by_length else Floors(least=own.highest))


def replay(
    predict: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    golden: Sequence[GoldenCase],
    name: str,
    decide: Decide | None = None,
    floors: Floors | None = None,
) -> float:
    """Hold a model against its golden vectors, by the rule of `pe_deploy.parity.verify`.

    Args:
        predict: from int64 `[batch, sequence]` to logits `[batch]` or `[batch, num_classes]`.
        golden: the inputs, and what torch gave for them.
        name: what to call the model in an error.
        decide: to hold its labels against those that were recorded.
        floors: those that the bundle was published with.

    Returns:
        The worst difference of a logit from float64 torch.

    Raises:
        ParityError: the model fails on a golden input, or its logits are further off than allowed,
            or neither they nor the exact ones give the label that was recorded.
    """
    if floors is None or not floors.by_length:
        floors = Floors()  # golden vectors show a nearer one than a single one of all lengths
    floors = floors_with(golden, floors)
    worst = 0.0
    for case in golden:
        batch, length = case.input_ids.shape
        shape = f"batch {batch} × length {length}"
        try:
            logits = predict(case.input_ids)
        except PeDeployError as error:
            raise ParityError(f"{name} fails on the golden vector of {shape}: {error}") from error
        if logits.shape != case.float64.shape:
            raise ParityError(
                f"{name} answers the golden vector of {shape} with logits {list(logits.shape)} "
                f"instead of {list(case.float64.shape)}"
            )
        difference = float(np.abs(logits - case.float64).max())
        floor = floors.at(length)
        allowed = MULTIPLE * floor + NEAR_ZERO
        if not difference <= allowed:
            raise ParityError(
                f"{name} computes something else than was published: worst difference "
                f"{difference:.2g} on the golden vector of {shape}, floor {floor:.2g}, "
                f"allowed {allowed:.2g}"
            )
        if decide is not None and case.labels is not None:
            _check_labels(decide, logits, case, name)
        worst = max(worst, difference)
    return worst


def _check_labels(decide: Decide, logits: NDArray[np.float32], case: GoldenCase, name: str) -> None:
    """Where the logits are within rounding of exact, a label may differ from that of exact ones."""
    columns = (decide(logits), decide(case.float64), np.asarray(case.labels))
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for row, (label, by_exact, recorded) in enumerate(rows):
        if recorded not in (label, by_exact):
            raise ParityError(
                f"{name} gives row {row} of the golden vectors the label {label!r}; "
                f"published was {recorded!r}"
            )
