"""No recurrent node may meet a sequence without steps: onnxruntime's kernels end the process there.

The guards see to it that rows have ids. But a module may shorten its rows before a layer reads
them, by a stride or a convolution, and leave nothing of the shortest.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper

from pe_deploy.config import INPUT_IDS, Signature
from pe_deploy.errors import ExportError, line_of
from pe_deploy.export.passes.graph import RECURRENT
from pe_deploy.parity import random_ids
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime as ort

_SHORTEST = 8
"""Lengths that are tried, from the least on: what is left of a longer row is no less."""


def check_steps(model: onnx.ModelProto, signature: Signature) -> None:
    """Run what each recurrent node reads, without the node, on the shortest rows.

    Raises:
        ExportError: one of them reads no step of such a row.
    """
    rng = np.random.default_rng(0)
    lengths = range(signature.min_length, signature.max_length + 1)[:_SHORTEST]
    for name, before in _before_each(model):
        session = ort.InferenceSession(
            before.SerializeToString(), _options(), providers=["CPUExecutionProvider"]
        )
        for length in lengths:
            ids = random_ids(signature, 1, length, rng)
            try:
                (shape,) = session.run(None, {INPUT_IDS: ids})
            except Exception as error:
                raise ExportError(
                    f"the graph fails on rows of {length} ids: {line_of(error)}"
                ) from error
            if not shape[0]:
                raise ExportError(
                    f"{name} reads no step of rows of {length} ids, which would end the process "
                    f"that runs it; state --min-length {length + 1}"
                )


def _before_each(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.ModelProto]]:
    """For each recurrent node, a graph that gives the shape of what it reads, and ends there."""
    for place, node in enumerate(model.graph.node):
        if node.op_type not in RECURRENT:
            continue
        part = copy.deepcopy(model)
        graph = part.graph
        kept, needed = [], {node.input[0]}
        for earlier in reversed(model.graph.node[:place]):
            if needed & set(earlier.output):
                needed.update(earlier.input)
                kept.append(earlier)
        del graph.node[:], graph.output[:]
        graph.node.extend(reversed(kept))
        graph.node.append(helper.make_node("Shape", [node.input[0]], ["steps_shape"]))
        graph.output.append(helper.make_tensor_value_info("steps_shape", TensorProto.INT64, [None]))
        used = [tensor for tensor in graph.initializer if tensor.name in needed]
        del graph.initializer[:]
        graph.initializer.extend(used)
        yield node.name, part


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return options
