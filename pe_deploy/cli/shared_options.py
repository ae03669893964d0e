"""Options that several commands share."""

from __future__ import annotations

import typer

PUBLIC_KEY = typer.Option(help="The bundle has to be signed with this key's private half (PEM).")
MODULE = typer.Option(help="model.py:NAME, the module it was made from, which is run as you.")
WEIGHTS = typer.Option(help="The file for --module; of a checkpoint folder, best or last.")
ARG = typer.Option(help="key=value for the NAME of --module; repeatable.")
