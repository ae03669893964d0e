"""`pe-deploy inspect`: what a bundle is, and what its folder holds; checked on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pe_deploy.bundle.bundle import open_parts
from pe_deploy.bundle.describe import files_table, making_tables, model_facts
from pe_deploy.bundle.inventory import Inventory, inventory_of, listed
from pe_deploy.cli.console import facts, table
from pe_deploy.cli.shared_options import PUBLIC_KEY


def inspect(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    public_key: Annotated[Path | None, PUBLIC_KEY] = None,
) -> None:
    """Show a bundle's signature, sizes, operators, versions and parity."""
    opened = open_parts(bundle, public_key=public_key)
    manifest = opened.manifest
    found = inventory_of(opened)
    signed = f" and signed by {public_key}" if public_key else ""
    facts(f"{bundle}: {_state(found)}{signed}", model_facts(manifest))
    instead = dict.fromkeys(found.missing, "missing") | dict.fromkeys(found.changed, "changed")
    table(*files_table(manifest, instead))
    if found.unlisted:
        facts("Not part of the bundle", [("never opened", listed(found.unlisted))])
    for title, _, rows in making_tables(manifest):
        facts(title, ((str(name), value) for name, value in rows))


def _state(found: Inventory) -> str:
    missing = [f"lacks {listed(found.missing)}"] if found.missing else []
    changed = [f"{listed(found.changed)} was changed"] if found.changed else []
    which = "every other file" if missing or changed else "every file"
    return "; ".join([*missing, *changed, f"{which} is as it was published"])
