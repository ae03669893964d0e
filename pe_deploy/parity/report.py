"""The result of a comparison, which can be judged again without the models."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pe_deploy.errors import DataError, ParityError, line_of
from pe_deploy.parity.decisions import UNITS, Decisions
from pe_deploy.parity.losses import Loss
from pe_deploy.parity.tolerance import Tolerance
from pe_deploy.runtime.floors import Floors
from pe_deploy.view.text import cut

EXACT = "float64"
GOLDEN = "golden"

_MALFORMED = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)


class Cell(NamedTuple):
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
        floors: how far float32 torch itself is off.
        cells: what was compared.
        decisions: how each predictor decided on the golden rows.
        smallest: for some failing cells, the smallest input that fails.
        about: the machine and the engines.
        not_run: the engines that could not be run, and why.
        losses: what rounding its weights cost the model, where they were rounded and it was asked.

    >>> from pathlib import Path
    >>> from pe_deploy.parity import load_report
    >>> report = load_report(Path("models/demo/parity.json"))
    >>> report.passed, report.failures
    (True, ())
    """

    tolerance: Tolerance
    floors: Floors
    cells: tuple[Cell, ...]
    decisions: tuple[Decisions, ...] = ()
    smallest: tuple[tuple[Cell, list[list[int]]], ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    not_run: Mapping[str, str] = field(default_factory=dict)
    losses: tuple[Loss, ...] = ()

    def __repr__(self) -> str:
        smallest = "".join(f"\n  smallest: {cut(str(cell), 200)}" for cell, _ in self.smallest[:1])
        return f"<Report {self.headline}{smallest}>"

    def _repr_html_(self) -> str:
        from pe_deploy.parity.render import to_html  # which imports this module

        return to_html(self)

    @property
    def headline(self) -> str:
        """The outcome in a line."""
        count, failures = len(self.cells), len(self.failures)
        worst = f"worst difference {self.worst:.2g}, float32 torch itself {self.floor:.2g}"
        if self.passed:
            return f"passed: {count:,} cells, {worst}"
        checks = ", ".join(self.failed_checks) or "nothing was compared"
        return f"FAILED ({checks}): {failures:,} of {count:,} cells, {worst}"

    @property
    def floor(self) -> float:
        """The largest error of float32 torch itself, at any length."""
        return self.floors.highest

    @property
    def bundle(self) -> str:
        """The path of the bundle that was judged, or a word in its place."""
        return self.about.get("bundle", "BUNDLE")

    def floor_of(self, cell: Cell) -> float:
        """The floor that a cell is judged by: that of its length."""
        return self.floors.at(cell.length)

    def allowed(self, cell: Cell) -> float:
        """The largest error that passes in a cell.

        Where neither side is exact, each may be off by what rounding explains; so may both sides
        of an exchange of tokens, which no stated tolerance excuses.
        """
        if cell.check == "positions":
            return 2 * self.tolerance.from_floor(self.floor_of(cell))
        sides = 1 if cell.against in (EXACT, GOLDEN) or self.tolerance.is_stated else 2
        return sides * self.tolerance.allowed(self.floor_of(cell), cell.magnitude)

    def failed(self, cell: Cell) -> bool:
        """Whether a cell has no answer, or one that is too far off."""
        return bool(cell.problem) or not cell.error <= self.allowed(cell)

    @property
    def failures(self) -> tuple[Cell, ...]:
        """The cells that do not pass, the gravest first."""
        failing = [cell for cell in self.cells if self.failed(cell)]
        return tuple(sorted(failing, key=lambda cell: (not cell.problem, -worst([cell]))))

    @property
    def failed_checks(self) -> tuple[str, ...]:
        """The checks that something failed."""
        failed = dict.fromkeys(cell.check for cell in self.cells if self.failed(cell))
        if any(decided.unexplained for decided in self.decisions):
            failed["decisions"] = None
        if any(loss.failed for loss in self.losses):
            failed["flips"] = None
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
            "floors": asdict(self.floors),
            "tolerance": str(self.tolerance),
            **{f"rounding_on_{loss.kind}_rows": loss.outcome for loss in self.losses},
        }

    def raise_if_failed(self) -> None:
        """Make a failure an error.

        Raises:
            ParityError: naming the checks that failed, how many cells, and the gravest of them.
        """
        if self.passed:
            return
        if not self.failed_checks:
            raise ParityError("parity was judged on no cells at all")
        if not self.failures and not any(decided.unexplained for decided in self.decisions):
            lost = max(self.losses, key=lambda loss: loss.share)
            raise ParityError(f"parity failed (flips): {lost}")
        if not self.failures:
            decided = max(self.decisions, key=lambda decided: decided.unexplained)
            raise ParityError(f"parity failed (decisions): {decided}")
        gravest = self.failures[0]
        raise ParityError(
            f"parity failed ({', '.join(self.failed_checks)}) in {len(self.failures)} of "
            f"{len(self.cells)} cells, allowed {self.tolerance} with floor "
            f"{self.floor_of(gravest):.2g}; worst: {gravest}"
        )

    def to_json(self) -> str:
        """The whole report as JSON, a line a cell; an error that is not a number is null."""
        document = {
            **self.summary(),
            "tolerance": asdict(self.tolerance),
            "about": dict(self.about),
            "not_run": dict(self.not_run),
            "decisions": [decided.to_dict() for decided in self.decisions],
            **({"losses": [loss.to_dict() for loss in self.losses]} if self.losses else {}),
            "smallest": [
                {"cell": _nullable(cell), "input_ids": ids} for cell, ids in self.smallest
            ],
            "columns": Cell._fields,
        }
        head = json.dumps(document, indent=1).removesuffix("\n}")
        lines = ",\n".join("  " + json.dumps(_nullable(cell)) for cell in self.cells)
        return f'{head},\n "results": [\n{lines}\n ]\n}}\n'


