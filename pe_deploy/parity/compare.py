"""Compare predictors on the same inputs, cell by cell.

A predictor is any callable from ids to logits, so anything can be compared with anything: eager
torch, TorchScript, ONNX, or a user's own.
"""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle.golden import GoldenCase
from pe_deploy.config import Decision, Signature
from pe_deploy.errors import InvalidInputError, line_of
from pe_deploy.parity.ahead import made_ahead
from pe_deploy.parity.cases import BATCHES, Case, exchanged, parity_cases, random_batches
from pe_deploy.parity.decisions import Decisions, decide, is_decided, undecided
from pe_deploy.parity.report import EXACT, GOLDEN, Cell, Report
from pe_deploy.parity.shrink import smallest_failure
from pe_deploy.parity.tolerance import Tolerance
from pe_deploy.runtime.engines import Predictor
from pe_deploy.runtime.floors import Floors
from pe_deploy.runtime.replay import floors_with
from pe_deploy.view.progress import expect

CHECKS = ("golden", "shapes", "tokens", "padding", "batches", "positions", "decisions")

ITSELF = "itself"

_MOST_OF_A_LOGIT = 1e-3
"""Float32 rounds at 6e-8; a model that multiplies it ten thousand times is not to be judged."""

_GRAVEST_SHOWN = 2

Ids = NDArray[np.int64]
Logits = NDArray[np.floating[Any]]

Answer = tuple[Logits, str]
"""What a predictor gives, and what is wrong with it in itself, if anything."""


