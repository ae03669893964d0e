"""Options that several commands share."""

from __future__ import annotations

import typer

PUBLIC_KEY = typer.Option(help="The bundle has to be signed with this key's private half (PEM).")
MODULE = typer.Option(help="model.py:NAME, the module it was made from, which is run as you.")
WEIGHTS = typer.Option(help="The file for --module; of a checkpoint folder, best or last.")
ARG = typer.Option(help="key=value for the NAME of --module; repeatable.")
IDS_COLUMN = typer.Option(help="The column with lists of ids; by default input_ids.")
TEXT_COLUMN = typer.Option(help="The column with texts; by default text, without input_ids.")
LABEL_COLUMN = typer.Option(help="The column with labels.")
DELIMITER = typer.Option(help="What separates the cells of a CSV file; by default, as its header.")
DROP_MISSING = typer.Option("--drop-missing", help="Leave out rows whose label is missing.")
