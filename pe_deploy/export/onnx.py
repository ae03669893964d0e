"""A module as one clean ONNX graph with free batch and sequence axes."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from torch import nn

from pe_deploy.config import BATCH, INPUT_IDS, LOGITS, SEQUENCE, Signature
from pe_deploy.errors import ExportError, InvalidInputError
from pe_deploy.export.guards import guard, unguarded
from pe_deploy.export.lint import Expectation, lint
from pe_deploy.export.onnx_gru import with_onnx_gru
from pe_deploy.export.passes import gru_to_scan, simplify
from pe_deploy.parity import random_ids

DEFAULT_OPSET = 18
OPSETS = range(18, 24)
"""What torch's exporter writes and `onnxruntime` runs with a GRU node in it."""


def to_onnx(
    module: nn.Module,
    signature: Signature,
    *,
    opset: int = DEFAULT_OPSET,
    sample_shape: tuple[int, int] | None = None,
    metadata: dict[str, str] | None = None,
) -> onnx.ModelProto:
    """Export a module that maps `input_ids` to `logits`, guard it, and lint the result.

    Args:
        module: any module with this signature; each `nn.GRU` in it becomes GRU nodes.
        signature: what the module takes and gives.
        opset: the ONNX operator set to write.
        sample_shape: `(batch, sequence)` of the example to capture with; it leaves no trace. By
            default two examples are tried, since a size may by chance be a constant of the model.
        metadata: entries for `metadata_props`.

    Raises:
        InvalidInputError: an opset or a sample shape outside its range.
        ExportError: the module cannot be captured, or the graph breaks a lint rule.
    """
    check_opset(opset)
    prepared, gru_nodes = with_onnx_gru(module)
    # Sizes that are unlikely to be constants of a model, so that the lint can tell them. A length
    # of 1 is never suspected, so the second sample settles a coincidence in the first.
    samples = [(13, min(11, max(1, signature.max_length - 1))), (17, 1)]
    for batch, length in [sample_shape] if sample_shape else samples:
        if batch < 1 or not 1 <= length <= signature.max_length:
            raise InvalidInputError(
                f"sample_shape is {(batch, length)}; allowed: 1 row or more, "
                f"1 to {signature.max_length} columns"
            )
        ids = random_ids(signature, batch, length, np.random.default_rng(0))
        model = _capture(prepared, torch.from_numpy(ids), opset)
        _clean(model)
        model = simplify(model)
        guard(model, signature)
        for key, value in (metadata or {}).items():
            model.metadata_props.add(key=key, value=value)
        findings = lint(model, Expectation(signature, gru_nodes, opset, (batch, length)))
        if not findings:
            return model
    raise ExportError("the ONNX graph breaks the lint: " + " | ".join(findings))


def check_opset(opset: int) -> None:
    """Raise InvalidInputError unless this operator set can be written."""
    if opset not in OPSETS:
        raise InvalidInputError(f"opset is {opset}; allowed: {OPSETS[0]} to {OPSETS[-1]}")


def to_throughput(model: onnx.ModelProto, signature: Signature) -> onnx.ModelProto | None:
    """The form of a graph from `to_onnx` that answers large batches faster, guarded and linted.

    Gives None where the graph has no GRU node of which the form could be made.

    Raises:
        ExportError: the new graph breaks a lint rule.
    """
    fast = scanned(model, signature)
    if fast is None:
        return None
    layers, left = operators(model).get("GRU", 0), operators(fast).get("GRU", 0)
    opset = next(opset.version for opset in model.opset_import if not opset.domain)
    expected = Expectation(signature, left, opset, scan_layers=layers - left)
    if findings := lint(fast, expected):
        raise ExportError("the throughput graph breaks the lint: " + " | ".join(findings))
    return fast


def scanned(model: onnx.ModelProto, signature: Signature) -> onnx.ModelProto | None:
    """As `to_throughput`, without the lint: of a faulty graph, this has the same fault."""
    fast = gru_to_scan(unguarded(model, signature))
    if fast is not None:
        guard(fast, signature)
    return fast


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """How often each operator occurs, by name."""
    return dict(sorted(Counter(node.op_type for node in model.graph.node).items()))


def _capture(module: nn.Module, ids: torch.Tensor, opset: int) -> onnx.ModelProto:
    try:
        with _exporter_noise_silenced():
            program = torch.onnx.export(
                module,
                (ids,),
                dynamo=True,
                external_data=False,
                input_names=[INPUT_IDS],
                output_names=[LOGITS],
                dynamic_shapes=({0: BATCH, 1: SEQUENCE},),
                opset_version=opset,
                verbose=False,
            )
    except ExportError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        line = " ".join(str(cause).strip().split("\n\n")[0].split()) or type(cause).__name__
        raise ExportError(
            f"torch cannot capture {type(module).__name__} for ONNX: {line}"
        ) from error
    if program is None:
        raise ExportError(f"torch.onnx.export gave nothing for {type(module).__name__}")
    return program.model_proto


def _clean(model: onnx.ModelProto) -> None:
    """Leave the graph and nothing of its making: no source paths and no traces."""
    graph = model.graph
    graph.name = "classifier"
    graph.ClearField("doc_string")
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for value in [*graph.input, *graph.output, *graph.initializer, *graph.node]:
        del value.metadata_props[:]
        value.ClearField("doc_string")


@contextmanager
def _exporter_noise_silenced() -> Iterator[None]:
    """Silence the two notices that torch's exporter gives about itself, and nothing else."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")

    def keep(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("torchvision is not installed")

    registration.addFilter(keep)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            yield
    finally:
        registration.removeFilter(keep)