def worst(cells: Iterable[Cell]) -> float:
    """The largest error of these cells; 0.0 where none was measured."""
    return max((cell.error for cell in cells if not math.isnan(cell.error)), default=0.0)


def load_report(path: Path) -> Report:
    """Read a report that was saved as JSON.

    Raises:
        DataError: the file cannot be read, or is not a report.
    """
    try:
        values = json.loads(path.read_bytes())
        if values["columns"] != list(Cell._fields):
            raise ValueError(f"columns are {values['columns']}")
        _finite(values["floor"])
        return Report(
            tolerance=Tolerance(**values["tolerance"]),
            floors=Floors.of_summary(values),
            cells=tuple(map(_cell_from, values["results"])),
            decisions=tuple(map(_decisions_from, values["decisions"])),
            smallest=tuple(
                (_cell_from(entry["cell"]), entry["input_ids"]) for entry in values["smallest"]
            ),
            about=dict(values["about"]),
            not_run=dict(values.get("not_run", {})),
            losses=tuple(map(Loss.from_dict, values.get("losses", []))),
        )
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except _MALFORMED as error:
        what = f"{type(error).__name__}: {line_of(error)}"
        raise DataError(f"{path}: not a parity report: {what}") from error


def _nullable(cell: Cell) -> list[Any]:
    return [None if value != value else value for value in cell]  # a NaN alone is not itself


def _cell_from(values: Sequence[Any]) -> Cell:
    predictor, against, check, batch, length, error, magnitude, problem = values
    if not all(isinstance(text, str) for text in (predictor, against, check, problem)):
        raise TypeError(f"a cell is {values}")
    measured = math.nan if error is None else _finite(error)
    size = _finite(magnitude)
    return Cell(predictor, against, check, int(batch), int(length), measured, size, problem)


def _decisions_from(values: Mapping[str, Any]) -> Decisions:
    decided = Decisions(**values)
    counts = (decided.rows, decided.flips, decided.explained)
    if {type(count) for count in counts} != {int} or decided.unit not in UNITS:
        raise TypeError(f"decisions are {values}")
    return decided


def _finite(value: Any) -> float:
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{value} is not a finite number of 0 or more")
    return number
