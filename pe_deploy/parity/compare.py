"""Compare predictors on the same inputs, cell by cell.

A predictor is any callable from ids to logits, so anything can be compared with anything: eager
torch, TorchScript, ONNX, or a user's own.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle import GoldenCase
from pe_deploy.config import Decision, Signature
from pe_deploy.errors import InvalidInputError
from pe_deploy.parity.cases import (
    BATCHES,
    Case,
    exchanged,
    parity_cases,
    random_batches,
    trimmed_rows,
)
from pe_deploy.parity.decisions import Decisions, decide, undecided
from pe_deploy.parity.report import EXACT, GOLDEN, Cell, Report
from pe_deploy.parity.shrink import smallest_failure
from pe_deploy.parity.tolerance import Tolerance
from pe_deploy.runtime.engines import Predictor

CHECKS = ("golden", "shapes", "tokens", "padding", "batches", "positions", "decisions")

ITSELF = "itself"

_MOST_OF_A_LOGIT = 1e-3
"""Float32 rounds at 6e-8; a model that multiplies it ten thousand times is not to be judged."""


def verify(
    predictors: Mapping[str, Predictor],
    signature: Signature,
    golden: Sequence[GoldenCase] = (),
    *,
    exact: Predictor | None = None,
    decision: Decision | None = None,
    tolerance: Tolerance | None = None,
    floor: float = 0.0,
    floor_from: str | None = None,
    checks: Sequence[str] = CHECKS,
    batches: Sequence[int] = BATCHES,
    lengths: Sequence[int] | None = None,
    about: Mapping[str, str] | None = None,
    progress: Callable[[Cell], None] | None = None,
) -> Report:
    """Judge whether all predictors are one model.

    - `golden`: each predictor against the float64 logits that travel in the bundle.
    - `shapes` and `tokens`: each against `exact`, or, without it, against the first predictor.
    - `padding`: each on padded rows against itself on every row alone, without the padding.
    - `batches`: each on a batch against itself on every row alone, and on the rows reversed.
    - `positions`: exchanging two tokens of a row changes a logit by as much as in `exact` (or the
      first predictor), whatever tolerance is stated: a lost positional table cannot hide in it.
    - `decisions`: the labels on the golden rows that have some, against those recorded for them.

    Args:
        predictors: by name, the most trusted first.
        signature: what the model takes and gives.
        golden: inputs with the logits that torch gave.
        exact: the model in float64.
        decision: how labels are taken from logits; without it, decisions are not judged.
        tolerance: how far apart two logits may be.
        floor: torch's own error as it was measured before, over more cases than there are here.
        floor_from: the predictor that is the model in float32 torch; its errors against `exact`
            raise the floor, beside those in the golden vectors.
        checks: which of `CHECKS` to run.
        batches: the batch sizes of `shapes`.
        lengths: the lengths of `shapes`; by default those of `parity_cases`.
        about: what to record of the machine and the engines.
        progress: called with each finished cell.

    Raises:
        InvalidInputError: no predictor, or a check that there is not.
    """
    if not predictors or not set(checks) <= set(CHECKS):
        raise InvalidInputError(
            f"checks are {', '.join(checks) or 'none'} on {len(predictors)} predictors; "
            f"allowed: some of {', '.join(CHECKS)} on 1 predictor or more"
        )
    run = _Run(
        predictors,
        signature,
        golden,
        exact,
        decision,
        tolerance or Tolerance(),
        batches,
        lengths,
        floor_from if exact is not None else None,
    )
    cells = []
    for cell in run.cells(checks):
        cells.append(cell)
        if progress is not None:
            progress(cell)
    floor = max([floor, *run.errors_of_torch])
    cells += run.sanity(floor, checks)
    report = Report(
        tolerance=run.tolerance,
        floor=floor,
        cells=tuple(cells),
        about={"machine": platform.machine(), "system": platform.system(), **(about or {})},
    )
    if "decisions" in checks:
        report = report.with_decisions(run.decisions(report.floor))
    return report.with_smallest(run.smallest)


@dataclass
class _Run:
    predictors: Mapping[str, Predictor]
    signature: Signature
    golden: Sequence[GoldenCase]
    exact: Predictor | None
    decision: Decision | None
    tolerance: Tolerance
    batches: Sequence[int]
    lengths: Sequence[int] | None
    floor_from: str | None

    def __post_init__(self) -> None:
        self.largest = max((float(np.abs(case.float64).max()) for case in self.golden), default=0.0)
        self.errors_of_torch = [case.rounding for case in self.golden]
        self.inputs: dict[Cell, NDArray[np.int64]] = {}

    @cached_property
    def cases(self) -> list[Case]:
        """Made when the first check wants them: without a reference, none does."""
        return list(parity_cases(self.signature, batches=self.batches, lengths=self.lengths))

    def cells(self, checks: Sequence[str]) -> Iterator[Cell]:
        made = {
            "golden": self._golden,
            "shapes": lambda: self._against_reference("shapes"),
            "tokens": lambda: self._against_reference("tokens"),
            "padding": self._padding,
            "batches": self._batches,
            "positions": self._positions,
        }
        for check, make in made.items():
            if check in checks:
                yield from make()

    def sanity(self, floor: float, checks: Sequence[str]) -> list[Cell]:
        """What would make the other checks mean nothing, as cells that fail."""
        found = []
        if floor > _MOST_OF_A_LOGIT * self.largest:
            problem = (
                f"float32 torch is off by {floor:.2g} where logits reach {self.largest:.2g}: that "
                "is not rounding, so nothing can be judged by it"
            )
            found.append(Cell("torch", EXACT, "floor", 0, 0, float("nan"), 0.0, problem))
        unlabelled = self.golden and all(case.labels is None for case in self.golden)
        if "decisions" in checks and self.decision is not None and unlabelled:
            problem = "the golden vectors hold no labels to judge decisions by"
            found.append(Cell("torch", GOLDEN, "decisions", 0, 0, float("nan"), 0.0, problem))
        return found

    def decisions(self, floor: float) -> list[Decisions]:
        if self.decision is None:
            return []
        rounding = self.tolerance.from_floor(floor)
        judged = []
        for case in self.golden:
            if case.labels is not None:
                for name, predictor in self.predictors.items():
                    logits, problem = self._answer(predictor, case.input_ids)
                    judged.append(
                        undecided(name, case)
                        if problem
                        else decide(name, self.decision, case, logits, rounding)
                    )
        return judged

    def smallest(self, cell: Cell, allowed: float) -> NDArray[np.int64] | None:
        """The smallest input on which this cell's fault is seen; None where it has no reference."""
        ids = self.inputs.get(cell)
        if ids is None:
            return None
        if cell.against == GOLDEN:
            return self._golden_row(cell, ids, allowed)
        references = {EXACT: self.exact, **self.predictors}
        reference = references.get(cell.against)
        if reference is None:
            return ids

        def fails(part: NDArray[np.int64]) -> bool:
            expected, problem = self._answer(reference, part)
            found = self._compared(Case(cell.check, part), cell.against, expected, cell.predictor)
            return not problem and (bool(found.problem) or found.error > allowed)

        return smallest_failure(ids, fails)

    def _golden_row(self, cell: Cell, ids: NDArray[np.int64], allowed: float) -> NDArray[np.int64]:
        """The first golden row that fails alone; the whole batch where none does."""
        expected = next((case.float64 for case in self.golden if case.input_ids is ids), ())
        for row, logit in zip(ids, expected, strict=False):
            case = Case(GOLDEN, row[None])
            found = self._compared(case, GOLDEN, logit[None], cell.predictor)
            if found.problem or found.error > allowed:
                alone: NDArray[np.int64] = row[None]
                return alone
        return ids

    def _golden(self) -> Iterator[Cell]:
        for vector in self.golden:
            case = Case(GOLDEN, vector.input_ids)
            for name in self.predictors:
                yield self._compared(case, GOLDEN, vector.float64, name)

    def _reference(self) -> tuple[str, Predictor]:
        name, first = next(iter(self.predictors.items()))
        return (name, first) if self.exact is None else (EXACT, self.exact)

    def _against_reference(self, check: str) -> Iterator[Cell]:
        reference_name, reference = self._reference()
        judged = [name for name in self.predictors if name != reference_name]
        for case in self.cases if judged else ():
            if case.check != check:
                continue
            expected, problem = self._answer(reference, case.input_ids)
            if problem:
                yield self._cell(reference_name, "its signature", case, problem=problem)
                continue
            for name in judged:
                cell = self._compared(case, reference_name, expected, name)
                if name == self.floor_from and not cell.problem:
                    self.errors_of_torch.append(cell.error)
                yield cell

    def _padding(self) -> Iterator[Cell]:
        if self.signature.pad_id is None:
            return
        for ids in random_batches(self.signature, seed=2):
            rows = trimmed_rows(ids, self.signature.pad_id)
            yield from self._against_itself(Case("padding", ids), rows)

    def _batches(self) -> Iterator[Cell]:
        for ids in random_batches(self.signature, seed=4):
            yield from self._against_itself(Case("batches", ids), [row[None] for row in ids])
            yield from self._against_itself(Case("batches", ids[::-1].copy()), [ids], reverse=True)

    def _against_itself(
        self, case: Case, parts: Sequence[NDArray[np.int64]], reverse: bool = False
    ) -> Iterator[Cell]:
        """Hold each predictor on a batch against itself on the batch's parts."""
        for name, predictor in self.predictors.items():
            answers = [self._answer(predictor, part) for part in parts]
            if problem := next((problem for _, problem in answers if problem), ""):
                yield self._cell(name, ITSELF, case, problem=problem)
            else:
                expected = np.concatenate([logits for logits, _ in answers])
                yield self._compared(case, ITSELF, expected[::-1] if reverse else expected, name)

    def _positions(self) -> Iterator[Cell]:
        reference_name, reference = self._reference()
        judged = [name for name in self.predictors if name != reference_name]
        if self.signature.max_length < 2 or not judged:
            return
        ids, swapped = exchanged(self.signature)
        case = Case("positions", np.concatenate([ids, swapped]))
        expected, problem = self._change(reference, case)
        if problem:
            yield self._cell(reference_name, "its signature", case, problem=problem)
            return
        for name in judged:
            change, problem = self._change(self.predictors[name], case)
            yield self._judged(case, reference_name, expected, name, change, problem)

    def _change(self, predictor: Predictor, case: Case) -> tuple[NDArray[Any], str]:
        """What exchanging the tokens adds to each logit."""
        logits, problem = self._answer(predictor, case.input_ids)
        if problem:
            return logits, problem
        half = len(logits) // 2
        return logits[half:].astype(np.float64) - logits[:half], ""

    def _compared(
        self, case: Case, against: str, expected: NDArray[np.floating[Any]], name: str
    ) -> Cell:
        logits, problem = self._answer(self.predictors[name], case.input_ids)
        return self._judged(case, against, expected, name, logits, problem)

    def _judged(
        self,
        case: Case,
        against: str,
        expected: NDArray[np.floating[Any]],
        name: str,
        logits: NDArray[np.floating[Any]],
        problem: str,
    ) -> Cell:
        if not problem and logits.shape != expected.shape:
            problem = f"shape {list(logits.shape)} instead of {list(expected.shape)}"
        if problem:
            return self._cell(name, against, case, problem=problem)
        self.largest = max(self.largest, float(np.abs(expected).max()))
        difference = np.abs(logits.astype(np.float64) - expected)
        worst = np.unravel_index(difference.argmax(), difference.shape)
        magnitude = float(np.abs(expected[worst]))
        return self._cell(name, against, case, float(difference[worst]), magnitude)

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
        self,
        name: str,
        against: str,
        case: Case,
        error: float = float("nan"),
        magnitude: float = 0.0,
        problem: str = "",
    ) -> Cell:
        batch, length = case.input_ids.shape
        cell = Cell(name, against, case.check, batch, length, error, magnitude, problem)
        self.inputs.setdefault(cell, case.input_ids)  # an equal cell has failed alike
        return cell