def verify(
    predictors: Mapping[str, Predictor],
    signature: Signature,
    golden: Sequence[GoldenCase] = (),
    *,
    exact: Predictor | None = None,
    exact_beside: bool = False,
    decision: Decision | None = None,
    tolerance: Tolerance | None = None,
    floors: Floors | None = None,
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
      A regression has none, and only its loss is told.

    Of a token task, what a predictor answers to padding is no answer, and is not looked at.

    Args:
        predictors: by name, the most trusted first.
        signature: what the model takes and gives.
        golden: inputs with the logits that torch gave.
        exact: the model in float64.
        exact_beside: whether it may be asked in a thread of its own, while the others are.
        decision: how labels are taken from logits; without it, decisions are not judged.
        tolerance: how far apart two logits may be.
        floors: torch's own errors as they were measured before, over more cases than are here.
        floor_from: the predictor that is the model in float32 torch; its errors against `exact`
            raise the floors, beside those in the golden vectors.
        checks: which of `CHECKS` to run.
        batches: the batch sizes of `shapes`.
        lengths: the lengths of `shapes`; by default those of `parity_cases`.
        about: what to record of the machine and the engines.
        progress: called with each finished cell; if it has a method `expect`, that is called
            before, with how many there will be where every answer can be compared.

    Raises:
        InvalidInputError: no predictor, or a check that there is not.

    >>> from pe_deploy import OnnxClassifier, open_bundle
    >>> from pe_deploy.parity import verify
    >>> bundle = open_bundle("models/demo")
    >>> predictors = {"onnx": OnnxClassifier(bundle).predict_logits}
    >>> verify(predictors, bundle.manifest.signature, bundle.golden(), checks=["golden"]).passed
    True
    """
    if not predictors or not set(checks) <= set(CHECKS):
        raise InvalidInputError(
            f"checks are {', '.join(checks) or 'none'} on {len(predictors)} predictors; "
            f"allowed: some of {', '.join(CHECKS)} on 1 predictor or more"
        )
    beside = exact_beside and exact is not None
    run = _Run(predictors, signature, golden, exact, beside, batches, lengths)
    expect(progress, run.count(checks))
    cells = []
    for cell in run.cells(checks):
        cells.append(cell)
        if progress is not None:
            progress(cell)
    errors = [
        (cell.length, cell.error)
        for cell in cells
        if (cell.predictor, cell.against) == (floor_from, EXACT)
        and cell.check in ("shapes", "tokens")
        and not cell.problem
    ]
    floors = floors_with(golden, (floors or Floors()).joined(Floors.of(errors)))
    if "decisions" not in checks:
        decision = None
    cells += run.sanity(floors.highest, decides=decision is not None)
    rule = tolerance or Tolerance()
    report = Report(
        tolerance=rule,
        floors=floors,
        cells=tuple(cells),
        decisions=tuple(run.decisions(decision, rule, floors)) if decision else (),
        about={"machine": platform.machine(), "system": platform.system(), **(about or {})},
    )
    return dataclasses.replace(report, smallest=tuple(run.smallest(report)))


@dataclass
class _Run:
    predictors: Mapping[str, Predictor]
    signature: Signature
    golden: Sequence[GoldenCase]
    exact: Predictor | None
    beside: bool
    batches: Sequence[int]
    lengths: Sequence[int] | None

    def __post_init__(self) -> None:
        self.largest = max((float(np.abs(case.float64).max()) for case in self.golden), default=0.0)
        self.inputs: dict[Cell, Ids] = {}
        self.golden_answers: dict[tuple[str, int], Answer] = {}

    @cached_property
    def cases(self) -> list[Case]:
        """Made when the first check wants them: without a reference, none does."""
        return list(parity_cases(self.signature, batches=self.batches, lengths=self.lengths))

    @cached_property
    def reference(self) -> tuple[str, Predictor]:
        """By name, what the others are held against."""
        return (EXACT, self.exact) if self.exact else next(iter(self.predictors.items()))

    @cached_property
    def judged(self) -> list[str]:
        """The predictors that are not the reference themselves."""
        return [name for name in self.predictors if name != self.reference[0]]

    def cells(self, checks: Sequence[str]) -> Iterator[Cell]:
        if "golden" in checks:
            yield from self._golden(self.golden, self.predictors)
        for check in ("shapes", "tokens"):
            if check in checks and self.judged:
                inputs = (case.input_ids for case in self.cases if case.check == check)
                yield from self._against_reference(check, inputs, self.judged)
        if "padding" in checks and self.signature.pad_id is not None:
            for ids in random_batches(self.signature, seed=2):
                lengths = (ids != self.signature.pad_id).sum(axis=1)
                rows = [row[None, :length] for row, length in zip(ids, lengths, strict=True)]
                yield from self._against_itself("padding", ids, rows)
        if "batches" in checks:
            for ids in random_batches(self.signature, seed=4):
                yield from self._against_itself("batches", ids, [row[None] for row in ids])
                yield from self._against_itself("batches", ids[::-1].copy(), [ids], reverse=True)
        if "positions" in checks and self.judged and self.signature.max_length > 1:
            pairs = np.stack(exchanged(self.signature), axis=1)
            yield from self._against_reference("positions", [pairs], self.judged)

    def count(self, checks: Sequence[str]) -> int:
        """How many cells there are, unless a reference or a part of a batch has no answer."""
        judged, every = len(self.judged), len(self.predictors)
        counts = dict.fromkeys(CHECKS, 0)
        counts["golden"] = len(self.golden) * every
        if judged and {"shapes", "tokens"} & {*checks}:
            for case in self.cases:
                counts[case.check] += judged
        if self.signature.pad_id is not None:
            counts["padding"] = len(random_batches(self.signature, seed=2)) * every
        counts["batches"] = 2 * len(random_batches(self.signature, seed=4)) * every
        if self.signature.max_length > 1:
            counts["positions"] = judged
        return sum(counts[check] for check in {*checks})

    def sanity(self, floor: float, decides: bool) -> list[Cell]:
        """What would make the other checks mean nothing, as cells that fail."""
        found = []
        if floor > _MOST_OF_A_LOGIT * self.largest:
            problem = (
                f"float32 torch is off by {floor:.2g} where logits reach {self.largest:.2g}: that "
                "is not rounding, so nothing can be judged by it"
            )
            found.append(Cell("torch", EXACT, "floor", 0, 0, math.nan, 0.0, problem))
        has_labels = self.signature.task != "regression"
        if decides and has_labels and self.golden and all(c.labels is None for c in self.golden):
            problem = "the golden vectors hold no labels to judge decisions by"
            found.append(Cell("torch", GOLDEN, "decisions", 0, 0, math.nan, 0.0, problem))
        return found

    def decisions(
        self, decision: Decision, tolerance: Tolerance, floors: Floors
    ) -> Iterator[Decisions]:
        for case in self.golden:
            if not is_decided(case, self.signature):
                continue
            rounding = tolerance.from_floor(floors.at(case.input_ids.shape[1]))
            for name, predictor in self.predictors.items():
                known = self.golden_answers.get((name, id(case)))
                logits, problem = known or self._answer(predictor, case.input_ids)
                if problem:
                    yield undecided(name, self.signature, case)
                else:
                    yield decide(name, self.signature, decision, case, logits, rounding)

    def smallest(self, report: Report) -> Iterator[tuple[Cell, list[list[int]]]]:
        """The smallest input on which a fault is seen: of the gravest failures and the smallest."""
        failures = report.failures
        least = sorted(failures, key=lambda cell: cell.batch * cell.length)[:1]
        for cell in dict.fromkeys([*least, *failures[:_GRAVEST_SHOWN]]):
            if cell in self.inputs:
                ids = self._smaller(cell, self.inputs[cell], report.failed)
                yield cell, ids.reshape(-1, ids.shape[-1]).tolist()

    def _smaller(self, cell: Cell, ids: Ids, failed: Callable[[Cell], bool]) -> Ids:
        """The part of a failing input on which its check still fails."""
        if cell.against == GOLDEN:
            case = next(case for case in self.golden if case.input_ids is ids)
            for row in range(len(ids)):
                one = slice(row, row + 1)
                alone = GoldenCase(ids[one], case.float64[one], case.float32[one])
                if any(map(failed, self._golden([alone], [cell.predictor]))):
                    return alone.input_ids
            return ids
        if cell.against != self.reference[0]:
            return ids

        def fails(part: Ids) -> bool:
            return any(
                found.predictor == cell.predictor and failed(found)
                for found in self._against_reference(cell.check, [part], [cell.predictor])
            )

        return smallest_failure(ids, fails, self.signature.min_length)

    def _golden(self, cases: Iterable[GoldenCase], names: Iterable[str]) -> Iterator[Cell]:
        for case in cases:
            for name in names:
                answer = self._answer(self.predictors[name], case.input_ids)
                if case.labels is not None:  # they are decided on as well
                    self.golden_answers[name, id(case)] = answer
                yield self._cell(name, GOLDEN, "golden", case.input_ids, answer, case.float64)

    def _against_reference(
        self, check: str, inputs: Iterable[Ids], names: Sequence[str]
    ) -> Iterator[Cell]:
        """Hold predictors against the reference, on ids `[batch, sequence]` or pairs of rows.

        Of pairs, `[pairs, 2, sequence]`, what counts is by how much the logits of the two differ.
        """
        against, reference = self.reference
        answer = self._change if check == "positions" else self._answer
        for ids, (expected, problem) in made_ahead(partial(answer, reference), inputs, self.beside):
            if problem:
                yield self._cell(against, "its signature", check, ids, (expected, problem))
                continue
            for name in names:
                yield self._cell(
                    name, against, check, ids, answer(self.predictors[name], ids), expected
                )

    def _against_itself(
        self, check: str, ids: Ids, parts: Sequence[Ids], reverse: bool = False
    ) -> Iterator[Cell]:
        """Hold each predictor on a batch against itself on the batch's parts."""
        for name, predictor in self.predictors.items():
            answers = [self._answer(predictor, part) for part in parts]
            if failed := next((answer for answer in answers if answer[1]), None):
                yield self._cell(name, ITSELF, check, ids, failed)
                continue
            expected = np.concatenate([self._as_long(logits, ids) for logits, _ in answers])
            expected = expected[::-1] if reverse else expected
            yield self._cell(name, ITSELF, check, ids, self._answer(predictor, ids), expected)

    def _as_long(self, logits: Logits, ids: Ids) -> Logits:
        """The logits of rows without padding, as they are of the same rows with it."""
        if self.signature.task != "tokens":
            return logits
        missing = ids.shape[1] - logits.shape[1]
        return np.pad(logits, [(0, 0), (0, missing), (0, 0)][: logits.ndim])

    def _change(self, predictor: Predictor, pairs: Ids) -> Answer:
        """By how much the logits of each pair differ."""
        logits, problem = self._answer(predictor, pairs.reshape(-1, pairs.shape[-1]))
        return logits if problem else logits[1::2].astype(np.float64) - logits[::2], problem

    def _answer(self, predictor: Predictor, ids: Ids) -> Answer:
        try:
            logits = np.asarray(predictor(ids))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            return np.empty(0), f"{type(error).__name__}: {line_of(error)}"
        shape = self.signature.output_shape(*ids.shape)
        if logits.shape != shape:
            return logits, f"shape {list(logits.shape)} instead of {list(shape)}"
        if logits.dtype.kind != "f":
            return logits, f"dtype {logits.dtype} instead of a float dtype"
        logits = self.signature.zero_padding(logits, ids)
        if not np.isfinite(logits).all():
            return logits, "logits that are not finite"
        return logits, ""

    def _cell(
        self,
        name: str,
        against: str,
        check: str,
        ids: Ids,
        answer: Answer,
        expected: Logits | None = None,
    ) -> Cell:
        """An answer held against what is expected; without that, it is one with a problem."""
        logits, problem = answer
        error, magnitude = math.nan, 0.0
        if expected is not None and not problem:
            if logits.shape != expected.shape:
                problem = f"shape {list(logits.shape)} instead of {list(expected.shape)}"
            else:
                self.largest = max(self.largest, float(np.abs(expected).max()))
                difference = np.abs(logits.astype(np.float64) - expected)
                worst = np.unravel_index(difference.argmax(), difference.shape)
                error, magnitude = float(difference[worst]), float(np.abs(expected[worst]))
        length = ids.shape[-1]
        cell = Cell(name, against, check, ids.size // length, length, error, magnitude, problem)
        self.inputs.setdefault(cell, ids)  # an equal cell has failed alike
        return cell
