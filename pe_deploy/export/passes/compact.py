"""Weights stored as float16 or int8, where that loses nothing; and the way back.

    Gather(E, ids)  →  Cast(Gather(E, ids))            of a lookup, whose table stays narrow
    Gemm(x, W)      →  Gemm(x, Cast(W))                of all else: done once, when a runtime loads

In int8 a `Mul` by the scales of the rows follows each `Cast`. DequantizeLinear would say the same,
but onnxruntime does not work it out when it loads, and then does so in each run.

Only weights that come back as the same numbers are stored so: those of a rounded module, and what
the passes made of them by moving them about. What was computed of them stays float32.
"""

from __future__ import annotations

import copy
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from pe_deploy.export.passes.graph import graphs_in

PREFIX = "widen_"
"""The names of the nodes that give float32 begin with it."""

_LEVELS = 127
_NODE_BYTES = 120
"""What a node takes in a file, with its names: a weight that saves less stays as it is."""


class Narrow(NamedTuple):
    """A weight in few bytes: `numbers`, or `numbers * scale`.

    Attributes:
        numbers: float16 or int8, of the weight's shape.
        scale: float32, of as many axes, each of the weight's size or 1; None for float16.
    """

    numbers: NDArray[Any]
    scale: NDArray[np.float32] | None = None

    @property
    def size(self) -> int:
        """The bytes that it takes in a file, about."""
        if self.scale is None:
            return self.numbers.nbytes + _NODE_BYTES
        return self.numbers.nbytes + self.scale.nbytes + 3 * _NODE_BYTES

    def wide(self) -> NDArray[np.float32]:
        """The weight in float32, as a runtime computes it."""
        numbers = self.numbers.astype(np.float32)
        return numbers if self.scale is None else numbers * self.scale


def narrowed(weight: NDArray[np.float32], dtype: str) -> Narrow | None:
    """A weight in the least bytes of "float16", or of "int8" and "float16"; None if in no fewer."""
    found = [_as_float16(weight)]
    if dtype == "int8":
        found.append(_as_int8(weight))
    sound = (each for each in found if each is not None and each.size < weight.nbytes)
    return min(sound, key=lambda narrow: narrow.size, default=None)


def _as_float16(weight: NDArray[np.float32]) -> Narrow | None:
    with np.errstate(over="ignore"):
        narrow = Narrow(weight.astype(np.float16))
    return narrow if np.array_equal(narrow.wide(), weight) else None


def _as_int8(weight: NDArray[np.float32]) -> Narrow | None:
    """A matrix, or a stack of some, each row of which is a scale times -127 to 127.

    Which axes the rows lie along is found by trying: a pass may have turned the matrix round.
    """
    if weight.ndim < 2 or not np.isfinite(weight).all():
        return None
    exact = weight.astype(np.float64)
    among = range(weight.ndim)
    along = [axes for count in (1, *among[2:]) for axes in combinations(among, count)]
    found = []
    for axes in along:
        largest = np.abs(exact).max(axis=axes, keepdims=True)
        scale = np.where(largest == 0, 1, largest / _LEVELS)
        levels = np.rint(exact / scale)
        narrow = Narrow(levels.astype(np.int8), scale.astype(np.float32))
        if np.array_equal(narrow.wide(), weight):
            found.append(narrow)
    return min(found, key=lambda narrow: narrow.size, default=None)


def compacted(model: onnx.ModelProto, dtype: str) -> onnx.ModelProto:
    """A copy with the same weights in fewer bytes; `expanded` gives the graph back.

    Args:
        model: any graph; weights that do not fit the type stay as they are.
        dtype: "float16", or "int8", which takes float16 for what it does not hold.
    """
    made = copy.deepcopy(model)
    for graph in reversed(graphs_in(made.graph)):  # nodes are copied with what is inside
        _compact(graph, dtype)
    return made


