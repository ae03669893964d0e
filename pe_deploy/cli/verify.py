"""`pe-deploy verify`: prove again that a bundle is the trained model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.markup import escape
from rich.text import Text

from pe_deploy.bundle import open_bundle
from pe_deploy.cli.console import out, progress_bar, table
from pe_deploy.config import Weights
from pe_deploy.errors import CheckpointError, InvalidInputError, requires_extra
from pe_deploy.parity import Cell, Predictor, Report, Tolerance, worst
from pe_deploy.parity import verify as verify_predictors
from pe_deploy.runtime import OnnxClassifier

if TYPE_CHECKING:
    from pe_deploy.bundle import Bundle

_BANDS = 8


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="The weights it was made from: adds eager torch.")
    ] = None,
    weights: Annotated[Weights, typer.Option(help="Of a checkpoint folder.")] = "best",
    golden_only: Annotated[
        bool, typer.Option("--golden-only", help="Replay the golden vectors; needs no torch.")
    ] = False,
    report_file: Annotated[
        Path | None, typer.Option("--report", help="Write the report: .json, .md or .xml (JUnit).")
    ] = None,
    atol: Annotated[float, typer.Option(help="Allowed absolute difference.")] = Tolerance.atol,
    rtol: Annotated[float, typer.Option(help="Allowed relative difference.")] = Tolerance.rtol,
) -> None:
    """Compare a bundle's models with each other, with torch, and with its golden vectors."""
    tolerance = Tolerance(atol, rtol)
    if golden_only and checkpoint is not None:
        raise InvalidInputError("--golden-only runs no torch; leave out --checkpoint")
    opened = open_bundle(bundle)
    predictors: dict[str, Predictor]
    if golden_only:
        predictors = {"onnx": OnnxClassifier(opened, num_threads=1).predict_logits}
    else:
        predictors = _with_torch(opened, checkpoint, weights)
    with progress_bar() as progress:
        task = progress.add_task("verify", total=None)
        report = verify_predictors(
            predictors,
            opened.manifest.signature,
            opened.golden(),
            tolerance,
            lambda cell: progress.advance(task),
        )
    if report_file is not None:
        report.save(report_file)
    show_report(report)
    report.raise_if_failed()
    proved = "answers as its golden vectors say" if golden_only else "computes what was trained"
    out.print(f"[green]passed[/green]: {escape(str(bundle))} {proved}")


def show_report(report: Report) -> None:
    """Print a line for each pair of predictors, and the grid of each pair that has one."""
    table(
        f"Largest difference of a logit (allowed: {report.atol:g} + {report.rtol:g} × |logit|)",
        ("predictor", "against", "cells", "failed", "worst"),
        (
            (*pair, len(cells), sum(not cell.passed for cell in cells), f"{worst(cells):.1e}")
            for pair, cells in report.pairs().items()
        ),
    )
    for (predictor, reference), cells in report.pairs().items():
        grid = [cell for cell in cells if cell.group == "grid"]
        if any(cell.difference or not cell.passed for cell in grid):
            _show_grid(f"{predictor} against {reference}, worst difference by shape", grid)
        elif grid:
            out.print(f"{predictor} against {reference}: the same bits in every cell\n")


def _show_grid(title: str, grid: list[Cell]) -> None:
    batches = sorted({cell.batch for cell in grid})
    lengths = sorted({cell.length for cell in grid})
    bands = [band for band in np.array_split(lengths, min(_BANDS, len(lengths))) if len(band)]
    rows: Iterable[list[object]] = (
        [
            f"{band[0]}" if len(band) == 1 else f"{band[0]} to {band[-1]}",
            *(
                _entry([c for c in grid if c.batch == batch and c.length in band])
                for batch in batches
            ),
        ]
        for band in bands
    )
    table(title, ("length", *(f"batch {batch}" for batch in batches)), rows)


def _entry(cells: list[Cell]) -> Text:
    shown = f"{worst(cells):.1e}"
    return Text(shown) if all(cell.passed for cell in cells) else Text(f"{shown} ✗", style="red")


def _with_torch(bundle: Bundle, checkpoint: Path | None, weights: Weights) -> dict[str, Predictor]:
    with requires_extra("train"):
        import torch

        from pe_deploy.export import eager_predictor, predictors_of, weights_sha256
        from pe_deploy.training import load_checkpoint

    torch.set_num_threads(1)  # for the steps that are small; see torch_threads
    predictors = predictors_of(bundle)
    if checkpoint is None:
        return predictors
    trained = load_checkpoint(checkpoint, weights=weights)
    if trained.config.signature != bundle.manifest.signature:
        raise CheckpointError(
            f"{checkpoint} has {trained.config.signature}; "
            f"{bundle.path} has {bundle.manifest.signature}"
        )
    if weights_sha256(trained.model) != bundle.manifest.weights_sha256:
        raise CheckpointError(
            f"{checkpoint} holds other weights than {bundle.path} was made from "
            f"({weights} weights, if it is a checkpoint folder)"
        )
    return {"eager": eager_predictor(trained.model), **predictors}
