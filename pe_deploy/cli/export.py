"""`pe-deploy export`: a checkpoint, or the weights of a notebook, to a proved bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pe_deploy.cli.console import counted, facts, out
from pe_deploy.config import Weights


def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A checkpoint folder, or a file or folder of weights."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The bundle to publish.")],
    formats: Annotated[
        str, typer.Option("--format", help="What to make, separated by commas.")
    ] = "onnx,torchscript",
    opset: Annotated[int, typer.Option(help="The ONNX operator set.")] = 18,
    weights: Annotated[Weights, typer.Option(help="Of a checkpoint folder.")] = "best",
    sign: Annotated[
        Path | None, typer.Option(help="Sign with this elliptic-curve key (a PEM file).")
    ] = None,
    throughput: Annotated[
        bool, typer.Option("--throughput/--no-throughput", help="Add the form for large batches.")
    ] = True,
    crossover: Annotated[
        int | None, typer.Option(help="Rows from which to run it; by default this is measured.")
    ] = None,
) -> None:
    """Export CHECKPOINT; publish it only if every artifact computes what torch computes."""
    from pe_deploy.export import ExportOptions
    from pe_deploy.export import export as export_checkpoint

    options = ExportOptions(
        formats=[name.strip() for name in formats.split(",")],
        opset=opset,
        sign=sign,
        throughput=throughput,
        crossover=crossover,
    )
    with counted("export and compare") as progress:
        exported = export_checkpoint(
            checkpoint, output, options, weights=weights, progress=progress
        )
    for note in exported.notes:
        out.print(f"Weights: {note}", markup=False, soft_wrap=True)
    manifest, report = exported.bundle.manifest, exported.report
    facts(
        f"Published {output}",
        [
            *((name, f"{record.size:,} bytes") for name, record in manifest.files.items()),
            ("parity", f"{len(report.cells)} cells, worst difference {report.worst:.2g}"),
        ],
    )
