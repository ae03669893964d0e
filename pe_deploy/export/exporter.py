"""From a trained module to a published bundle: made aside, proved, and only then put in place."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy
import onnx
import onnxscript
import torch
from torch import nn

import pe_deploy
from pe_deploy.bundle import artifacts as names
from pe_deploy.bundle.bundle import Bundle, open_bundle, write_bundle
from pe_deploy.bundle.describe import files_table, sentence, signature_facts
from pe_deploy.bundle.golden import golden_to_bytes
from pe_deploy.bundle.manifest import Manifest
from pe_deploy.bundle.signing import signer
from pe_deploy.config import Label, Task, Weights
from pe_deploy.errors import ExportError, PeDeployError
from pe_deploy.export.adapt.adapter import name_of
from pe_deploy.export.adapt.blame import blamed
from pe_deploy.export.adapt.loading import Loaded
from pe_deploy.export.adapt.reading import Stated
from pe_deploy.export.any_module import Outputs, ready, source_of
from pe_deploy.export.c.source import to_c
from pe_deploy.export.card import model_card
from pe_deploy.export.compact import compact_of, to_compact, weight_bytes
from pe_deploy.export.crossover import dispatch_of
from pe_deploy.export.destination import check_destination
from pe_deploy.export.eager import golden_cases, reference_of
from pe_deploy.export.empty_steps import check_steps
from pe_deploy.export.held_out import Data
from pe_deploy.export.onnx import operators, to_onnx, to_throughput
from pe_deploy.export.options import DEFAULTS, ExportOptions
from pe_deploy.export.refusals import (
    check_c_refuses,
    check_onnx_refuses,
    check_torchscript_refuses,
)
from pe_deploy.export.source import Source
from pe_deploy.export.text import (
    check_takes_graph,
    example_text,
    text_files,
    text_graph,
    text_versions,
)
from pe_deploy.export.torchscript import to_torchscript
from pe_deploy.export.weights import weights_source
from pe_deploy.parity import Cell, Report, verify_bundle
from pe_deploy.runtime.native_compiler import compiler
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime
from pe_deploy.storage.atomic import publishing
from pe_deploy.text.golden import golden_texts
from pe_deploy.text.spec import Truncation
from pe_deploy.text.tokenizer import Tokenizer
from pe_deploy.training import torch_threads
from pe_deploy.training.state_dict import weights_sha256
from pe_deploy.view import html
from pe_deploy.view.progress import shown


@dataclass(frozen=True)
class Exported:
    """A published bundle, and the evidence that it was published on.

    `notes` has a line on each thing that was done to read the weights.
    """

    bundle: Bundle
    report: Report
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        manifest = self.bundle.manifest
        lines = [
            sentence(manifest.signature, manifest.decision, manifest.text),
            self.report.headline,
        ]
        return f"<Exported {self.bundle.folder}: " + "\n  ".join(lines) + ">"

    def _repr_html_(self) -> str:
        manifest = self.bundle.manifest
        return html.page(
            f"Published {self.bundle.folder}; {self.report.headline}",
            *map(html.line, self.notes),
            html.facts(signature_facts(manifest.signature, manifest.decision)),
            html.table(*files_table(manifest)),
            html.folded("The proof", self.report._repr_html_()),
        )


def export(
    checkpoint: str | Path,
    output: str | Path,
    options: ExportOptions = DEFAULTS,
    *,
    weights: Weights = "best",
    labels: Sequence[Label] | None = None,
    threshold: float | None = None,
    pad_id: int | None = None,
    tokenizer: str | Path | Tokenizer | None = None,
    truncation: Truncation | None = None,
    data: Data | None = None,
    progress: Callable[[Cell], None] | None = None,
) -> Exported:
    """Export a checkpoint, or the weights of a notebook's model, to a bundle.

    Args:
        checkpoint: a checkpoint folder, or a file or folder of weights.
        output: the bundle's folder; a bundle that is there is replaced in one step.
        options: what to make, and what is allowed.
        weights: "best" or "last", of a checkpoint folder.
        labels: the label of each class, of weights alone; a checkpoint folder knows its own.
        threshold: the probability above which a binary model answers `labels[1]`, likewise.
        pad_id: the id that fills short rows, likewise.
        tokenizer: what makes ids of texts: "bytes", a file as `read_tokenizer` takes it, or what
            that gave; by default the checkpoint's own.
        truncation: which end of a text that is too long is cut off; by default it is an error, or
            what the checkpoint states.
        data: held-out rows that the decisions are judged on; by default the checkpoint's.
        progress: called with each cell of the parity gate; a notebook shows a bar without.

    Raises:
        CheckpointError: the weights are missing, damaged or do not fit.
        ExportError: an artifact cannot be made, breaks a lint rule, or `output` is something else.
        ParityError: an artifact does not compute what the module computes.
        InvalidInputError: the labels do not fit the model, or the key cannot be read.
        OSError: `output` cannot be written; a bundle that is there stays whole.

    >>> from pe_deploy.export import export
    >>> export("weights.pt", "models/mine").report.passed
    True
    """
    stated = {"labels": labels, "threshold": threshold, "pad_id": pad_id, "data": data}
    source = weights_source(Path(checkpoint), weights, stated, tokenizer, truncation)
    return _published(source, output, options, progress)


def export_module(
    module: nn.Module | Loaded | Source,
    output: str | Path,
    options: ExportOptions = DEFAULTS,
    *,
    vocab_size: int | None = None,
    max_length: int | None = None,
    min_length: int | None = None,
    pad_id: int | None = None,
    task: Task = "classes",
    labels: Sequence[Label] | None = None,
    threshold: float | None = None,
    outputs: Outputs = "logits",
    data: Data | None = None,
    tokenizer: str | Path | Tokenizer | None = None,
    truncation: Truncation | None = None,
    formats: Sequence[str] | None = None,
    progress: Callable[[Cell], None] | None = None,
) -> Exported:
    """Export any module that maps `input_ids` to `logits`; otherwise as `export`.

    What is not stated is read off the module: the vocabulary from the embedding that the ids go
    to, the lengths by trying, the classes from an answer. Masks and lengths that its `forward`
    takes are computed inside the graph. The module itself is not changed.

    Args:
        module: in any state of training, on any device; or what `load_module` took out of a file;
            or a `Source` that is all stated.
        output: the bundle's folder; a bundle that is there is replaced in one step.
        options: what to make, and what is allowed.
        vocab_size: ids run from 0 to one less.
        max_length: the most ids of a row; where a table of positions bounds it, it is found.
        min_length: the fewest ids of a row; by default the fewest that the module takes.
        pad_id: the id that fills short rows, whose answers must not hang on it; None where all
            rows of a batch have one length.
        task: classes, multilabel, regression or tokens.
        labels: the label of each class, or the name of each number; by default 0, 1, 2, ….
        threshold: the probability above which a binary or multilabel model answers a label; by
            default 0.5.
        outputs: "probabilities" where the module ends in sigmoid or softmax, which is then left
            out, and applied by the bundle's decision.
        data: held-out rows that the decisions are judged on: a file, a `Dataset`, or a
            `TextDataset`.
        tokenizer: what makes ids of texts, as of `export`; its padding is then the `pad_id`.
        truncation: which end of a text that is too long is cut off; by default it is an error.
        formats: as in `options`.
        progress: called with each cell of the parity gate; a notebook shows a bar without.

    Raises:
        ExportError: also where the module does what no bundle can hold to: the line says what, in
            which line of its code, and the way out.

    >>> from torch import nn
    >>> from pe_deploy.export import export_module
    >>> class Mean(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.embedding = nn.Embedding(12, 8)
    ...         self.head = nn.Linear(8, 3)
    ...     def forward(self, ids):
    ...         return self.head(self.embedding(ids).mean(1))
    >>> made = export_module(Mean(), "models/mine", max_length=10, labels=("low", "mid", "high"))
    >>> made.bundle.manifest.labels
    ('low', 'mid', 'high')
    """
    if formats is not None:
        options = dataclasses.replace(options, formats=formats)
    check_destination(Path(output))
    stated = Stated(vocab_size, max_length, min_length, pad_id, task)
    with shown("export and compare", progress) as told:
        with torch_threads(1):
            source = (
                ready(module)
                if isinstance(module, Source)
                else source_of(
                    module,
                    stated,
                    labels=labels,
                    threshold=threshold,
                    outputs=outputs,
                    data=data,
                    tokenizer=tokenizer,
                    truncation=truncation,
                )
            )
        return _published(source, output, options, told)


def _published(
    source: Source,
    output: str | Path,
    options: ExportOptions,
    progress: Callable[[Cell], None] | None,
) -> Exported:
    output = Path(output)
    source.decision.check(source.signature)
    check_destination(output)
    if options.text_graph:
        check_takes_graph(source.encoder)
    if "c" in options.formats:
        compiler()  # without one there is no proof: said before any work
    trained = None
    if options.compact is not None:
        trained = source.module
        source = compact_of(source, options.compact, options.allow_flips)
    signature_of = None if options.sign is None else signer(options.sign)
    with shown("export and compare", progress) as told, torch_threads(1):
        golden = golden_cases(source.module, source.signature, source.decision, source.rows)
        artifacts, manifest = _make(source, options)
        artifacts[names.GOLDEN] = golden_to_bytes(golden, manifest.weights_sha256)
        texts = []
        if source.encoder is not None:
            texts = golden_texts(source.encoder, source.texts)
            artifacts |= text_files(source.encoder, texts)
        # The gate runs the very bytes that are published.
        candidate = Bundle(output, manifest, artifacts)
        report = verify_bundle(
            candidate,
            reference_of(source.module, source.signature, trained, source.rows),
            tolerance=options.tolerance,
            about={"torch": str(torch.__version__), "onnxruntime": onnxruntime.__version__},
            progress=told,
        )
    report.raise_if_failed()

    manifest = dataclasses.replace(manifest, parity=report.summary())
    artifacts[names.PARITY] = report.to_json().encode()
    example, text = golden[0].input_ids[0], example_text(texts)
    card = model_card(manifest, artifacts, example, text, options.license, report.losses)
    artifacts[names.README] = card.encode()
    with publishing(output) as staging:
        write_bundle(staging, manifest, artifacts)
        if signature_of is not None:
            signed = {names.MANIFEST: (staging / names.MANIFEST).read_bytes(), **artifacts}
            (staging / names.SIGNATURE).write_bytes(signature_of(signed, output.name))
        published = open_bundle(staging)
    return Exported(dataclasses.replace(published, folder=output), report, source.notes)


def _make(source: Source, options: ExportOptions) -> tuple[dict[str, bytes], Manifest]:
    """The artifacts, and the manifest that describes them."""
    module, signature = source.module, source.signature
    digest = source.weights_sha256 or weights_sha256(module)
    manifest = Manifest(
        signature,
        source.labels,
        source.threshold,
        digest,
        source.model,
        origin=source.origin,
        text=None if source.encoder is None else source.encoder.spec,
        compact=source.compact,
    )
    metadata = {names.CONFIG_KEY: json.dumps(manifest.config(), ensure_ascii=False)}
    artifacts: dict[str, bytes] = {}
    versions: dict[str, str | int] = {
        "pe_deploy": pe_deploy.__version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }
    if "onnx" in options.formats or "c" in options.formats:
        with _told(module):
            model = to_onnx(module, signature, opset=options.opset, metadata=metadata)
            check_steps(model, signature)  # before anything runs it
        if "c" in options.formats:
            source_files = to_c(model, signature, source.labels, options.c_name)
    if "onnx" in options.formats:
        with _told(module):
            width = weight_bytes(source.compact)
            fast = to_throughput(model, signature, width) if options.throughput else None
            dispatch = dispatch_of(model, fast, signature, options.crossover)
            stored, fast = to_compact(model, fast, signature, source.compact)
        artifacts[names.ONNX] = stored.SerializeToString(deterministic=True)
        if fast is not None and dispatch.crossover is not None:
            artifacts[names.THROUGHPUT] = fast.SerializeToString(deterministic=True)
        with _told(module):
            for name, data in artifacts.items():
                check_onnx_refuses(data, signature, name)
            if options.text_graph and source.encoder is not None:
                artifacts[names.TEXT_ONNX] = text_graph(stored, source.encoder)
        manifest = dataclasses.replace(manifest, operators=operators(stored), dispatch=dispatch)
        versions |= {
            "onnx": onnx.__version__,
            "onnxscript": onnxscript.__version__,
            "onnxruntime": onnxruntime.__version__,
            "opset": options.opset,
            "ir_version": model.ir_version,
        }
    if source.encoder is not None:
        versions |= text_versions(source.encoder)
    if "torchscript" in options.formats:
        artifacts[names.TORCHSCRIPT] = to_torchscript(module, signature, metadata)
        check_torchscript_refuses(artifacts[names.TORCHSCRIPT], signature)
    if "c" in options.formats:
        artifacts[names.C_SOURCE] = source_files.source.encode()
        artifacts[names.C_HEADER] = source_files.header.encode()
        of_ids = dataclasses.replace(manifest, text=None)  # the tokenizer is not among these yet
        check_c_refuses(Bundle(Path(names.C_SOURCE), of_ids, artifacts))
    return artifacts, dataclasses.replace(manifest, versions=versions)


@contextmanager
def _told(module: nn.Module) -> Iterator[None]:
    """Make an ExportError of whatever a graph that nobody foresaw makes of torch, onnx or ours."""
    try:
        yield
    except (PeDeployError, OSError, MemoryError):
        raise
    except Exception as error:
        raise ExportError(
            f"{name_of(module)} cannot be made an ONNX graph: {blamed(error)}"
        ) from error
