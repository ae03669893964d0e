"""From a graph of ONNX, as our passes leave it, to the values of `program`.

An operator that neither `MOVING` nor `COMPUTING` has is without a form in C; it is named.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from pe_deploy.config import BATCH, Signature
from pe_deploy.errors import ExportError
from pe_deploy.export.c.computing import COMPUTING
from pe_deploy.export.c.moving import MOVING
from pe_deploy.export.c.program import Per, Value
from pe_deploy.export.c.reader import Reader
from pe_deploy.export.c.shapes import NoFormError, Tensor
from pe_deploy.export.guards import unguarded
from pe_deploy.export.passes import graph as g

_LARGEST = 2**24
"""Ids and places are counted in float32, where they meet other numbers."""

_READINGS = {**MOVING, **COMPUTING}


def read(model: onnx.ModelProto, signature: Signature) -> Value:
    """The logits of a graph from `to_onnx`, per row, or per token where the task is tokens.

    Raises:
        ExportError: it computes something that has no form in C; the line names the operator.
    """
    if max(signature.vocab_size, signature.max_length) > _LARGEST:
        raise ExportError(
            f"the form in C takes up to {_LARGEST:,} tokens and ids; the model has "
            f"{signature.vocab_size:,} and {signature.max_length:,}"
        )
    reader = Reader(g.read(unguarded(model, signature)).graph, signature)
    for node in reader.graph:
        try:
            _read(reader, node)
        except NoFormError as error:
            raise ExportError(
                f"the form in C has no {node.op_type} as the model uses it: {error}"
            ) from error
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # Sizes that do not go together: numpy says so, as an engine would.
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise ExportError(f"the form in C cannot read a {node.op_type}: {why}") from error
    found = reader.given(reader.graph.outputs[0])
    per_token = signature.task == "tokens"
    if (
        not isinstance(found, Tensor)
        or found.axes[:1] != (BATCH,)
        or (found.value.per is Per.TOKEN) != per_token
    ):
        raise ExportError("the form in C cannot give the logits as the model does")
    return found.value


def _read(reader: Reader, node: ir.Node) -> None:
    """Find out what the outputs of a node are."""
    reading = _READINGS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if reading is None:
        raise NoFormError(
            "what it knows are embeddings, positions, GRU, LSTM, RNN, last states, mean, max, "
            "linear layers, layer norm and simple functions of numbers"
        )
    if node.inputs and all(isinstance(it, np.ndarray) for it in map(reader.given, node.inputs)):
        folded = _folded(node, [reader.given(value) for value in node.inputs])
        if folded is not None:
            reader.known[node.outputs[0]] = folded
            return
    answer = reading(reader, node)
    answers = answer if isinstance(answer, list) else [answer]
    for value, known in zip(node.outputs, answers, strict=False):
        if known is not None:
            reader.known[value] = known


def _folded(node: ir.Node, arrays: list[Any]) -> NDArray[Any] | None:
    """What an operator makes of constants alone, for the few that are left with them."""
    first = arrays[0]
    if node.op_type == "Unsqueeze":
        raised: NDArray[Any] = np.expand_dims(first, tuple(map(int, arrays[1].ravel())))
        return raised
    if node.op_type == "Squeeze":
        return np.asarray(np.squeeze(first, tuple(map(int, arrays[1].ravel()))))
    if node.op_type == "Transpose":
        turned: NDArray[Any] = np.transpose(first, g.perm(node) or None)
        return turned
    return None
