"""A report as text for people and tools: Markdown, JUnit XML, JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from pe_deploy.errors import InvalidInputError
from pe_deploy.parity.report import Cell, Report, worst
from pe_deploy.runtime.engines import ENGINES
from pe_deploy.storage.atomic import check_writable, write_bytes


def save_report(report: Report, path: Path) -> None:
    """Write a report, whole or not at all, in the form that the suffix names.

    Raises:
        InvalidInputError: the suffix is not .json, .md or .xml.
    """
    check_report_path(path)
    write_bytes(path, _FORMS[path.suffix](report).encode())


def check_report_path(path: Path) -> None:
    """Check that a report can be written there, before anything is measured.

    Raises:
        InvalidInputError: the suffix is not .json, .md or .xml.
        OSError: the folder takes no new files.
    """
    if path.suffix not in _FORMS:
        raise InvalidInputError(
            f"report {path} has the suffix {path.suffix!r}; allowed: {', '.join(_FORMS)}"
        )
    check_writable(path)


def ratio(error: float, floor: float) -> str:
    """An error beside torch's own: `1.1×`, or `–` where torch has none."""
    return f"{error / floor:.1f}×" if floor else "–"


CHECKS_COLUMNS = ("check", "predictor", "against", "cells", "failed", "worst", "of floor")
DECISIONS_COLUMNS = ("predictor", "flips", "explained", "accuracy", "Δ acc", "Δ AUC", "Δ loss")


def checks_rows(report: Report) -> Iterator[tuple[object, ...]]:
    """A row for each check and pair of predictors, as `CHECKS_COLUMNS` say."""
    for pair, cells in report.pairs().items():
        failed, of_floor = sum(map(report.failed, cells)), report.of_floor(cells)
        share = "–" if of_floor is None else f"{of_floor:.1f}×"
        yield *pair, len(cells), failed, f"{worst(cells):.1e}", share


def decisions_rows(report: Report) -> Iterator[tuple[object, ...]]:
    """A row for the decisions of each predictor, as `DECISIONS_COLUMNS` say."""
    for decided in report.decisions:
        changes = (decided.accuracy_change, decided.auc_change, decided.loss_change)
        yield (
            decided.predictor,
            decided.flips,
            decided.explained,
            "–" if decided.accuracy is None else f"{decided.accuracy:.1%}",
            *("–" if change is None else f"{change:+.1e}" for change in changes),
        )


def decisions_title(report: Report) -> str:
    """What the decisions were taken on."""
    first = report.decisions[0]
    kind = "rows of the data" if first.real else "random rows"
    return f"Decisions on {first.rows} {kind} (nearest margin {first.nearest:.1e})"


def repeat_line(cell: Cell, input_ids: list[list[int]], bundle: str) -> str:
    """One line of shell that runs an input again; the input alone for an engine without one."""
    ids = json.dumps(input_ids)
    engine = ENGINES.get(cell.predictor)
    code = engine.call(bundle, ids) if engine else ""
    if not code:
        return ids
    plain = not set(code) & set('"$`\\!')
    return f'python -c "{code}"' if plain else f"python -c {shlex.quote(code)}"


def to_markdown(report: Report) -> str:
    """The report as a page: a table of the checks, the decisions, and what failed."""
    lines = [
        f"# Parity: {'passed' if report.passed else 'FAILED'}",
        "",
        f"{len(report.cells)} cells. Float32 torch itself is off by up to {report.floor:.2g}: the "
        f"floor, which is taken by length. Allowed: {report.tolerance}.",
        "",
        *_markdown_table(CHECKS_COLUMNS, checks_rows(report)),
    ]
    if report.decisions:
        lines += ["", f"{decisions_title(report)}:", ""]
        lines += _markdown_table(DECISIONS_COLUMNS, decisions_rows(report))
    if report.failures:
        lines += ["", "## Failures", "", *(f"- {cell}" for cell in report.failures)]
    for cell, ids in report.smallest:
        line = repeat_line(cell, ids, report.bundle)
        lines += ["", f"Smallest input for “{cell}”:", "", "```bash", line, "```"]
    lines += [f"\n{engine} was not run: {why}." for engine, why in report.not_run.items()]
    if report.about:
        about = ", ".join(f"{what} {value}" for what, value in report.about.items())
        lines += ["", f"Measured with {about}."]
    return "\n".join(lines) + "\n"


def _markdown_table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    for row in (columns, ["---"] * len(columns), *rows):
        yield f"| {' | '.join(map(str, row))} |"


def to_junit(report: Report) -> str:
    """The report as JUnit XML: a test case a cell, and one for each predictor's decisions."""
    failed = len(report.failures) + sum(bool(d.unexplained) for d in report.decisions)
    suite = ElementTree.Element(
        "testsuite",
        name="pe_deploy.parity",
        tests=str(len(report.cells) + len(report.decisions)),
        failures=str(failed),
        errors="0",
    )
    smallest = dict(report.smallest)
    for cell in report.cells:
        test = ElementTree.SubElement(
            suite,
            "testcase",
            classname=f"{cell.check}.{cell.predictor} against {cell.against}",
            name=f"batch {cell.batch} × length {cell.length}",
        )
        if report.failed(cell):
            failure = ElementTree.SubElement(test, "failure", message=str(cell))
            if cell in smallest:
                failure.text = repeat_line(cell, smallest[cell], report.bundle)
    for decided in report.decisions:
        test = ElementTree.SubElement(
            suite, "testcase", classname="decisions", name=decided.predictor
        )
        if decided.unexplained:
            ElementTree.SubElement(test, "failure", message=str(decided))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


_FORMS: dict[str, Callable[[Report], str]] = {
    ".json": Report.to_json,
    ".md": to_markdown,
    ".xml": to_junit,
}
