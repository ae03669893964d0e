"""The command line: one module a command, heavy imports inside the command."""

from __future__ import annotations

from typing import Annotated

import typer

import pe_deploy
from pe_deploy.cli.bench import bench
from pe_deploy.cli.demo import demo
from pe_deploy.cli.export import export
from pe_deploy.cli.inspect import inspect
from pe_deploy.cli.predict import predict
from pe_deploy.cli.train import train
from pe_deploy.cli.verify import verify

app = typer.Typer(
    name="pe-deploy",
    help="From a notebook's GRU classifier to a proved bundle for onnxruntime.",
    no_args_is_help=True,
    add_completion=False,
    # An expected failure is one line (see __main__); anything else is a bug: show it plainly.
    pretty_exceptions_enable=False,
)
for command in (demo, train, export, verify, predict, inspect, bench):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pe-deploy {pe_deploy.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
