"""Compare predictors on the same inputs, cell by cell.

A predictor is any callable from ids to logits, so anything can be compared with anything: eager
torch, TorchScript, ONNX, or a user's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle import GoldenCase
from pe_deploy.config import Signature
from pe_deploy.errors import InvalidInputError
from pe_deploy.parity.cases import Case, padded_inputs, parity_cases, trimmed_rows
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
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInputError(
                    f"{name} is {getattr(self, name)}; allowed: 0 or more, and finite"
                )


def verify(
    predictors: Mapping[str, Predictor],
    signature: Signature,
    golden: Iterable[GoldenCase],
    tolerance: Tolerance | None = None,
    progress: Callable[[Cell], None] | None = None,
) -> Report:
    """Judge whether all predictors are one model: against each other, and against golden vectors.

    The first predictor is the reference of the others, on every case of `parity_cases`; each is
    also held against the golden float64 logits, and, where rows can be padded, against itself on
    rows that are not. Every answer has to have the shape that the signature states.

    Args:
        predictors: by name, the most trusted first.
        signature: what the model takes and gives.
        golden: inputs with the logits that torch gave; may be empty.
        tolerance: how far apart two logits may be.
        progress: called with each finished cell.
    """
    judge = _Judge(signature, tolerance or Tolerance())
    cells = []
    for cell in judge.cells(predictors, golden):
        cells.append(cell)
        if progress is not None:
            progress(cell)
    return Report(judge.tolerance.atol, judge.tolerance.rtol, tuple(cells))


@dataclass(frozen=True)
class _Judge:
    signature: Signature
    tolerance: Tolerance

    def cells(
        self, predictors: Mapping[str, Predictor], golden: Iterable[GoldenCase]
    ) -> Iterator[Cell]:
        for vector in golden:
            case = Case("golden", vector.input_ids)
            for name, predictor in predictors.items():
                yield self.compare(case, "golden", vector.float64, name, predictor)
        (reference_name, reference), *others = predictors.items()
        for case in parity_cases(self.signature) if others else ():
            expected, problem = self._answer(reference, case.input_ids)
            if problem:
                yield _cell(reference_name, "its signature", case, problem=problem)
                continue
            for name, predictor in others:
                yield self.compare(case, reference_name, expected, name, predictor)
        yield from self._padding(predictors)

    def _padding(self, predictors: Mapping[str, Predictor]) -> Iterator[Cell]:
        """Hold each predictor on padded rows against itself on each row alone, not padded."""
        for ids in padded_inputs(self.signature):
            case = Case("padding", ids)
            rows = trimmed_rows(ids, self.signature.pad_id or 0)
            for name, predictor in predictors.items():
                answers = [self._answer(predictor, row) for row in rows]
                if problem := next((problem for _, problem in answers if problem), ""):
                    yield _cell(name, "trimmed rows", case, problem=problem)
                else:
                    expected = np.concatenate([logits for logits, _ in answers])
                    yield self.compare(case, "trimmed rows", expected, name, predictor)

    def compare(
        self,
        case: Case,
        reference: str,
        expected: NDArray[np.floating[Any]],
        name: str,
        predictor: Predictor,
    ) -> Cell:
        """Run one predictor on one case and hold its logits against the expected ones."""
        logits, problem = self._answer(predictor, case.input_ids)
        if not problem and expected.shape != logits.shape:
            problem = f"shape {list(logits.shape)} instead of {list(expected.shape)}"
        if problem:
            return _cell(name, reference, case, problem=problem)
        difference = np.abs(logits.astype(np.float64) - expected)
        worst = float(difference.max())
        allowed = self.tolerance.atol + self.tolerance.rtol * np.abs(expected)
        within = bool((difference <= allowed).all())
        return _cell(name, reference, case, worst, "" if within else f"differs by {worst:.2g}")

    def _answer(
        self, predictor: Predictor, ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.floating[Any]], str]:
        """The logits, and what is wrong with them in themselves, if anything."""
        try:
            logits = np.asarray(predictor(ids))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            line = " ".join(str(error).split())
            return np.empty(0), f"{type(error).__name__}: {line}"
        shape = (len(ids), *self.signature.output_axes[1:])
        if logits.shape != shape:
            return logits, f"shape {list(logits.shape)} instead of {list(shape)}"
        if logits.dtype.kind != "f":
            return logits, f"dtype {logits.dtype} instead of a float dtype"
        if not np.isfinite(logits).all():
            return logits, "logits that are not finite"
        return logits, ""


def _cell(
    name: str, reference: str, case: Case, difference: float = float("nan"), problem: str = ""
) -> Cell:
    batch, length = case.input_ids.shape
    return Cell(name, reference, case.group, batch, length, difference, problem)
