"""The result of a comparison, and the forms in which people and tools read it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pe_deploy.atomic import write_bytes
from pe_deploy.errors import InvalidInputError, ParityError


@dataclass(frozen=True)
class Cell:
    """One predictor on one case, held against a reference.

    Attributes:
        predictor: who was judged.
        reference: against whom.
        group: the kind of case: `golden`, `grid`, or the name of an edge.
        batch: rows of the case.
        length: ids in a row of the case.
        difference: the largest absolute difference of a logit; NaN where there is none.
        problem: what is wrong, in words; empty where the cell passed.
    """

    predictor: str
    reference: str
    group: str
    batch: int
    length: int
    difference: float
    problem: str

    @property
    def passed(self) -> bool:
        """Whether all logits are within the tolerance."""
        return not self.problem

    def __str__(self) -> str:
        return (
            f"{self.predictor} against {self.reference}, {self.group}, batch {self.batch} "
            f"× length {self.length}: {self.problem or f'differs by {self.difference:.2g}'}"
        )


@dataclass(frozen=True)
class Report:
    """Every cell of a comparison, and the tolerance that it was judged with."""

    atol: float
    rtol: float
    cells: tuple[Cell, ...]

    @property
    def failures(self) -> tuple[Cell, ...]:
        """The cells that did not pass."""
        return tuple(cell for cell in self.cells if not cell.passed)

    @property
    def passed(self) -> bool:
        """Whether there were cells, and all passed."""
        return bool(self.cells) and not self.failures

    @property
    def worst(self) -> float:
        """The largest absolute difference of all cells; 0.0 where none was measured."""
        return worst(self.cells)

    def pairs(self) -> dict[tuple[str, str], tuple[Cell, ...]]:
        """The cells of each (predictor, reference)."""
        pairs: dict[tuple[str, str], list[Cell]] = {}
        for cell in self.cells:
            pairs.setdefault((cell.predictor, cell.reference), []).append(cell)
        return {pair: tuple(cells) for pair, cells in pairs.items()}

    def summary(self) -> dict[str, Any]:
        """The outcome in a few numbers."""
        return {
            "passed": self.passed,
            "cells": len(self.cells),
            "worst_difference": self.worst,
            "atol": self.atol,
            "rtol": self.rtol,
        }

    def raise_if_failed(self) -> None:
        """Make a failure an error.

        Raises:
            ParityError: naming how many cells failed, and the worst of them.
        """
        if self.passed:
            return
        if not self.failures:
            raise ParityError("parity was judged on no cells at all")
        raise ParityError(
            f"parity failed in {len(self.failures)} of {len(self.cells)} cells "
            f"(atol {self.atol:g}, rtol {self.rtol:g}); worst: {_gravest(self.failures)}"
        )

    def to_json(self) -> str:
        """The whole report as JSON; a difference that is not a number is null."""
        cells = [
            {**asdict(cell), "difference": _number_or_none(cell.difference)} for cell in self.cells
        ]
        return json.dumps({**self.summary(), "results": cells}, indent=1) + "\n"

    def to_markdown(self) -> str:
        """The report as a Markdown table a pair, with what failed below it."""
        lines = [
            f"# Parity: {'passed' if self.passed else 'FAILED'}",
            "",
            f"{len(self.cells)} cells, worst difference {self.worst:.2g}, "
            f"allowed {self.atol:g} + {self.rtol:g} × |reference|.",
            "",
            "| predictor | reference | cells | failed | worst difference |",
            "| --- | --- | ---: | ---: | ---: |",
        ]
        for (predictor, reference), cells in self.pairs().items():
            failed = sum(not cell.passed for cell in cells)
            lines.append(
                f"| {predictor} | {reference} | {len(cells)} | {failed} | {worst(cells):.2g} |"
            )
        if self.failures:
            lines += ["", "## Failures", "", *(f"- {cell}" for cell in self.failures)]
        return "\n".join(lines) + "\n"

    def to_junit(self) -> str:
        """The report as JUnit XML: a test case a cell."""
        suite = ElementTree.Element(
            "testsuite",
            name="pe_deploy.parity",
            tests=str(len(self.cells)),
            failures=str(len(self.failures)),
            errors="0",
        )
        for cell in self.cells:
            test = ElementTree.SubElement(
                suite,
                "testcase",
                classname=f"{cell.predictor} against {cell.reference}",
                name=f"{cell.group}, batch {cell.batch} × length {cell.length}",
            )
            if not cell.passed:
                ElementTree.SubElement(test, "failure", message=cell.problem)
        ElementTree.indent(suite)
        return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"

    def save(self, path: Path) -> None:
        """Write the report, whole or not at all, in the form that the suffix names.

        Raises:
            InvalidInputError: the suffix is not .json, .md or .xml.
        """
        forms = {".json": self.to_json, ".md": self.to_markdown, ".xml": self.to_junit}
        if path.suffix not in forms:
            raise InvalidInputError(
                f"report {path} has the suffix {path.suffix!r}; allowed: {', '.join(forms)}"
            )
        write_bytes(path, forms[path.suffix]().encode())


def worst(cells: Iterable[Cell]) -> float:
    """The largest difference of these cells; 0.0 where none was measured."""
    measured = [cell.difference for cell in cells if not math.isnan(cell.difference)]
    return max(measured, default=0.0)


def _gravest(cells: Iterable[Cell]) -> Cell:
    """The cell that says most: one that could not be measured, else the largest difference."""
    return max(cells, key=lambda cell: (math.isnan(cell.difference), cell.difference))


def _number_or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
