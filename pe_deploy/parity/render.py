"""A report as text for people and tools: Markdown, JUnit XML, JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
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
        f"{len(report.cells)} cells. Float32 torch itself is off by up to {report.floor:.2g} (the "
        f"floor, which is taken by length); allowed: {report.tolerance}.",
        "",
        "| check | predictor | against | cells | failed | worst error | of the floor |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for (check, predictor, against), cells in report.pairs().items():
        failed = sum(map(report.failed, cells))
        lines.append(
            f"| {check} | {predictor} | {against} | {len(cells)} | {failed} | {worst(cells):.2g} "
            f"| {report.of_floor(cells)} |"
        )
    if report.decisions:
        lines += [
            "",
            "| decisions of | rows | flips | explained by rounding | nearest margin | accuracy |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for decided in report.decisions:
            accuracy = "–" if decided.accuracy is None else f"{decided.accuracy:.1%}"
            lines.append(
                f"| {decided.predictor} | {decided.rows} | {decided.flips} | {decided.explained} "
                f"| {decided.nearest:.2g} | {accuracy} |"
            )
    if report.failures:
        lines += ["", "## Failures", "", *(f"- {cell}" for cell in report.failures)]
    bundle = report.about.get("bundle", "BUNDLE")
    for cell, ids in report.smallest:
        lines += ["", f"Smallest input for “{cell}”:", "", "```bash"]
        lines += [repeat_line(cell, ids, bundle), "```"]
    lines += [f"\n{engine} was not run: {why}." for engine, why in report.not_run.items()]
    if report.about:
        about = ", ".join(f"{what} {value}" for what, value in report.about.items())
        lines += ["", f"Measured with {about}."]
    return "\n".join(lines) + "\n"


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
    smallest, bundle = dict(report.smallest), report.about.get("bundle", "BUNDLE")
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
                failure.text = repeat_line(cell, smallest[cell], bundle)
    for decided in report.decisions:
        test = ElementTree.SubElement(
            suite, "testcase", classname="decisions", name=decided.predictor
        )
        if decided.unexplained:
            message = f"{decided.unexplained} of {decided.rows} labels differ beyond rounding"
            ElementTree.SubElement(test, "failure", message=message)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


_FORMS: dict[str, Callable[[Report], str]] = {
    ".json": Report.to_json,
    ".md": to_markdown,
    ".xml": to_junit,
}
