"""A module as one clean ONNX graph with free batch and sequence axes."""

from __future__ import annotations

import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import NamedTuple

import numpy as np
import onnx
import torch
from torch import nn

from pe_deploy.config import BATCH, INPUT_IDS, LOGITS, SEQUENCE, Signature
from pe_deploy.errors import ExportError, InvalidInputError
from pe_deploy.export.adapt.adapter import name_of
from pe_deploy.export.adapt.blame import blamed, own_words
from pe_deploy.export.adapt.copying import frozen_copy
from pe_deploy.export.adapt.exact import slow_attention
from pe_deploy.export.guards import guard, unguarded
from pe_deploy.export.lint import Expectation, lint
from pe_deploy.export.passes import recurrent_to_scan, simplify
from pe_deploy.export.passes.graph import RECURRENT
from pe_deploy.export.passes.recurrent_to_scan import FLOAT_BYTES
from pe_deploy.export.stand_ins import (
    cells,
    len_kept_free,
    ready_to_capture,
    sizes_asked,
    standing_in,
)
from pe_deploy.parity import random_ids

_NO_LOOPS = (
    "let nn.GRU, nn.LSTM or nn.RNN run over the sequence in place of a loop, and take sizes by "
    ".shape or .size(), not by len()"
)

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
        module: any module with this signature; each layer of an `nn.GRU`, `nn.LSTM` or `nn.RNN` in
            it becomes a node.
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
    prepared = frozen_copy(module)
    ready_to_capture(prepared)
    shapes = _sample_shapes(signature) if sample_shape is None else [sample_shape]
    made: list[_Captured] = []
    for shape in shapes:
        made.append(_captured(prepared, signature, opset, shape, metadata or {}))
        findings = made[-1].findings(signature, opset, shape)
        if not findings:
            return made[-1].model
    first, *others = (each.model.SerializeToString(deterministic=True) for each in made)
    if others and others == [first]:
        # What is equal in captures of two sizes is no trace of either.
        findings = made[0].findings(signature, opset, (1, 1))
        if not findings:
            return made[0].model
    raise ExportError("the ONNX graph breaks the lint: " + " | ".join(findings))


class _Captured(NamedTuple):
    """A finished graph, and the recurrent nodes that it was captured with."""

    model: onnx.ModelProto
    recurrent: int

    def findings(self, signature: Signature, opset: int, shape: tuple[int, int]) -> list[str]:
        return lint(self.model, Expectation(signature, self.recurrent, opset, shape))


def _captured(
    prepared: nn.Module,
    signature: Signature,
    opset: int,
    shape: tuple[int, int],
    metadata: dict[str, str],
) -> _Captured:
    batch, length = shape
    if batch < 1 or not signature.min_length <= length <= signature.max_length:
        raise InvalidInputError(
            f"sample_shape is {shape}; allowed: 1 row or more, "
            f"{signature.min_length} to {signature.max_length} columns"
        )
    ids = random_ids(signature, batch, length, np.random.default_rng(0))
    model = _capture(prepared, torch.from_numpy(ids), opset, signature)
    _clean(model)
    model = simplify(model)
    recurrent = sum(node.op_type in RECURRENT for node in model.graph.node)
    guard(model, signature)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return _Captured(model, recurrent)


def _sample_shapes(signature: Signature) -> list[tuple[int, int]]:
    """Two examples to capture with, of sizes that are unlikely to be constants of a model.

    Not 1, which torch takes for a constant, and not the longest, where a table's end is near.
    """
    shortest, longest = signature.min_length, signature.max_length
    lengths = [n for n in (11, 7, 5, 3, 19, 23, 2) if shortest <= n < longest]
    lengths += [n for n in (shortest, longest) if n not in lengths]
    return [(13, lengths[0]), (17, lengths[min(1, len(lengths) - 1)])]


def check_opset(opset: int) -> None:
    """Raise InvalidInputError unless this operator set can be written."""
    if opset not in OPSETS:
        raise InvalidInputError(f"opset is {opset}; allowed: {OPSETS[0]} to {OPSETS[-1]}")


