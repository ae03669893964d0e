"""`pe-deploy inspect`: what a bundle is, and what its folder holds; checked on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pe_deploy.bundle.artifacts import ONNX, THROUGHPUT
from pe_deploy.bundle.bundle import open_parts
from pe_deploy.bundle.inventory import Inventory, inventory_of, listed
from pe_deploy.bundle.manifest import Manifest
from pe_deploy.cli.console import facts, table
from pe_deploy.cli.shared_options import PUBLIC_KEY
from pe_deploy.config import INPUT_IDS, LOGITS

_LABELS_SHOWN = 20


def inspect(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    public_key: Annotated[Path | None, PUBLIC_KEY] = None,
) -> None:
    """Show a bundle's signature, sizes, operators, versions and parity."""
    opened = open_parts(bundle, public_key=public_key)
    manifest = opened.manifest
    found = inventory_of(opened)
    signed = f" and signed by {public_key}" if public_key else ""
    facts(f"{bundle}: {_state(found)}{signed}", _signature(manifest))
    table(
        "Files",
        ("file", "bytes", "SHA-256"),
        (
            (name, f"{record.size:,}", _instead(name, found) or f"{record.sha256[:16]}…")
            for name, record in manifest.files.items()
        ),
    )
    if found.unlisted:
        facts("Not part of the bundle", [("never opened", listed(found.unlisted))])
    if manifest.operators:
        counted = (f"{name} × {count}" for name, count in manifest.operators.items())
        facts("Graph", [("operators", ", ".join(counted))])
    dispatch = manifest.dispatch
    if dispatch.crossover is not None:
        facts(
            "Forms",
            [
                (ONNX, f"fewer than {dispatch.crossover} rows, of a batch or a thread's share"),
                (THROUGHPUT, f"from there on, up to {dispatch.chunk_rows} rows at once"),
            ],
        )
    facts("Made with", [(name, version) for name, version in manifest.versions.items()])
    facts(
        "Parity when published",
        [
            (name.replace("_", " "), f"{value:.2g}" if isinstance(value, float) else value)
            for name, value in manifest.parity.items()
            if name != "floors"  # a line for each length
        ],
    )


def _state(found: Inventory) -> str:
    missing = [f"lacks {listed(found.missing)}"] if found.missing else []
    changed = [f"{listed(found.changed)} was changed"] if found.changed else []
    which = "every other file" if missing or changed else "every file"
    return "; ".join([*missing, *changed, f"{which} is as it was published"])


def _instead(name: str, found: Inventory) -> str:
    """What to say instead of a file's digest; nothing where it is as it was published."""
    return "missing" if name in found.missing else "changed" if name in found.changed else ""


def _signature(manifest: Manifest) -> list[tuple[str, object]]:
    signature = manifest.signature
    axes = ", ".join(map(str, signature.output_axes))
    labels = ", ".join(map(str, manifest.labels[:_LABELS_SHOWN]))
    rest = len(manifest.labels) - _LABELS_SHOWN
    rows: list[tuple[str, object]] = [
        ("task", signature.task),
        ("input", f"{INPUT_IDS}: int64 [{', '.join(signature.input_axes)}]"),
        ("ids", f"0 to {signature.vocab_size - 1}"),
        ("length", f"{signature.min_length} to {signature.max_length}"),
        ("padding", "none" if signature.pad_id is None else f"right, id {signature.pad_id}"),
        ("output", f"{LOGITS}: float32 [{axes}]"),
        (
            "numbers" if signature.task == "regression" else "labels",
            labels + (f" and {rest} more" if rest > 0 else ""),
        ),
    ]
    if manifest.threshold is not None:
        rows.append(("threshold", f"{manifest.threshold:g}"))
    if manifest.model is not None:
        sizes = (f"{name} {value}" for name, value in manifest.model.items())
        rows.append(("model", ", ".join(sizes)))
    return [*rows, ("weights", f"SHA-256 {manifest.weights_sha256}")]
