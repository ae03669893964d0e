"""`pe-deploy verify`: prove again that a bundle is the trained model."""

from __future__ import annotations

import dataclasses
import platform
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.markup import escape
from rich.text import Text

from pe_deploy.bundle.artifacts import ONNX
from pe_deploy.bundle.bundle import Bundle, open_bundle, open_parts
from pe_deploy.bundle.inventory import check_strictly
from pe_deploy.cli.console import counted, out, print_about, table
from pe_deploy.cli.shared_options import ARG, MODULE, PUBLIC_KEY, WEIGHTS
from pe_deploy.errors import (
    BundleError,
    InvalidInputError,
    MissingDependencyError,
    ParityError,
    requires_extra,
)
from pe_deploy.machine import processor_name
from pe_deploy.model_config import TrainedFrom, trained_from
from pe_deploy.parity import (
    Cell,
    Report,
    Tolerance,
    load_report,
    render,
    verify_bundle,
    worst,
)
from pe_deploy.parity.bundle import ALL_CHECKS, REPLAY
from pe_deploy.runtime.engines import ENGINES, engines_of, predictors, runnable
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime

_BANDS = 8


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle, or a saved .json report.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="The weights it was made from: adds eager torch.")
    ] = None,
    module: Annotated[str | None, MODULE] = None,
    weights: Annotated[str | None, WEIGHTS] = None,
    arg: Annotated[list[str] | None, ARG] = None,
    golden_only: Annotated[
        bool, typer.Option("--golden-only", help="Replay the golden vectors; needs no torch.")
    ] = False,
    report_file: Annotated[
        Path | None, typer.Option("--report", help="Write the report: .json, .md or .xml (JUnit).")
    ] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Plant known faults, and show what catches each.")
    ] = False,
    atol: Annotated[
        float | None, typer.Option(help="Allowed absolute difference, instead of the floor's.")
    ] = None,
    rtol: Annotated[
        float | None, typer.Option(help="Allowed relative difference, instead of the floor's.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a folder that holds anything else, or less.")
    ] = False,
    public_key: Annotated[Path | None, PUBLIC_KEY] = None,
) -> None:
    """Compare a bundle's models with each other, with torch, and with its golden vectors."""
    started = time.perf_counter()
    tolerance = Tolerance(atol=atol, rtol=rtol)
    trained = trained_from(checkpoint, module, weights, arg or ())
    if golden_only and trained is not None:
        raise InvalidInputError("--golden-only runs no torch; leave out --checkpoint and --module")
    if self_test:
        if golden_only or checkpoint or report_file or strict or tolerance.is_stated:
            raise InvalidInputError(
                "--self-test takes no option beside it but --module and --public-key"
            )
        _self_test(open_bundle(bundle, public_key=public_key), trained)
        return
    if report_file is not None:
        render.check_report_path(report_file)
    opened = None
    if bundle.suffix == ".json":
        if strict:
            raise InvalidInputError("--strict is for a bundle, not for a report")
        report = load_report(bundle)
        report = report.judged_by(tolerance) if tolerance.is_stated else report
        proved = "passes by this tolerance"
    else:
        opened = open_parts(bundle, public_key=public_key)
        if strict:
            check_strictly(opened)
        report = _measure(opened, trained, golden_only, tolerance)
        proved = "holds one model, and it answers as its golden vectors say"
        if trained:
            proved = "computes what was trained"
        elif golden_only:
            proved = "answers as its golden vectors say"
    if report_file is not None:
        render.save_report(report, report_file)
    _show(report)
    report.raise_if_failed()
    if opened is not None and opened.missing and not golden_only:
        raise BundleError(
            f"{bundle} lacks {', '.join(opened.missing)}, which could not be checked; "
            "what is there passed"
        )
    seconds = time.perf_counter() - started
    out.print(f"[green]passed[/green] in {seconds:.1f} s: {escape(str(bundle))} {proved}")