def to_throughput(
    model: onnx.ModelProto, signature: Signature, weight_bytes: int = FLOAT_BYTES
) -> onnx.ModelProto | None:
    """The form of a graph from `to_onnx` that answers large batches faster, guarded and linted.

    Gives None where the graph has no recurrent node of which the form could be made. For
    `weight_bytes` see `recurrent_to_scan`.

    Raises:
        ExportError: the new graph breaks a lint rule.
    """
    fast = scanned(model, signature, weight_bytes)
    if fast is None:
        return None
    if findings := lint(fast, expectation_of(model, signature, throughput=True)):
        raise ExportError("the throughput graph breaks the lint: " + " | ".join(findings))
    return fast


def expectation_of(
    model: onnx.ModelProto, signature: Signature, throughput: bool = False
) -> Expectation:
    """What a good graph of `to_onnx`, or the throughput form of it, is to be held to."""
    opset = next(opset.version for opset in model.opset_import if not opset.domain)
    graph = (scanned(model, signature) if throughput else model) or model
    nodes = sum(node.op_type in RECURRENT for node in graph.graph.node)
    return Expectation(signature, nodes, opset, scanned=_ways(model) - _ways(graph))


def _ways(model: onnx.ModelProto) -> Counter[str]:
    """The directions of all recurrent nodes, by operator: their weights have a row for each."""
    rows = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    counts: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type in RECURRENT:
            counts[node.op_type] += rows.get(node.input[1], 1)
    return counts


def scanned(
    model: onnx.ModelProto, signature: Signature, weight_bytes: int = FLOAT_BYTES
) -> onnx.ModelProto | None:
    """As `to_throughput`, without the lint: of a faulty graph, this has the same fault."""
    fast = recurrent_to_scan(unguarded(model, signature), weight_bytes)
    if fast is not None:
        guard(fast, signature)
    return fast


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """How often each operator occurs, by name."""
    return dict(sorted(Counter(node.op_type for node in model.graph.node).items()))


def _capture(
    module: nn.Module, ids: torch.Tensor, opset: int, signature: Signature
) -> onnx.ModelProto:
    axes = {0: BATCH, 1: SEQUENCE}
    if signature.min_length == signature.max_length:
        del axes[1]
    try:
        with (
            _exporter_noise_silenced(),
            redirect_stdout(io.StringIO()),  # graphs, where something fails; and the module's own
            redirect_stderr(io.StringIO()),
            standing_in(),
            len_kept_free(module, loops=True),
            slow_attention(),
            sizes_asked() as asked,
        ):
            program = torch.onnx.export(
                module,
                (ids,),
                dynamo=True,
                external_data=False,
                input_names=[INPUT_IDS],
                output_names=[LOGITS],
                dynamic_shapes=(axes,),
                opset_version=opset,
                verbose=False,
            )
            cells.LOOPS.check()
    except ExportError:
        raise
    except Exception as error:
        if (own := own_words(error)) is not None:
            raise ExportError(f"{name_of(module)}: {own}") from error
        why = blamed(error)
        if "static shape" in str(error) and asked.numbers:
            line = asked.numbers[0]
            why = f"a size is used as a Python number, which fixes it (at {line}); {_NO_LOOPS}"
        raise ExportError(f"torch cannot capture {name_of(module)} for ONNX: {why}") from error
    if line := asked.broken(signature, ids.shape[1]):
        raise ExportError(
            f"{name_of(module)} asks for a size, and a graph holds one answer only (at {line}); "
            "compute both sides, or state --max-length and --min-length so that it has one"
        )
    if program is None:
        raise ExportError(f"torch.onnx.export gave nothing for {name_of(module)}")
    model: onnx.ModelProto = program.model_proto
    if 1 not in axes:  # the guards hold it to its one length
        for value in (*model.graph.input, *model.graph.output):
            dims = value.type.tensor_type.shape.dim
            if (len(dims) > 1 and value.name == INPUT_IDS) or signature.task == "tokens":
                dims[1].dim_param = SEQUENCE
    return model


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
