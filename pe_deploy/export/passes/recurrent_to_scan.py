"""The throughput form: each stack of recurrent nodes as one Scan over time, over all its layers.

onnxruntime's kernels multiply all gates at once and then walk through them number by number. One
matrix product a gate, and each activation as an operator of its own, use the vector units of a
processor better: a GRU from some tens of rows upward, an LSTM from some hundreds, a plain RNN from
some single ones. Below that, the nodes cost more than they save.
"""

from __future__ import annotations

from itertools import chain, count

import onnx
import onnx_ir as ir

from pe_deploy.export.passes import graph as g
from pe_deploy.export.passes.layer import Layer
from pe_deploy.export.passes.precompute import Tokens, prefix_depth, tokens_of
from pe_deploy.export.passes.scan_body import Body
from pe_deploy.export.passes.scan_inputs import Feed, starts_of, states_looked_up
from pe_deploy.export.passes.scan_outputs import give_outputs, give_state, remove
from pe_deploy.export.passes.sequence_lens import stop_at_lengths
from pe_deploy.export.passes.stacks import Stack, stacks_of

States = list[ir.Value]
"""Of one layer, in a step: each `[batch, hidden]`."""

FLOAT_BYTES = 4

_WAYS = ("", "_back")
"""What the names of each direction end with."""


def recurrent_to_scan(
    model: onnx.ModelProto, weight_bytes: int = FLOAT_BYTES
) -> onnx.ModelProto | None:
    """A copy of a simplified graph in which Scans stand for its recurrent nodes; None without.

        ids ─ Gather ─ Add ─ GRU ─ Squeeze ─ GRU ─ final state
                                ↓
        first ids ─ Gather ─ states ─┐
        other ids ─────────────────── Scan ─ final states
                                      body: each layer's state and an id → each layer's next state

    A node of two directions is one Scan, which reads the same steps from both ends. A node stays
    as it is where it has weights that the graph computes, or another formula than torch's.

    What is computed of weights is float32. Where the file holds them in fewer `weight_bytes` each,
    so little of it is kept that it still at most doubles the size, and the tables of projected
    tokens are left to the runtime, which makes them of the narrow weights when it loads.
    """
    graph = (copy := g.read(model)).graph
    for node in list(graph):
        stop_at_lengths(graph, node)
    g.remove_unused(copy)
    stacks = stacks_of(graph)
    # A table of states may be as large as the model: it at most doubles its size.
    arrays = (g.constant(value) for value in graph.initializers.values())
    numbers = sum(array.size for array in arrays if array is not None and array.dtype.kind == "f")
    numbers = numbers * weight_bytes // FLOAT_BYTES
    for index, stack in enumerate(stacks):
        _replace(graph, stack, f"stack{index}", numbers, weight_bytes == FLOAT_BYTES)
    return g.written(copy) if stacks else None


def _replace(graph: ir.Graph, stack: Stack, name: str, numbers: int, folded: bool) -> None:
    """Put a Scan in the place of a stack; its tables of states hold up to so many `numbers`.

    `folded` says whether the file is to hold projected tokens, or what they are made of.
    """
    bottom, top = stack[0][0].node, stack[0][-1].node
    nodes, body = g.Nodes(graph, top), Body(f"{name}_step")
    tokens, projected, depth = _reading(stack, numbers)
    outputs_used, lengths = g.is_used(top, 0), g.given(top, 4)
    axis_source = bottom.inputs[0] if tokens is None else tokens.ids
    length = nodes.op("Shape", axis_source, start=0, end=1)
    batch = nodes.op("Shape", axis_source, start=1, end=2)

    first = None
    if tokens is not None and depth:
        # One step is always left, since no Scan runs over none.
        left = nodes.op("Sub", length, nodes.constant([1], "one"))
        first = nodes.op("Min", left, nodes.constant([depth], "looked_up"))
        states = states_looked_up(nodes, stack[0], tokens, depth, first, lengths, name)
    else:
        states = [one for way in stack for layer in way for one in starts_of(nodes, layer, batch)]
    held = _held(body, stack)
    after: list[list[States]] = []
    scanned: list[list[ir.Value | None]] = []
    for label, way, before in zip(_WAYS, stack, held, strict=False):
        feed = Feed(nodes, body, name, length, first, label, folded)
        fed, parts = feed.of(way[0], tokens, projected)
        active = None
        if lengths is not None:
            fed.append(feed.active(lengths))
            active = feed.step("active", ir.DataType.FLOAT, ["batch", 1])
        after.append(_steps(body, way, label, before, parts, active))
        scanned.append(fed)
    for way, new in zip(stack, after, strict=True):
        for layer, of_layer in zip(way, new, strict=True):
            for state in of_layer:
                body.gives(state, layer.hidden)
    if outputs_used:
        for way, new in zip(stack, after, strict=True):
            body.gives(body.op("Identity", new[-1][0]), way[-1].hidden)
    given = nodes.ops(
        "Scan",
        *states,
        *chain.from_iterable(scanned),
        outputs=len(body.graph.outputs),
        body=body.graph,
        num_scan_inputs=sum(map(len, scanned)),
        **_directions(stack, scanned, outputs_used),
    )
    _hand_on(graph, nodes, stack, given)


