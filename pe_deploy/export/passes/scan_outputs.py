"""What a Scan gives, in the place of what the nodes gave that it stands for."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from pe_deploy.export.passes import graph as g


def give_state(nodes: g.Nodes, node: ir.Node, output: int, ways: list[ir.Value]) -> None:
    """Let the readers of a final state, `[directions, batch, hidden]`, read each direction's.

    Args:
        nodes: where to put new nodes.
        node: the recurrent node.
        output: which of its outputs.
        ways: the state of each direction, `[batch, hidden]`.
    """
    if not g.is_used(node, output):
        return
    state = node.outputs[output]
    for user, _ in list(state.uses()):
        way = _way_taken(user)
        if way is not None and -len(ways) <= way < len(ways):
            g.exchange(user.outputs[0], ways[way])
            remove(user.graph, user)
    if g.is_used(node, output):
        g.exchange(state, _stacked(nodes, ways, 0))


def give_outputs(nodes: g.Nodes, node: ir.Node, ways: list[ir.Value]) -> None:
    """Let the readers of all steps, `[sequence, directions, batch, hidden]`, read each direction's.

        Reshape(Transpose(Y), [0, 0, -1])  →  Concat(forwards, backwards)

    Args:
        nodes: where to put new nodes.
        node: the recurrent node.
        ways: the outputs of each direction, `[sequence, batch, hidden]`.
    """
    outputs = node.outputs[0]
    for user, _ in list(outputs.uses()):
        joins = [join for output in user.outputs for join, _ in output.uses()]
        if user.op_type != "Transpose" or g.perm(user) != [0, 2, 1, 3] or not joins:
            continue
        if all(_joins_directions(join) for join in joins):
            joined = nodes.op("Concat", *ways, axis=2)
            for join in joins:
                g.exchange(join.outputs[0], joined)
            remove(user.graph, user)
    if g.is_used(node, 0):
        g.exchange(outputs, _stacked(nodes, ways, 1))


def remove(graph: Any, node: ir.Node) -> None:
    """Take a node away, and what stands between it and the layer above."""
    for output in node.outputs:
        for user, _ in list(output.uses()):
            remove(graph, user)
    graph.remove(node, safe=True)


def _way_taken(user: ir.Node) -> int | None:
    """Which direction's state a node takes from those of all."""
    if user.op_type == "Squeeze":
        return 0 if g.axes(user) == [0] else None
    if user.op_type != "Gather" or user.attributes.get_int("axis", 0) != 0:
        return None
    index = g.constant(user.inputs[1])
    return None if index is None or index.shape != () else int(index)


def _joins_directions(node: ir.Node) -> bool:
    """Whether a node gives `[sequence, batch, …]`, the rest in one axis."""
    return (
        node.op_type == "Reshape"
        and g.integers(node.inputs[1]) == [0, 0, -1]
        and node.attributes.get_int("allowzero", 0) == 0
        and not node.outputs[0].is_graph_output()
    )


def _stacked(nodes: g.Nodes, ways: list[ir.Value], axis: int) -> ir.Value:
    """Directions along an axis of their own."""
    where = nodes.constant([axis], ("zero", "one")[axis])
    each = [nodes.op("Unsqueeze", way, where) for way in ways]
    return each[0] if len(each) == 1 else nodes.op("Concat", *each, axis=axis)
