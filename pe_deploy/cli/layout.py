"""`pe-deploy layout`: a bundle in the form that another server reads from its own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pe_deploy.bundle.bundle import open_bundle
from pe_deploy.cli.console import out
from pe_deploy.cli.shared_options import PUBLIC_KEY
from pe_deploy.serve.names import name_of
from pe_deploy.serve.triton import Graph, write_triton


def layout(
    server: Annotated[Literal["triton"], typer.Argument(metavar="SERVER", help="triton.")],
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="A model repository; the model is a folder of it."),
    ] = Path("model_repository"),
    name: Annotated[
        str | None, typer.Option(help="What requests call it; by default as its folder.")
    ] = None,
    graph: Annotated[
        Graph | None,
        typer.Option(help="Which of its graphs; by default the one for text, where there is one."),
    ] = None,
    max_rows: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Rows of a batch, at most.")
    ] = 256,
    instances: Annotated[
        int, typer.Option(min=1, max=1024, help="Of the model, one thread each.")
    ] = 1,
    public_key: Annotated[Path | None, PUBLIC_KEY] = None,
) -> None:
    """Write BUNDLE as a model of a SERVER's repository, with a configuration to fit."""
    opened = open_bundle(bundle, public_key=public_key)
    written = write_triton(
        opened,
        output,
        name_of(bundle, name),
        graph=graph,
        most_rows=max_rows,
        instances=instances,
    )
    out.print(f"Written: {written}", markup=False, soft_wrap=True)