def _reading(stack: Stack, numbers: int) -> tuple[Tokens | None, bool, int]:
    """The tokens that a stack reads, if it does; whether to project them; how many to look up."""
    bottom = stack[0][0]
    tokens = tokens_of(bottom.node.inputs[0])
    if tokens is None:
        return None, False, 0
    # Projected, the tokens are as many rows as there are ids: only where that is small.
    if tokens.vocabulary <= sum(bottom.inputs.shape[1:]):
        return tokens, True, _depth(stack, tokens, numbers)
    # A step has a table of its own: where another reads it too, the file would hold it twice.
    return (tokens if tokens.alone else None), False, 0


def _depth(stack: Stack, tokens: Tokens, numbers: int) -> int:
    """How many steps may be looked up in tables of states of up to so many `numbers`."""
    layers, top = stack[0], stack[0][-1].node
    # In a table of states, a row that has ended stands still in every layer, and below the top it
    # would have to go on to the last step.
    below = any(g.is_used(layer.node, index) for layer in layers[:-1] for index in (1, 2))
    goes_on = g.given(top, 4) is not None and below
    from_zeros = all(g.given(layer.node, index) is None for layer in layers for index in (5, 6))
    # Nor is there a table of what reads backwards: it begins at the other end.
    if g.is_used(top, 0) or goes_on or not from_zeros or len(stack) > 1:
        return 0
    return prefix_depth(layers, tokens, numbers)


def _held(body: Body, stack: Stack) -> list[list[States]]:
    """The states of each layer before a step, which a body takes before anything else."""
    number = count()

    def state(layer: Layer) -> ir.Value:
        return body.takes(f"state{next(number)}", ir.DataType.FLOAT, ["batch", layer.hidden])

    return [[[state(layer) for _ in range(layer.STATES)] for layer in way] for way in stack]


def _steps(
    body: Body,
    layers: list[Layer],
    way: str,
    held: list[States],
    parts: list[ir.Value],
    active: ir.Value | None,
) -> list[States]:
    """One step of every layer, each of which reads the new output of the one below.

    A step hands each layer's new state to the layer above, as a node does with its outputs of all
    steps at once: the order of the work changes, and no sum in it. Behind its end a row's last
    states stay as they are; what is below no longer matters.
    """
    after: list[States] = []
    for index, (layer, before) in enumerate(zip(layers, held, strict=True)):
        label = f"{index}{way}"
        if after:
            parts = layer.projections(body, label, after[-1][0])
        ends = active if layer is layers[-1] else None
        after.append(layer.add_step(body, label, before, parts, ends))
    return after


def _directions(
    stack: Stack, scanned: list[list[ir.Value | None]], outputs_used: bool
) -> dict[str, list[int]]:
    """From which end each value is scanned; nothing to say where all are from the first."""
    ways = [int(way[0].backwards) for way in stack]
    if not any(ways):
        return {}
    inputs = [way for way, values in zip(ways, scanned, strict=True) for _ in values]
    outputs = {"scan_output_directions": ways} if outputs_used else {}
    return {"scan_input_directions": inputs, **outputs}


def _hand_on(graph: ir.Graph, nodes: g.Nodes, stack: Stack, given: list[ir.Value]) -> None:
    """Let what read a stack's nodes read what its Scan gives, and take the nodes away."""
    taken = iter(given)
    finals = [[[next(taken) for _ in range(layer.STATES)] for layer in way] for way in stack]
    for level, layer in enumerate(stack[0]):
        for index in range(layer.STATES):
            give_state(nodes, layer.node, 1 + index, [way[level][index] for way in finals])
    if outputs := list(taken):
        give_outputs(nodes, stack[0][-1].node, outputs)
    for layer in reversed(stack[0]):
        remove(graph, layer.node)