def _measure(
    bundle: Bundle,
    trained: TrainedFrom | None,
    golden_only: bool,
    tolerance: Tolerance,
) -> Report:
    about = {
        "processor": processor_name(),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "bundle": str(bundle.path),
    }
    names, reference = engines_of(bundle), None
    if golden_only:
        names = [name for name in names if ENGINES[name].needs is None]
        if "c" not in names:
            bundle.read(ONNX)  # there has to be one
    else:
        with requires_extra("train"):
            import torch

            from pe_deploy.export.trained import trained_reference

        torch.set_num_threads(1)  # for the steps that are small; see torch_threads
        about["torch"] = str(torch.__version__)
        if trained is not None:
            reference = trained_reference(bundle, trained)
    names, not_run = runnable(names)
    if not names and not_run:
        raise MissingDependencyError("; ".join(not_run.values()))
    with counted("verify") as progress:
        report = verify_bundle(
            bundle,
            reference,
            engines=predictors(bundle, names),
            checks=REPLAY if golden_only else ALL_CHECKS,
            independent=not golden_only,
            tolerance=tolerance,
            about=about,
            progress=progress,
        )
    return dataclasses.replace(report, not_run={**not_run, **report.not_run})


def _self_test(bundle: Bundle, trained: TrainedFrom | None) -> None:
    """Print which check catches each planted fault; a fault that none does is an error."""
    with requires_extra("train"):
        from pe_deploy.export.trained import trained_module
        from pe_deploy.mutation.run import self_test

    module = None if trained is None else trained_module(bundle, trained)
    with counted("self-test") as progress:
        outcomes = self_test(bundle, module, progress=progress)
    title, columns, rows = outcomes.table()
    out.print(title)
    out.print(outcomes.marks + "\n")
    table("Faults", columns, rows)
    out.print("Checks: " + ", ".join(outcomes.checks) + "\n")
    for line in outcomes.not_planted:
        out.print(line, markup=False)
    if outcomes.missed:
        raise ParityError(outcomes.headline)
    out.print(f"[green]{outcomes.headline}[/green]")


def _show(report: Report) -> None:
    """Print the floor, a line for each check, the grid of shapes, the decisions, what failed."""
    out.print(f"Float32 torch itself is off by up to {report.floor:.1e}: the floor.")
    out.print(f"Allowed: {report.tolerance}\n")
    table(*render.checks_table(report))
    for (check, predictor, against), cells in report.pairs().items():
        if check == "shapes" and (predictor == "onnx" or any(map(report.failed, cells))):
            _show_grid(report, f"{predictor} against {against}, worst error by shape", cells)
    if report.decisions:
        table(*render.decisions_table(report))
    if report.losses:
        table(*render.losses_table(report))
    for cell, ids in report.smallest:
        out.print(f"Smallest input for: {cell}", markup=False)
        line = render.repeat_line(cell, ids, report.bundle)
        out.print(f"  {line}\n", markup=False, soft_wrap=True)
    for engine, why in report.not_run.items():
        out.print(f"Not run: {engine}: {why}", markup=False)
    print_about(report.about)


def _show_grid(report: Report, title: str, grid: tuple[Cell, ...]) -> None:
    batches = sorted({cell.batch for cell in grid})
    lengths = sorted({cell.length for cell in grid})
    rows: list[list[str | Text]] = []
    for band in np.array_split(lengths, min(_BANDS, len(lengths))):
        first, last = band[0], band[-1]
        inside = [cell for cell in grid if first <= cell.length <= last]
        entries = (_entry(report, [c for c in inside if c.batch == batch]) for batch in batches)
        rows.append([f"{first}" if first == last else f"{first} to {last}", *entries])
    table(title, ("length", *(f"× {batch}" for batch in batches)), rows)


def _entry(report: Report, cells: list[Cell]) -> Text:
    shown = f"{worst(cells):.1e}"
    if any(map(report.failed, cells)):
        return Text(f"{shown} ✗", style="red")
    near = any(cell.error > report.allowed(cell) / 2 for cell in cells)
    return Text(shown, style="yellow" if near else "green")
