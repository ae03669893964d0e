"""Rows that end before the others: a state gathered at each row's last token."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from pe_deploy.export.passes import graph as g
from pe_deploy.export.passes.stacks import layers_of


def stop_at_lengths(graph: ir.Graph, node: ir.Node) -> None:
    """Let a layer stop at each row's last token, if its state there is all that is gathered.

        Y = GRU(X);  GatherND(Squeeze(Y), Concat(max(count - 1, 0), row))
          ↓
        _, Y_h = GRU(X, sequence_lens=max(count, 1));  Squeeze(Y_h)

    The step gathered is `max(count - 1, 0)`, where a row has `count` ids that are not padding, so
    the length `max(count, 1)` is always one that `sequence_lens` allows, and the final state is
    the state that was gathered.

    This is a step on the way to a Scan, and nothing to publish: onnx's reference evaluator and
    OpenVINO leave `sequence_lens` out of account without a word.

    A node that is not this gathering is left as it is.
    """
    if node.op_type != "GatherND" or node.attributes.get_int("batch_dims", 0) != 0:
        return
    outputs, joined = node.inputs[0], g.made_by(node.inputs[1], "Concat")
    layer = g.recurrent_giving(outputs)
    if joined is None or len(joined.inputs) != 2 or outputs is None or layer is None:
        return
    if not layers_of(layer) or g.given(layer, 4) is not None:
        return
    # Other readers would find zeros behind a row's end.
    if not (g.used_once(layer.outputs[0]) and g.used_once(outputs)):
        return
    if g.is_used(layer, 1) or g.is_used(layer, 2):
        return
    ends, rows = (g.made_by(part, "Unsqueeze") for part in joined.inputs)
    if ends is None or rows is None or any(g.axes(n) not in ([-1], [1]) for n in (ends, rows)):
        return
    ids = graph.inputs[0]
    count = _count_behind(ends.inputs[0], ids)
    if count is None or not g.is_range_of(rows.inputs[0], ids, 0):
        return
    nodes = g.Nodes(graph, layer)
    lengths = nodes.op("Max", count, nodes.constant(np.array(1), "one"))
    layer.resize_inputs(max(5, len(layer.inputs)))
    layer.replace_input_with(4, nodes.op("Cast", lengths, to=ir.DataType.INT32))
    if len(layer.outputs) < 2:
        layer.resize_outputs(2)
    zero = nodes.constant([0], "zero")
    g.exchange(node.outputs[0], g.Nodes(graph, node).op("Squeeze", layer.outputs[1], zero))


def _count_behind(ends: ir.Value | None, ids: ir.Value) -> ir.Value | None:
    """The `count` in `max(count - 1, 0)`, if it counts the ids of a row that are not padding."""
    clamped = g.made_by(ends, "Clip", "Max")
    if clamped is None or len(clamped.inputs) != 2 or g.integers(clamped.inputs[1]) != [0]:
        return None
    less = g.made_by(clamped.inputs[0], "Sub")
    if less is None or g.integers(less.inputs[1]) != [1]:
        return None
    count = g.made_by(less.inputs[0], "ReduceSum")
    if (
        count is None
        or g.axes(count) not in ([1], [-1])
        or count.attributes.get_int("keepdims", 1) != 0
    ):
        return None
    ones = g.made_by(count.inputs[0], "Cast")
    if ones is None or ones.attributes.get_int("to") != ir.DataType.INT64:
        return None
    kept = g.made_by(ones.inputs[0], "Not")
    padding = None if kept is None else g.made_by(kept.inputs[0], "Equal")
    if padding is None or padding.inputs[0] is not ids or g.integers(padding.inputs[1]) is None:
        return None
    return less.inputs[0]
