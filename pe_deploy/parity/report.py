"""The result of a comparison, which can be judged again without the models."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle import Manifest
from pe_deploy.errors import DataError, InvalidInputError, ParityError
from pe_deploy.parity.decisions import Decisions
from pe_deploy.parity.tolerance import Tolerance

EXACT = "float64"
GOLDEN = "golden"
EXACT_REFERENCES = (EXACT, GOLDEN)

_GRAVEST_SHOWN = 2


@dataclass(frozen=True)
class Cell:
    """One predictor on one case, held against a reference.

    Attributes:
        predictor: who was compared.
        against: with whom.
        check: which check the case is for.
        batch: rows of the case.
        length: ids in a row of the case.
        error: the largest absolute difference of a logit; NaN where there is none.
        magnitude: the size of the reference where the error is largest.
        problem: why there is no answer to compare; empty where there is one.
    """

    predictor: str
    against: str
    check: str
    batch: int
    length: int
    error: float
    magnitude: float
    problem: str

    def __str__(self) -> str:
        what = self.problem or f"differs by {self.error:.2g}"
        return (
            f"{self.check}: {self.predictor} against {self.against}, "
            f"batch {self.batch} × length {self.length}: {what}"
        )


@dataclass(frozen=True)
class Report:
    """Every cell of a comparison, and what it is judged by.

    Attributes:
        tolerance: how far apart two logits may be.
        floor: the largest error of float32 torch itself.
        cells: what was compared.
        decisions: how each predictor decided on the golden rows.
        smallest: for some failing cells, the smallest input that fails.
        about: the machine and the engines.
    """

    tolerance: Tolerance
    floor: float
    cells: tuple[Cell, ...]
    decisions: tuple[Decisions, ...] = ()
    smallest: tuple[tuple[Cell, list[list[int]]], ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)

    def allowed(self, cell: Cell) -> float:
        """The largest error that passes in a cell.

        Where neither side is exact, each may be off by what rounding explains; so may both sides
        of an exchange of tokens, which no stated tolerance excuses.
        """
        if cell.check == "positions":
            return 2 * self.tolerance.from_floor(self.floor)
        sides = 1 if cell.against in EXACT_REFERENCES or self.tolerance.is_stated else 2
        return sides * self.tolerance.allowed(self.floor, cell.magnitude)

    def failed(self, cell: Cell) -> bool:
        """Whether a cell has no answer, or one that is too far off."""
        return bool(cell.problem) or not cell.error <= self.allowed(cell)

    @property
    def failures(self) -> tuple[Cell, ...]:
        """The cells that do not pass, the gravest first."""
        failing = [cell for cell in self.cells if self.failed(cell)]
        return tuple(sorted(failing, key=lambda cell: (not cell.problem, -_or_zero(cell.error))))

    @property
    def failed_checks(self) -> tuple[str, ...]:
        """The checks that something failed."""
        failed = dict.fromkeys(cell.check for cell in self.cells if self.failed(cell))
        if any(decided.unexplained for decided in self.decisions):
            failed["decisions"] = None
        return tuple(failed)

    @property
    def passed(self) -> bool:
        """Whether something was compared, and all of it passed."""
        return bool(self.cells or self.decisions) and not self.failed_checks

    @property
    def worst(self) -> float:
        """The largest error of all cells; 0.0 where none was measured."""
        return worst(self.cells)

    def pairs(self) -> dict[tuple[str, str, str], tuple[Cell, ...]]:
        """The cells of each (check, predictor, against)."""
        pairs: dict[tuple[str, str, str], list[Cell]] = {}
        for cell in self.cells:
            pairs.setdefault((cell.check, cell.predictor, cell.against), []).append(cell)
        return {pair: tuple(cells) for pair, cells in pairs.items()}

    def with_decisions(self, decisions: Sequence[Decisions]) -> Report:
        """The same, with these decisions."""
        return dataclasses.replace(self, decisions=tuple(decisions))

    def joined(self, other: Report) -> Report:
        """The same, with the cells of another run, judged by this one's floor and tolerance."""
        return dataclasses.replace(
            self, cells=self.cells + other.cells, smallest=self.smallest + other.smallest
        )

    def with_smallest(self, find: Callable[[Cell, float], NDArray[np.int64] | None]) -> Report:
        """The same, with the smallest failing input of the gravest failures and of the smallest."""
        failures = self.failures
        smallest = sorted(failures, key=lambda cell: cell.batch * cell.length)[:1]
        found = []
        for cell in dict.fromkeys([*smallest, *failures[:_GRAVEST_SHOWN]]):
            ids = find(cell, self.allowed(cell))
            if ids is not None:
                found.append((cell, ids.tolist()))
        return dataclasses.replace(self, smallest=tuple(found))

    def judged_by(self, tolerance: Tolerance) -> Report:
        """The same measurements under another tolerance; no model is needed.

        Which flips rounding explains was settled when they were measured.
        """
        judged = dataclasses.replace(self, tolerance=tolerance)
        still = tuple(found for found in self.smallest if judged.failed(found[0]))
        return dataclasses.replace(judged, smallest=still)

    def summary(self) -> dict[str, Any]:
        """The outcome in a few numbers."""
        return {
            "passed": self.passed,
            "cells": len(self.cells),
            "worst_difference": self.worst,
            "floor": self.floor,
            "tolerance": str(self.tolerance),
        }

    def raise_if_failed(self) -> None:
        """Make a failure an error.

        Raises:
            ParityError: naming the checks that failed, how many cells, and the gravest of them.
        """
        if self.passed:
            return
        if not (self.cells or self.decisions):
            raise ParityError("parity was judged on no cells at all")
        if not self.failures:
            worst_decided = max(self.decisions, key=lambda decided: decided.unexplained)
            raise ParityError(
                f"parity failed (decisions): {worst_decided.predictor} gives "
                f"{worst_decided.unexplained} of {worst_decided.rows} rows another label than "
                "torch did, and rounding does not explain it"
            )
        raise ParityError(
            f"parity failed ({', '.join(self.failed_checks)}) in {len(self.failures)} of "
            f"{len(self.cells)} cells, allowed {self.tolerance} with floor {self.floor:.2g}; "
            f"worst: {self.failures[0]}"
        )

    def to_json(self) -> str:
        """The whole report as JSON, a line a cell; an error that is not a number is null."""
        document = {
            **self.summary(),
            "tolerance": asdict(self.tolerance),
            "about": dict(self.about),
            "decisions": [asdict(decided) for decided in self.decisions],
            "smallest": [
                {"cell": _cell_values(cell), "input_ids": ids} for cell, ids in self.smallest
            ],
            "columns": [column.name for column in dataclasses.fields(Cell)],
        }
        head = json.dumps(document, indent=1).removesuffix("\n}")
        lines = ",\n".join("  " + json.dumps(_cell_values(cell)) for cell in self.cells)
        return f'{head},\n "results": [\n{lines}\n ]\n}}\n'

    @classmethod
    def from_json(cls, text: str | bytes) -> Report:
        """Read a saved report.

        Raises:
            DataError: it is not a report.
        """
        try:
            values = json.loads(text)
            if values["columns"] != [column.name for column in dataclasses.fields(Cell)]:
                raise ValueError(f"columns are {values['columns']}")
            return cls(
                tolerance=Tolerance(**values["tolerance"]),
                floor=_finite(values["floor"]),
                cells=tuple(map(_cell_from, values["results"])),
                decisions=tuple(map(_decisions_from, values["decisions"])),
                smallest=tuple(
                    (_cell_from(entry["cell"]), entry["input_ids"]) for entry in values["smallest"]
                ),
                about=dict(values["about"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            line = " ".join(str(error).split())
            raise DataError(f"not a parity report: {type(error).__name__}: {line}") from error


def published_floor(manifest: Manifest) -> float:
    """The floor that a bundle was published with, over every case; 0.0 where it states none."""
    floor = manifest.parity.get("floor", 0.0)
    return float(floor) if isinstance(floor, int | float) and math.isfinite(floor) else 0.0


def worst(cells: Iterable[Cell]) -> float:
    """The largest error of these cells; 0.0 where none was measured."""
    return max((cell.error for cell in cells if not math.isnan(cell.error)), default=0.0)


def load_report(path: Path) -> Report:
    """Read a report that was saved as JSON.

    Raises:
        DataError: the file cannot be read, or is not a report.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    try:
        return Report.from_json(text)
    except (DataError, InvalidInputError) as error:
        raise DataError(f"{path}: {error}") from error


def _cell_values(cell: Cell) -> list[Any]:
    error = None if math.isnan(cell.error) else cell.error
    return list(astuple(dataclasses.replace(cell, error=error)))  # type: ignore[arg-type]


def _cell_from(values: Sequence[Any]) -> Cell:
    predictor, against, check, batch, length, error, magnitude, problem = values
    if not all(isinstance(text, str) for text in (predictor, against, check, problem)):
        raise TypeError(f"a cell is {values}")
    measured = math.nan if error is None else _finite(error)
    size = _finite(magnitude)
    return Cell(predictor, against, check, int(batch), int(length), measured, size, problem)


def _decisions_from(values: Mapping[str, Any]) -> Decisions:
    decided = Decisions(**values)
    for count in (decided.rows, decided.flips, decided.explained):
        if type(count) is not int:
            raise TypeError(f"decisions are {values}")
    return decided


def _finite(value: Any) -> float:
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{value} is not a finite number of 0 or more")
    return number


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
