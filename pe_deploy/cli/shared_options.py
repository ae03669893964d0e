"""Options that several commands share."""

from __future__ import annotations

import typer

PUBLIC_KEY = typer.Option(help="The bundle has to be signed with this key's private half (PEM).")
