"""`pe-deploy inspect`: what a bundle is, read from its manifest and checked on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pe_deploy.bundle import ONNX, THROUGHPUT, Manifest, open_bundle
from pe_deploy.cli.console import facts, table
from pe_deploy.cli.options import PUBLIC_KEY
from pe_deploy.config import INPUT_IDS, LOGITS

_LABELS_SHOWN = 20


def inspect(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    public_key: Annotated[Path | None, PUBLIC_KEY] = None,
) -> None:
    """Show a bundle's signature, sizes, operators, versions and parity."""
    opened = open_bundle(bundle, public_key=public_key)
    manifest = opened.manifest
    signed = f" and signed by {public_key}" if public_key else ""
    facts(f"{bundle}: every file is as it was published{signed}", _signature(manifest))
    table(
        "Files",
        ("file", "bytes", "SHA-256"),
        (
            (name, f"{record.size:,}", f"{record.sha256[:16]}…")
            for name, record in manifest.files.items()
        ),
    )
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


def _signature(manifest: Manifest) -> list[tuple[str, object]]:
    signature = manifest.signature
    axes = ", ".join(map(str, signature.output_axes))
    labels = ", ".join(map(str, manifest.labels[:_LABELS_SHOWN]))
    rest = len(manifest.labels) - _LABELS_SHOWN
    rows: list[tuple[str, object]] = [
        ("input", f"{INPUT_IDS}: int64 [{', '.join(signature.input_axes)}]"),
        ("ids", f"0 to {signature.vocab_size - 1}"),
        ("length", f"1 to {signature.max_length}"),
        ("padding", "none" if signature.pad_id is None else f"right, id {signature.pad_id}"),
        ("output", f"{LOGITS}: float32 [{axes}]"),
        ("labels", labels + (f" and {rest} more" if rest > 0 else "")),
    ]
    if manifest.threshold is not None:
        rows.append(("threshold", f"{manifest.threshold:g}"))
    if manifest.model is not None:
        sizes = (f"{name} {value}" for name, value in manifest.model.items())
        rows.append(("model", ", ".join(sizes)))
    return [*rows, ("weights", f"SHA-256 {manifest.weights_sha256}")]
