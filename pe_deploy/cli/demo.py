"""`pe-deploy demo`: the whole main job on real data, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

_OUTPUTS = {"digits": "demo", "languages": "languages"}


def demo(
    data: Annotated[
        Literal["digits", "languages"],
        typer.Argument(help="Handwritten digits, or names in 16 languages (extra demo)."),
    ] = "digits",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The bundle; by default models/demo or languages."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Where training leaves its checkpoint.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
) -> None:
    """Train on digits or names, export, verify, and predict what was never seen before."""
    if data == "digits":
        from pe_deploy.cli.demo_digits import run
    else:
        from pe_deploy.cli.demo_languages import run
    name = _OUTPUTS[data]
    run(output or Path("models") / name, checkpoint or Path("checkpoints") / name, epochs)
