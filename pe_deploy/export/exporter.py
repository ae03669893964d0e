"""From a trained module to a published bundle: made aside, proved, and only then put in place."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import onnx
import onnxscript
import torch
from torch import nn

import pe_deploy
from pe_deploy.bundle import (
    CONFIG_KEY,
    GOLDEN,
    MANIFEST,
    ONNX,
    PARITY,
    README,
    SIGNATURE,
    THROUGHPUT,
    TORCHSCRIPT,
    Bundle,
    Dispatch,
    Manifest,
    golden_to_bytes,
    open_bundle,
    signer,
    write_bundle,
)
from pe_deploy.config import Decision, Label, Signature, Weights
from pe_deploy.errors import BundleError, ExportError, InvalidInputError
from pe_deploy.export.card import model_card
from pe_deploy.export.crossover import dispatch_of
from pe_deploy.export.golden import LabelledRows, eager_predictor, golden_cases
from pe_deploy.export.onnx import DEFAULT_OPSET, operators, to_onnx, to_throughput
from pe_deploy.export.refusals import check_onnx_refuses, check_torchscript_refuses
from pe_deploy.export.torchscript import to_torchscript
from pe_deploy.export.weights_digest import weights_sha256
from pe_deploy.parity import Cell, Predictor, Report, Tolerance, verify
from pe_deploy.runtime import onnx_predictors
from pe_deploy.runtime.plan import CHUNK_ROWS
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime
from pe_deploy.runtime.torchscript import TorchScriptClassifier
from pe_deploy.storage.atomic import check_writable, publishing
from pe_deploy.training import Checkpoint, load_checkpoint, torch_threads

FORMATS = ("onnx", "torchscript")

_LOOKS = 20  # at what is to be replaced, while another export replaces it


@dataclass(frozen=True)
class Source:
    """A trained module and what has to be known to use it.

    Attributes:
        module: maps int64 `[batch, sequence]` to logits as the signature says.
        signature: what the module takes and gives.
        labels: the label of each class.
        threshold: the probability above which a binary model answers `labels[1]`.
        model: the architecture's own config, if it has one.
        rows: rows of the data, best those that it was validated on, to judge decisions with.
    """

    module: nn.Module
    signature: Signature
    labels: tuple[Label, ...]
    threshold: float | None
    model: Mapping[str, Any] | None = None
    rows: LabelledRows | None = None

    @property
    def decision(self) -> Decision:
        """How labels are taken from the logits."""
        return Decision(self.labels, self.threshold)


@dataclass(frozen=True)
class Exported:
    """A published bundle, and the evidence that it was published on."""

    bundle: Bundle
    report: Report


def export(
    checkpoint: str | Path,
    output: str | Path,
    *,
    weights: Weights = "best",
    formats: Sequence[str] = FORMATS,
    opset: int = DEFAULT_OPSET,
    tolerance: Tolerance | None = None,
    progress: Callable[[Cell], None] | None = None,
    sign: str | Path | None = None,
    throughput: bool = True,
    crossover: int | None = None,
) -> Exported:
    """Export a checkpoint, or a plain state_dict with the notebook's keys, to a bundle.

    Args:
        checkpoint: a checkpoint folder, or a `.pt` or `.safetensors` file.
        output: the bundle's folder; a bundle that is there is replaced in one step.
        weights: "best" or "last", of a checkpoint folder.
        formats: which of "onnx" and "torchscript" to make.
        opset: the ONNX operator set to write.
        tolerance: how far apart the artifacts and torch may be.
        progress: called with each cell of the parity gate.
        sign: a PEM file with an elliptic-curve key, to sign the bundle with.
        throughput: whether to make `model.throughput.onnx`, the form for large batches, where it
            can be made and pays.
        crossover: rows from which that form is to be run. By default it is measured, which makes
            it the one thing in a bundle that may come out otherwise the next time.

    Raises:
        CheckpointError: the weights are missing, damaged or do not fit.
        ExportError: an artifact cannot be made, breaks a lint rule, or `output` is something else.
        ParityError: an artifact does not compute what the module computes.
        InvalidInputError: a format, opset, tolerance or key outside its range.
        OSError: `output` cannot be written; a bundle that is there stays whole.
    """
    trained = load_checkpoint(checkpoint, weights=weights)
    source = Source(
        trained.model,
        trained.config.signature,
        trained.labels,
        trained.threshold,
        trained.config.to_dict(),
        labelled_rows(trained),
    )
    return export_module(
        source,
        output,
        formats=formats,
        opset=opset,
        tolerance=tolerance,
        progress=progress,
        sign=sign,
        throughput=throughput,
        crossover=crossover,
    )


def export_module(
    source: Source,
    output: str | Path,
    *,
    formats: Sequence[str] = FORMATS,
    opset: int = DEFAULT_OPSET,
    tolerance: Tolerance | None = None,
    progress: Callable[[Cell], None] | None = None,
    sign: str | Path | None = None,
    throughput: bool = True,
    crossover: int | None = None,
) -> Exported:
    """Export any module that maps `input_ids` to `logits`; otherwise as `export`."""
    output = Path(output)
    formats = [formats] if isinstance(formats, str) else formats
    _check_formats(formats)
    if crossover is not None and not (type(crossover) is int and 1 <= crossover <= CHUNK_ROWS):
        raise InvalidInputError(f"crossover is {crossover!r}; allowed: 1 to {CHUNK_ROWS} rows")
    if crossover is not None and not (throughput and "onnx" in formats):
        raise InvalidInputError(
            f"crossover is {crossover}; allowed only where the throughput form is made of onnx"
        )
    source.decision.check(source.signature)
    _check_output(output)
    signature_of = None if sign is None else signer(sign)
    with torch_threads(1):
        golden = golden_cases(source.module, source.signature, source.decision, source.rows)
        artifacts, manifest = _make(source, formats, opset, throughput, crossover)
        artifacts[GOLDEN] = golden_to_bytes(golden, manifest.weights_sha256)
        # The gate runs the very bytes that are published.
        candidate = Bundle(output, manifest, artifacts)
        report = verify(
            {"eager": eager_predictor(source.module), **predictors_of(candidate)},
            source.signature,
            golden,
            exact=eager_predictor(source.module, torch.float64),
            floor_from="eager",
            decision=source.decision,
            tolerance=tolerance,
            about={"torch": str(torch.__version__), "onnxruntime": onnxruntime.__version__},
            progress=progress,
        )
    report.raise_if_failed()

    manifest = dataclasses.replace(manifest, parity=report.summary())
    artifacts[PARITY] = report.to_json().encode()
    artifacts[README] = model_card(manifest, artifacts, golden[0].input_ids[0]).encode()
    with publishing(output) as staging:
        write_bundle(staging, manifest, artifacts)
        if signature_of is not None:
            signed = {MANIFEST: (staging / MANIFEST).read_bytes(), **artifacts}
            (staging / SIGNATURE).write_bytes(signature_of(signed, output.name))
        published = open_bundle(staging)
    return Exported(dataclasses.replace(published, folder=output), report)


def labelled_rows(trained: Checkpoint) -> LabelledRows | None:
    """The rows that a checkpoint was validated on, if it holds them."""
    rows = trained.validation
    return None if rows is None else LabelledRows(rows.input_ids, rows.targets)


def predictors_of(bundle: Bundle) -> dict[str, Predictor]:
    """A predictor for each model in a bundle; ONNX on one thread, torch on as many as it is set.

    Run them inside `torch_threads(1)` for a result that can be repeated.
    """
    predictors: dict[str, Predictor] = {}
    if TORCHSCRIPT in bundle.files:
        predictors["torchscript"] = TorchScriptClassifier(bundle).predict_logits
    return predictors | onnx_predictors(bundle)


def _make(
    source: Source, formats: Sequence[str], opset: int, throughput: bool, crossover: int | None
) -> tuple[dict[str, bytes], Manifest]:
    """The artifacts, and the manifest that describes them."""
    manifest = Manifest(
        source.signature,
        source.labels,
        source.threshold,
        weights_sha256(source.module),
        source.model,
    )
    config = json.dumps(manifest.config(), ensure_ascii=False)
    artifacts = {}
    versions: dict[str, str | int] = {
        "pe_deploy": pe_deploy.__version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }
    used: dict[str, int] = {}
    dispatch = Dispatch()
    if "onnx" in formats:
        model = to_onnx(source.module, source.signature, opset=opset, metadata={CONFIG_KEY: config})
        fast = to_throughput(model, source.signature) if throughput else None
        dispatch = dispatch_of(model, fast, source.signature, crossover)
        artifacts[ONNX] = model.SerializeToString(deterministic=True)
        if fast is not None and dispatch.crossover is not None:
            artifacts[THROUGHPUT] = fast.SerializeToString(deterministic=True)
        for name in artifacts:
            check_onnx_refuses(artifacts[name], source.signature, name)
        used = operators(model)
        versions |= {
            "onnx": onnx.__version__,
            "onnxscript": onnxscript.__version__,
            "onnxruntime": onnxruntime.__version__,
            "opset": opset,
            "ir_version": model.ir_version,
        }
    if "torchscript" in formats:
        artifacts[TORCHSCRIPT] = to_torchscript(
            source.module, source.signature, {CONFIG_KEY: config}
        )
        check_torchscript_refuses(artifacts[TORCHSCRIPT], source.signature)
    return artifacts, dataclasses.replace(
        manifest, versions=versions, operators=used, dispatch=dispatch
    )


def _check_formats(formats: Sequence[str]) -> None:
    if not formats or any(name not in FORMATS for name in formats):
        raise InvalidInputError(
            f"formats are {', '.join(formats) or 'none'}; allowed: {', '.join(FORMATS)}"
        )


def _check_output(output: Path) -> None:
    """Refuse to replace what is not a bundle: a slip must not cost a folder of other files."""
    if not output.name:
        raise ExportError(f"{str(output)!r} names no folder; give the bundle a name of its own")
    check_writable(output)
    for _ in range(_LOOKS):
        before = _which(output)
        try:
            return _check_replaceable(output)
        except (ExportError, OSError):
            if _which(output) == before:
                raise
    raise ExportError(f"{output} is replaced all the time by another process; try again")


def _which(path: Path) -> tuple[int, int] | None:
    """Tells folders apart that are at one path one after the other."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_ctime_ns


def _check_replaceable(output: Path) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    try:
        manifest = Manifest.from_json((output / MANIFEST).read_bytes())
    except (BundleError, OSError) as error:
        raise ExportError(
            f"{output} is there and is not a bundle; choose another place: {error}"
        ) from error
    own = {MANIFEST, SIGNATURE, *manifest.files}
    foreign = sorted({path.name for path in output.iterdir()} - own)
    if foreign:
        raise ExportError(
            f"{output} holds {', '.join(foreign)}, which is not of its bundle; move it elsewhere"
        )
