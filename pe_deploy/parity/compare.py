"""Compare predictors on the same inputs, cell by cell.

A predictor is any callable from ids to logits, so anything can be compared with anything: eager
torch, TorchScript, ONNX, or a user's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle import GoldenCase
from pe_deploy.config import Signature
from pe_deploy.errors import InvalidInputError
from pe_deploy.parity.cases import Case, parity_cases
from pe_deploy.parity.report import Cell, Report

Predictor = Callable[[NDArray[np.int64]], NDArray[np.floating[Any]]]
"""From int64 `[batch, sequence]` to logits `[batch]` or `[batch, num_classes]`."""


@dataclass(frozen=True)
class Tolerance:
    """How far a logit may be from its reference: `atol + rtol * |reference|`.

    The defaults leave room for float32 rounding over a few hundred steps of a GRU, and for
    nothing else.

    Raises:
        InvalidInputError: a value is negative or not a number.
    """

    atol: float = 1e-5
    rtol: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("atol", "rtol"):
            if not getattr(self, name) >= 0:
                raise InvalidInputError(f"{name} is {getattr(self, name)}; allowed: 0 or more")


def verify(
    predictors: Mapping[str, Predictor],
    signature: Signature,
    golden: Iterable[GoldenCase],
    tolerance: Tolerance | None = None,
    progress: Callable[[Cell], None] | None = None,
) -> Report:
    """Judge whether all predictors are one model: against each other, and against golden vectors.

    The first predictor is the reference of the others, on every case of `parity_cases`; each is
    also held against the golden float64 logits.

    Args:
        predictors: by name, the most trusted first.
        signature: what the model takes and gives.
        golden: inputs with the logits that torch gave; may be empty.
        tolerance: how far apart two logits may be.
        progress: called with each finished cell.
    """
    tolerance = tolerance or Tolerance()
    cells = []
    for cell in _cells(predictors, signature, golden, tolerance):
        cells.append(cell)
        if progress is not None:
            progress(cell)
    return Report(tolerance.atol, tolerance.rtol, tuple(cells))


def _cells(
    predictors: Mapping[str, Predictor],
    signature: Signature,
    golden: Iterable[GoldenCase],
    tolerance: Tolerance,
) -> Iterator[Cell]:
    for vector in golden:
        case = Case("golden", vector.input_ids)
        for name, predictor in predictors.items():
            yield compare(case, "golden", vector.float64, name, predictor, tolerance)
    if len(predictors) > 1:
        (reference_name, reference), *others = predictors.items()
        for case in parity_cases(signature):
            expected = reference(case.input_ids)
            for name, predictor in others:
                yield compare(case, reference_name, expected, name, predictor, tolerance)


def compare(
    case: Case,
    reference: str,
    expected: NDArray[np.floating[Any]],
    name: str,
    predictor: Predictor,
    tolerance: Tolerance,
) -> Cell:
    """Run one predictor on one case and hold its logits against the expected ones."""
    difference, problem = float("nan"), ""
    try:
        logits = predictor(case.input_ids)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
    else:
        difference, problem = _judge(logits, expected, tolerance)
    batch, length = case.input_ids.shape
    return Cell(name, reference, case.group, batch, length, difference, problem)


def _judge(
    logits: NDArray[np.floating[Any]], expected: NDArray[np.floating[Any]], tolerance: Tolerance
) -> tuple[float, str]:
    """The worst difference, and what is wrong with it, if anything."""
    if logits.shape != expected.shape:
        return float("nan"), f"shape {_plain(logits.shape)} instead of {_plain(expected.shape)}"
    if not (np.isfinite(logits).all() and np.isfinite(expected).all()):
        return float("nan"), "logits that are not finite"
    difference = np.abs(logits.astype(np.float64) - expected)
    worst = float(difference.max())
    if (difference <= tolerance.atol + tolerance.rtol * np.abs(expected)).all():
        return worst, ""
    return worst, f"differs by {worst:.2g}"


def _plain(shape: Sequence[int]) -> list[int]:
    return list(shape)
