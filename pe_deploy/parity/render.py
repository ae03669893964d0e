"""A report as text for people and tools: Markdown, JUnit XML, JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

from pe_deploy.errors import InvalidInputError
from pe_deploy.parity.report import Cell, Report, worst
from pe_deploy.runtime.engines import ENGINES
from pe_deploy.storage.atomic import check_writable, write_bytes
from pe_deploy.view import html
from pe_deploy.view.html import Table


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


def checks_table(report: Report) -> Table:
    """A row for each check and pair of predictors."""
    rows: list[tuple[object, ...]] = []
    for pair, cells in report.pairs().items():
        failed = sum(map(report.failed, cells))
        errors = ((worst([cell]), report.floor_of(cell)) for cell in cells)
        share = max((error / floor for error, floor in errors if floor), default=None)
        of_floor = "–" if share is None else f"{share:.1f}×"
        rows.append((*pair, len(cells), failed, f"{worst(cells):.1e}", of_floor))
    columns = ("check", "predictor", "against", "cells", "failed", "worst", "of floor")
    return "Errors of a logit", columns, rows


def decisions_table(report: Report) -> Table:
    """A row for the decisions of each predictor; there has to be one."""
    first = report.decisions[0]
    rows_are = "rows of the data" if first.real else "random rows"
    kind = rows_are if first.unit == "rows" else f"{first.unit} of {rows_are}"
    nearest = "" if first.nearest is None else f" (nearest margin {first.nearest:.1e})"
    title = f"Decisions on {first.rows} {kind}{nearest}"
    columns = ("predictor", "flips", "explained", "accuracy", "Δ acc", "Δ AUC", "Δ loss")
    rows: list[tuple[object, ...]] = []
    for it in report.decisions:
        accuracy = "–" if it.accuracy is None else f"{it.accuracy:.1%}"
        changes = (it.accuracy_change, it.auc_change, it.loss_change)
        shown = ("–" if change is None else f"{change:+.1e}" for change in changes)
        rows.append((it.predictor, it.flips, it.explained, accuracy, *shown))
    return title, columns, rows


def losses_table(report: Report) -> Table:
    """A row for what rounding the weights cost on each kind of rows."""
    rows: list[tuple[object, ...]] = []
    for it in report.losses:
        row = (it.kind, f"{it.decisions:,}", f"{it.difference:.1e}", f"{it.spread:.1e}")
        if it.flips is None:
            rows.append((*row, "–", "–", "–", "–"))
            continue
        margins = ("–", "–")
        if it.margins and it.median_margin is not None:
            margins = (f"{it.margins[0]:.1e}", f"{it.median_margin:.1e}")
        flips = f"{it.flips:,} ✗" if it.failed else f"{it.flips:,}"
        rows.append((*row, flips, f"{it.allowed:,}", *margins))
    answers = report.losses[0].unit if report.losses else "rows"
    columns = ("on", answers, "logit by", "spread", "flips", "allowed", "margin", "median")
    return "Rounded weights beside the trained ones", columns, rows


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
        *_markdown(checks_table(report)),
    ]
    if report.decisions:
        made = decisions_table(report)
        lines += ["", f"{made[0]}:", "", *_markdown(made)]
    if report.losses:
        made = losses_table(report)
        lines += ["", f"{made[0]}:", "", *_markdown(made)]
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


def _markdown(table: Table) -> Iterator[str]:
    _, columns, rows = table
    for row in (columns, ["---"] * len(columns), *rows):
        yield f"| {' | '.join(map(str, row))} |"


def to_html(report: Report) -> str:
    """The report as a notebook shows it: what fails first, its smallest input above all."""
    title, columns, rows = checks_table(report)
    failed = columns.index("failed")
    rows.sort(key=lambda row: not row[failed])
    marked = [
        tuple(f"{it} ✗" if at == failed and it else it for at, it in enumerate(row)) for row in rows
    ]
    parts = []
    for cell, ids in report.smallest:
        parts += [html.line(f"✗ {cell}; the smallest input:")]
        parts += [html.code(repeat_line(cell, ids, report.bundle))]
    parts += [html.table(title, columns, marked)]
    if report.decisions:
        parts += [html.table(*decisions_table(report))]
    if report.losses:
        parts += [html.table(*losses_table(report))]
    parts += [html.line(f"Allowed: {report.tolerance}.")]
    parts += [html.line(f"Not run: {engine}: {why}") for engine, why in report.not_run.items()]
    if report.about:
        about = ", ".join(f"{what} {value}" for what, value in report.about.items())
        parts += [html.line(f"On: {about}")]
    return html.page(f"Parity {report.headline}", *parts)


def to_junit(report: Report) -> str:
    """The report as JUnit XML: a test case a cell, and one for each predictor's decisions."""
    failed = len(report.failures) + sum(bool(d.unexplained) for d in report.decisions)
    failed += sum(loss.failed for loss in report.losses)
    suite = ElementTree.Element(
        "testsuite",
        name="pe_deploy.parity",
        tests=str(len(report.cells) + len(report.decisions) + len(report.losses)),
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
    for loss in report.losses:
        test = ElementTree.SubElement(
            suite, "testcase", classname="flips", name=f"{loss.kind} rows"
        )
        if loss.failed:
            ElementTree.SubElement(test, "failure", message=str(loss))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


_FORMS: dict[str, Callable[[Report], str]] = {
    ".json": Report.to_json,
    ".md": to_markdown,
    ".xml": to_junit,
}
