"""What a bundle is, in words and tables: `inspect` prints them, a notebook shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pe_deploy.bundle.artifacts import ONNX, THROUGHPUT
from pe_deploy.config import INPUT_IDS, LOGITS, Decision, Signature
from pe_deploy.view.text import few

if TYPE_CHECKING:
    from pe_deploy.bundle.manifest import Manifest
    from pe_deploy.text.spec import TextSpec
    from pe_deploy.view.html import Table

_LABELS_SHOWN = 20


def sentence(signature: Signature, decision: Decision, text: TextSpec | None = None) -> str:
    """What a model takes and what it answers, in a line."""
    shortest, longest = signature.min_length, signature.max_length
    length = f"{longest}" if shortest == longest else f"{shortest} to {longest}"
    what = {"regression": "numbers", "multilabel": "any labels of"}.get(signature.task, "one of")
    each = " for each token" if signature.task == "tokens" else ""
    labels = few(decision.labels, 6)
    takes = f"rows of {length} ids from 0 to {signature.vocab_size - 1}"
    if text is not None:
        unit = "tokens" if text.kind == "tokenizer.json" else text.kind
        takes = f"texts of {length} {unit}"
    return f"{takes} → {what} {labels}{each}"


def signature_facts(signature: Signature, decision: Decision) -> list[tuple[str, object]]:
    """What a model takes and what it answers, a line each."""
    axes = ", ".join(map(str, signature.output_axes))
    rows: list[tuple[str, object]] = [
        ("task", signature.task),
        ("input", f"{INPUT_IDS}: int64 [{', '.join(signature.input_axes)}]"),
        ("ids", f"0 to {signature.vocab_size - 1}"),
        ("length", f"{signature.min_length} to {signature.max_length}"),
        ("padding", "none" if signature.pad_id is None else f"right, id {signature.pad_id}"),
        ("output", f"{LOGITS}: float32 [{axes}]"),
        (
            "numbers" if signature.task == "regression" else "labels",
            few(decision.labels, _LABELS_SHOWN),
        ),
    ]
    if decision.threshold is not None:
        rows.append(("threshold", f"{decision.threshold:g}"))
    return rows


def text_facts(spec: TextSpec) -> list[tuple[str, object]]:
    """How texts become ids."""
    first = [f"{', '.join(spec.normalizer)} first"] if spec.normalizer else []
    unknown = "an error" if spec.unknown is None else f"id {spec.unknown}"
    long = "an error" if spec.truncation is None else f"cut at the {spec.truncation}"
    said = [
        f"as {spec.kind}",
        *first,
        *([] if spec.kind == "bytes" else [f"unknown: {unknown}"]),
        f"longer than {spec.length}: {long}",
    ]
    return [("text", "; ".join(said)), *(("left out", line) for line in spec.left_out)]


def model_facts(manifest: Manifest) -> list[tuple[str, object]]:
    """The signature, and what the model is inside."""
    rows = signature_facts(manifest.signature, manifest.decision)
    if manifest.text is not None:
        rows += text_facts(manifest.text)
    if manifest.model is not None:
        sizes = (f"{name} {value}" for name, value in manifest.model.items())
        rows.append(("model", ", ".join(sizes)))
    rows += origin_facts(manifest.origin or {})
    rows.append(("weights", f"SHA-256 {manifest.weights_sha256}"))
    if (compact := manifest.compact) is not None:
        said = f"to {compact.dtype}, of those with SHA-256 {compact.trained_sha256}"
        rows.append(("rounded", said))
    return rows


def origin_facts(origin: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Where a user's own module came from, and how it is called."""
    rows: list[tuple[str, object]] = []
    if "name" in origin:
        file = str(origin.get("file_sha256", ""))
        rows.append(("module", f"{origin['name']}{f', of a file {file[:16]}…' if file else ''}"))
    rows += [("computed", computed) for computed in origin.get("computed_inputs", [])]
    if "logits_from" in origin:
        rows.append(("logits", f"are {origin['logits_from']!r} of what it gives"))
    if "left_out" in origin:
        rows.append(("left out", f"{origin['left_out']}, which the decision applies"))
    return rows


def files_table(manifest: Manifest, instead: Mapping[str, str] | None = None) -> Table:
    """A row for each file; `instead` of its digest, what there is to say of some."""
    said = instead or {}
    rows: list[tuple[object, ...]] = [
        (name, f"{record.size:,}", said.get(name, f"{record.sha256[:16]}…"))
        for name, record in manifest.files.items()
    ]
    return "Files", ("file", "bytes", "SHA-256"), rows


def making_tables(manifest: Manifest) -> Iterator[Table]:
    """How the graph is made and run, what with, and the proof."""
    if manifest.operators:
        counted = (f"{name} × {count}" for name, count in manifest.operators.items())
        yield "Graph", (), [("operators", ", ".join(counted))]
    dispatch = manifest.dispatch
    if dispatch.crossover is not None:
        yield (
            "Forms",
            (),
            [
                (ONNX, f"fewer than {dispatch.crossover} rows, of a batch or a thread's share"),
                (THROUGHPUT, f"from there on, up to {dispatch.chunk_rows} rows at once"),
            ],
        )
    yield "Made with", (), list(manifest.versions.items())
    proof: list[tuple[object, ...]] = [
        (name.replace("_", " "), f"{value:.2g}" if isinstance(value, float) else value)
        for name, value in manifest.parity.items()
        if name != "floors"  # a line for each length
    ]
    yield "Parity when published", (), proof


def manifest_html(title: str, manifest: Manifest) -> str:
    """A manifest as a notebook shows it: all that `inspect` prints."""
    from pe_deploy.view import html

    return html.page(
        title,
        html.facts(model_facts(manifest)),
        html.table(*files_table(manifest)),
        html.folded("How it was made", *(html.table(*made) for made in making_tables(manifest))),
    )
