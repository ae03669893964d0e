"""What the demos have in common: the step that exports, and the commands to try next."""

from __future__ import annotations

import time
from pathlib import Path

from rich.markup import escape

from pe_deploy.bundle.manifest import Manifest
from pe_deploy.cli.console import counted, out
from pe_deploy.parity import ratio, worst


def export_step(checkpoint: Path, output: Path) -> Manifest:
    """Export and say how long that took, and how near ONNX is to exact; the bundle's manifest."""
    started = time.perf_counter()
    from pe_deploy.export import export

    with counted("export and compare") as progress:
        exported = export(checkpoint, output, progress=progress)
    report = exported.report
    onnx_error = worst(cell for cell in report.cells if cell.predictor == "onnx")
    out.print(
        f"[bold]3. Export[/bold]: ONNX and TorchScript in {time.perf_counter() - started:.0f} s "
        f"→ {escape(str(output))}\n   all {len(report.cells)} cells pass: ONNX is at most "
        f"{ratio(onnx_error, report.floor)} as far from exact as torch itself"
    )
    return exported.bundle.manifest


def suggest(*commands: str) -> None:
    """Print commands to try, each on a line that can be copied whole."""
    out.print("[bold]Try[/bold]")
    for command in commands:
        out.print(f"  {command}", markup=False, soft_wrap=True)
