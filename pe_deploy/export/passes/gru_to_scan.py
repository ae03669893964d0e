"""The throughput form: each stack of GRU nodes as one Scan over time, over all its layers.

onnxruntime's GRU kernel multiplies all gates at once and then walks through them number by number.
One matrix product a gate, and each activation as an operator of its own, use the vector units of
a processor better, from some tens of rows upward; below that, the nodes cost more than they save.
"""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir

from pe_deploy.export.passes import graph as g
from pe_deploy.export.passes.gru_layers import Layer, stacks_of
from pe_deploy.export.passes.precompute import Tokens, prefix_depth, tokens_of
from pe_deploy.export.passes.scan_body import Body, add_step
from pe_deploy.export.passes.scan_inputs import Feed, start_of, states_looked_up
from pe_deploy.export.passes.sequence_lens import stop_at_lengths


def gru_to_scan(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """A copy of a simplified graph in which Scans stand for its GRU nodes; None if it holds none.

        ids ─ Gather ─ Add ─ GRU ─ Squeeze ─ GRU ─ final state
                                ↓
        first ids ─ Gather ─ states ─┐
        other ids ─────────────────── Scan ─ final states
                                      body: each layer's state and an id → each layer's next state

    A GRU node stays as it is where it reads backwards, has weights that the graph computes, or
    another formula than torch's.
    """
    graph = (copy := g.read(model)).graph
    for node in list(graph):
        stop_at_lengths(graph, node)
    g.remove_unused(copy)
    stacks = stacks_of(graph)
    # A table of states may hold as many numbers as the model: it at most doubles its size.
    arrays = (g.constant(value) for value in graph.initializers.values())
    numbers = sum(array.size for array in arrays if array is not None and array.dtype.kind == "f")
    for index, stack in enumerate(stacks):
        _replace(graph, stack, f"stack{index}", numbers)
    return g.written(copy) if stacks else None


def _replace(graph: ir.Graph, stack: list[Layer], name: str, numbers: int) -> None:
    """Put a Scan in the place of a stack; its tables of states hold up to so many `numbers`.

    A step hands each layer's new state to the layer above, as a GRU does with its outputs of all
    steps at once: the order of the work changes, and no sum in it.
    """
    bottom, top = stack[0], stack[-1].node
    nodes, body = g.Nodes(graph, top), Body(f"{name}_step")
    tokens = tokens_of(bottom.node.inputs[0])
    # Projected, the tokens are as many rows as there are ids: only where that is small.
    projected = tokens is not None and tokens.vocabulary <= sum(bottom.inputs.shape[1:])
    # A step has a table of its own: where another reads it too, the file would hold it twice.
    if tokens is not None and not projected and not tokens.alone:
        tokens = None
    outputs_used, lengths = g.is_used(top, 0), g.given(top, 4)
    depth = _depth(stack, tokens, numbers) if projected else 0
    axis_source = bottom.node.inputs[0] if tokens is None else tokens.ids
    length = nodes.op("Shape", axis_source, start=0, end=1)
    batch = nodes.op("Shape", axis_source, start=1, end=2)

    first = None
    if tokens is not None and depth:
        # One step is always left, since no Scan runs over none.
        left = nodes.op("Sub", length, nodes.constant([1], "one"))
        first = nodes.op("Min", left, nodes.constant([depth], "looked_up"))
        states = states_looked_up(nodes, stack, tokens, depth, first, lengths, name)
    else:
        states = [start_of(nodes, layer, g.given(layer.node, 5), batch) for layer in stack]
    held = [
        body.takes(f"state{index}", ir.DataType.FLOAT, ["batch", layer.hidden])
        for index, layer in enumerate(stack)
    ]
    feed = Feed(nodes, body, name, length, first)
    if tokens is None:
        scanned, parts = feed.inputs(bottom)
    elif projected:
        scanned, parts = feed.tables(bottom, tokens)
    else:
        scanned, parts = feed.lookups(bottom, tokens)
    active = None
    if lengths is not None:
        scanned.append(feed.active(lengths))
        active = body.takes("active", ir.DataType.FLOAT, ["batch", 1])
    add_step(body, stack, held, parts, active)
    if outputs_used:
        body.gives(body.op("Identity", body.graph.outputs[-1]), stack[-1].hidden)

    finals = nodes.ops(
        "Scan",
        *states,
        *scanned,
        outputs=len(body.graph.outputs),
        body=body.graph,
        num_scan_inputs=len(scanned),
    )
    for layer, final in zip(stack, finals, strict=False):
        _give_state(nodes, layer.node, final)
    if outputs_used:
        one = nodes.constant([1], "one")
        g.exchange(top.outputs[0], nodes.op("Unsqueeze", finals[-1], one))
    for layer in reversed(stack):
        _remove(graph, layer.node)


def _depth(stack: list[Layer], tokens: Tokens | None, numbers: int) -> int:
    """How many steps may be looked up in tables of states of up to so many `numbers`."""
    top = stack[-1].node
    # In a table of states, a row that has ended stands still in every layer, and below the top it
    # would have to go on to the last step.
    goes_on = g.given(top, 4) is not None and any(g.is_used(layer.node, 1) for layer in stack[:-1])
    starts_from_zeros = all(g.given(layer.node, 5) is None for layer in stack)
    if tokens is None or g.is_used(top, 0) or goes_on or not starts_from_zeros:
        return 0
    return prefix_depth(stack, tokens, numbers)


def _give_state(nodes: g.Nodes, gru: ir.Node, state: ir.Value) -> None:
    """Let the readers of a GRU's final state, `[1, batch, hidden]`, read `[batch, hidden]`."""
    if not g.is_used(gru, 1):
        return
    for user, _ in list(gru.outputs[1].uses()):
        if user.op_type == "Squeeze" and g.axes(user) == [0]:
            g.exchange(user.outputs[0], state)
            _remove(user.graph, user)
    if g.is_used(gru, 1):
        g.exchange(gru.outputs[1], nodes.op("Unsqueeze", state, nodes.constant([0], "zero")))


def _remove(graph: Any, node: ir.Node) -> None:
    """Take a node away, and the Squeeze between it and the layer above."""
    for output in node.outputs:
        for user, _ in list(output.uses()):
            _remove(graph, user)
    graph.remove(node, safe=True)
