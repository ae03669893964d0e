"""The command line: one module a command, imported only when that command is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated

import typer

import pe_deploy

COMMANDS = {
    "demo": "Train on digits or names, export, verify, and predict what was never seen before.",
    "train": "Train a classifier and leave a checkpoint; every default is the notebook's.",
    "export": "Export SOURCE; publish it only if every artifact computes what torch computes.",
    "verify": "Compare a bundle's models with each other, with torch, and with its golden vectors.",
    "predict": "Write INPUT's rows, in their order, with the model's answers added.",
    "serve": "Answer requests for BUNDLEs by the Open Inference Protocol v2, and KServe's v1.",
    "layout": "Write BUNDLE as a model of a SERVER's repository, with a configuration to fit.",
    "build": "Compile BUNDLE's model.c for this machine, and prove it, in a folder beside it.",
    "inspect": "Show a bundle's signature, sizes, operators, versions and parity.",
    "web": "Make a folder of static files, a page that runs BUNDLE in its visitors' browsers.",
    "bench": "Time BUNDLE and other engines in turns: the ratios of one run, with their quartiles.",
}
"""The function of each name is in the module of that name; with its first line, which `--help`
shows without importing what the command needs."""


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """The commands, of which the one that `arguments` name is ready to run."""
    app = typer.Typer(
        name="pe-deploy",
        help="From a notebook's GRU classifier to a proved bundle for onnxruntime.",
        no_args_is_help=True,
        add_completion=False,
        # An expected failure is one line (see __main__); anything else is a bug: show it plainly.
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for name, summary in COMMANDS.items():
        if name in arguments:
            app.command()(command(name))
        else:
            app.command(name, help=summary)(_not_asked_for)
    return app


def command(name: str) -> Callable[..., None]:
    """The function of a command, imported."""
    found: Callable[..., None] = getattr(import_module(f"{__name__}.{name}"), name)
    return found


def _not_asked_for() -> None:
    raise AssertionError("a command that no argument names was run")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pe-deploy {pe_deploy.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