def expanded(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a graph from `compacted` as it was before; of any other, just a copy."""
    made = copy.deepcopy(model)
    for graph in reversed(graphs_in(made.graph)):  # nodes are copied with what is inside
        _expand(graph)
    return made


def _compact(graph: onnx.GraphProto, dtype: str) -> None:
    own = {value.name for value in (*graph.input, *graph.output)}
    first: list[NodeProto] = []
    behind: dict[str, list[NodeProto]] = {}  # each lookup, by what it gives
    scales: list[TensorProto] = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or tensor.name in own:
            continue
        narrow = narrowed(numpy_helper.to_array(tensor), dtype)
        if narrow is None:
            continue
        name, scale = tensor.name, None
        if narrow.scale is not None:
            scale = f"{name}/scale"
            scales.append(numpy_helper.from_array(narrow.scale, scale))
        lookups = [node for node in graph.node if _is_lookup(node, name)]
        for node in lookups:
            output = node.output[0]
            node.output[0] = f"{output}/narrow"
            behind[node.output[0]] = _looked_up(node, output, narrow, scale)
        others = [node for node in _readers(graph, name) if node not in lookups]
        for node in others:
            node.input[:] = [f"{name}/wide" if used == name else used for used in node.input]
        if others:
            first += _widened(name, f"{name}/wide", scale)
        tensor.CopyFrom(numpy_helper.from_array(narrow.numbers, name))
    if not (first or behind):
        return
    nodes = [*first]
    for node in graph.node:
        nodes.append(node)
        for output in node.output:
            nodes += behind.get(output, [])
    _replace_nodes(graph, nodes)
    graph.initializer.extend(scales)


def _looked_up(node: NodeProto, output: str, narrow: Narrow, scale: str | None) -> list[NodeProto]:
    """What makes float32 of the narrow rows that a lookup gives."""
    if scale is None or narrow.scale is None or len(narrow.scale) == 1:
        return _widened(node.output[0], output, scale)
    rows = _node("Gather", [scale, node.input[1]], f"{output}/scale", axis=0)
    return [rows, *_widened(node.output[0], output, rows.output[0])]


def _widened(narrow: str, output: str, scale: str | None) -> list[NodeProto]:
    if scale is None:
        return [_node("Cast", [narrow], output, to=TensorProto.FLOAT)]
    levels = f"{output}/levels"
    return [
        _node("Cast", [narrow], levels, to=TensorProto.FLOAT),
        _node("Mul", [levels, scale], output),
    ]


def _node(operator: str, inputs: list[str], output: str, **attributes: int) -> NodeProto:
    made = helper.make_node(operator, inputs, [output], f"{PREFIX}{output}")
    made.attribute.extend(helper.make_attribute(*each) for each in attributes.items())
    return made


def _is_lookup(node: NodeProto, table: str) -> bool:
    """Whether a node takes rows out of a table."""
    axes = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
    return node.op_type == "Gather" and node.input[0] == table and axes in ([], [0])


def _readers(graph: onnx.GraphProto, name: str) -> list[NodeProto]:
    """The nodes that read a value, also those of graphs inside."""
    return [node for each in graphs_in(graph) for node in each.node if name in node.input]


def _replace_nodes(graph: onnx.GraphProto, nodes: list[NodeProto]) -> None:
    kept = [copy.deepcopy(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _expand(graph: onnx.GraphProto) -> None:
    own = [node for node in graph.node if node.name.startswith(PREFIX)]
    scaled = {node.input[0]: node for node in own if node.op_type == "Mul"}
    lookups = {node.output[0]: node for node in graph.node if node.op_type == "Gather"}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    scales: set[str] = set()
    for cast in (node for node in own if node.op_type == "Cast"):
        narrow = cast.input[0]
        last = scaled.get(cast.output[0], cast)
        name = narrow
        if narrow in lookups:
            name = lookups[narrow].input[0]
            lookups[narrow].output[0] = last.output[0]
        else:
            for node in _readers(graph, last.output[0]):
                node.input[:] = [name if used == last.output[0] else used for used in node.input]
        tensor = tensors[name]
        if tensor.data_type != TensorProto.FLOAT:  # else a reader before had it widened
            scale = tensors.get(f"{name}/scale") if last is not cast else None
            if scale is not None:
                scales.add(scale.name)
            found = Narrow(
                numpy_helper.to_array(tensor),
                None if scale is None else numpy_helper.to_array(scale),
            )
            tensor.CopyFrom(numpy_helper.from_array(found.wide(), name))
    _replace_nodes(graph, [node for node in graph.node if not node.name.startswith(PREFIX)])
    kept = [copy.deepcopy(each) for each in graph.initializer if each.name not in scales]
    del graph.initializer[:]
    graph.initializer.extend(kept)
