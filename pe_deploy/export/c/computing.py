"""How the operators are read that compute: functions of numbers, layers, reductions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import onnx_ir as ir

from pe_deploy.config import BATCH, SEQUENCE
from pe_deploy.export.c import program as p
from pe_deploy.export.c.program import Per, Value, made
from pe_deploy.export.c.reader import WHOLE, Reader, Reading
from pe_deploy.export.c.shapes import Known, NoFormError, Tensor, aligned, positive
from pe_deploy.export.passes import graph as g
from pe_deploy.export.passes.stacks import layers_of

_ALONE = ("absolute", "negative", "not", "relu", "sigmoid", "sqrt", "tanh")
_INPUTS = {**dict.fromkeys(_ALONE, 1), "where": 3}
"""How many inputs a function has, where that is not two."""


def _map(function: str, reader: Reader, node: ir.Node) -> Known:
    operands = [reader.given(value) for value in node.inputs]
    if len(operands) != _INPUTS.get(function, 2):
        raise NoFormError(f"it has {len(operands)} inputs")
    if function == "divide" and any(it is not None and it.dtype in WHOLE for it in node.inputs):
        raise NoFormError("it divides whole numbers")
    known = [operand for operand in operands if operand is not None]
    if len(known) != len(operands):
        raise NoFormError("an input is not known")
    values, axes = aligned(known, reader.signature)
    if (
        function == "add"
        and (dense := next((v for v in values if isinstance(v, p.Dense)), None)) is not None
        and (bias := next((v for v in values if isinstance(v, p.Constant)), None)) is not None
        and bias.width in (1, dense.width)
    ):
        return Tensor(
            p.Dense(
                dense.per, dense.width, dense.inputs,
                weights=dense.weights, bias=dense.bias + bias.numbers,
            ),
            axes,
        )  # fmt: skip
    return Tensor(made(p.Map, *values, function=function), axes)


def _clip(reader: Reader, node: ir.Node) -> Known:
    tensor = reader.tensor(node)
    value = tensor.value
    for index, function in ((1, "maximum"), (2, "minimum")):
        if g.given(node, index) is not None:
            bound = np.asarray(reader.array(node, index), np.float64).ravel()
            value = made(p.Map, value, p.Constant(Per.CALL, 1, numbers=bound), function=function)
    return Tensor(value, tensor.axes)


def _pow(reader: Reader, node: ir.Node) -> Known:
    tensor, exponent = reader.tensor(node), reader.array(node, 1)
    if exponent.size != 1 or float(exponent.ravel()[0]) != 2:
        raise NoFormError("its exponent is not 2")
    return Tensor(made(p.Map, tensor.value, tensor.value, function="multiply"), tensor.axes)


def _leaky(reader: Reader, node: ir.Node) -> Known:
    tensor = reader.tensor(node)
    slope = np.array([node.attributes.get_float("alpha", 0.01)])
    smaller = made(p.Map, tensor.value, p.Constant(Per.CALL, 1, numbers=slope), function="multiply")
    function = "maximum" if slope[0] <= 1 else "minimum"
    return Tensor(made(p.Map, tensor.value, smaller, function=function), tensor.axes)


def _dense(reader: Reader, node: ir.Node) -> Known:
    tensor = reader.tensor(node)
    weights = np.asarray(reader.array(node, 1), np.float64)
    alpha, beta = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    if node.attributes.get_int("transA", 0):
        raise NoFormError("it turns its input round")
    if node.attributes.get_int("transB", 0):
        weights = weights.T
    width = tensor.axes[-1]
    if weights.ndim != 2 or width != len(weights) or tensor.value.width != len(weights):
        raise NoFormError("it multiplies by other than a matrix of weights")
    bias = np.zeros(weights.shape[1])
    if g.given(node, 2) is not None:
        bias = bias + beta * np.asarray(reader.array(node, 2), np.float64).ravel()
    value = made(p.Dense, tensor.value, width=weights.shape[1], weights=alpha * weights, bias=bias)
    return Tensor(value, (*tensor.axes[:-1], weights.shape[1]))


def _norm(reader: Reader, node: ir.Node) -> Known:
    tensor = reader.tensor(node)
    axis = positive(node.attributes.get_int("axis", -1), len(tensor.axes))
    width = tensor.value.width
    if tensor.axes[axis:] != (width,):
        raise NoFormError("it normalises over more than the numbers of a token or row")
    scale = np.broadcast_to(np.asarray(reader.array(node, 1), np.float64), width)
    bias = np.zeros(width)
    if g.given(node, 2) is not None:
        bias = bias + np.asarray(reader.array(node, 2), np.float64)
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    value = made(p.Norm, tensor.value, scale=scale, bias=bias, epsilon=float(epsilon))
    return Tensor(value, tensor.axes)


def _reduce(function: str, reader: Reader, node: ir.Node) -> Known:
    tensor = reader.tensor(node)
    axes = reader.axes(node, len(tensor.axes)) or [
        positive(axis, len(tensor.axes)) for axis in node.attributes.get_ints("axes", [])
    ]
    if [tensor.axes[axis] for axis in axes] != [SEQUENCE]:
        raise NoFormError("it reduces another axis than the tokens of a row")
    if tensor.value.per is Per.PLACE:
        raise NoFormError("it reduces what does not depend on the ids")
    value = p.Reduce(Per.ROW, tensor.value.width, (tensor.value,), function=function)
    keep = node.attributes.get_int("keepdims", 1)
    shape = [1 if i in axes else a for i, a in enumerate(tensor.axes) if keep or i not in axes]
    return Tensor(value, tuple(shape))


def _recurrent(reader: Reader, node: ir.Node) -> list[Known | None]:
    layers = layers_of(node)
    if not layers:
        raise NoFormError("its formula is not torch's, or its weights are computed")
    if g.given(node, 4) is not None:
        raise NoFormError("it has sequence_lens")
    tensor = reader.tensor(node)
    if tensor.axes[:2] != (SEQUENCE, BATCH) or tensor.value.per is not Per.TOKEN:
        raise NoFormError("it reads otherwise than token by token")
    if tensor.value.width != layers[0].inputs.shape[-1]:
        raise NoFormError(f"it reads {tensor.value.width} numbers of a token")
    starts = [_starts(reader, node, way, len(layers)) for way in range(len(layers))]
    runs = [
        p.Run(Per.TOKEN, layer.hidden, (tensor.value, *start), layer=layer)
        for layer, start in zip(layers, starts, strict=True)
    ]
    hidden, ways = layers[0].hidden, len(layers)
    every = _side_by_side(list(runs), Per.TOKEN)
    answer: list[Known | None] = [Tensor(every, (SEQUENCE, ways, BATCH, hidden))]
    for state in range(layers[0].STATES):
        finals: list[Value] = [p.Final(Per.ROW, hidden, (run,), state=state) for run in runs]
        answer.append(Tensor(_side_by_side(finals, Per.ROW), (ways, BATCH, hidden)))
    return answer


def _side_by_side(values: list[Value], per: Per) -> Value:
    if len(values) == 1:
        return values[0]
    return p.Join(per, sum(value.width for value in values), tuple(values))


def _starts(reader: Reader, node: ir.Node, way: int, ways: int) -> tuple[Value, ...]:
    """The states that a layer starts from, where they are given."""
    starts: list[Value] = []
    for index in (5, 6):
        given = reader.given(g.given(node, index))
        if given is None:
            continue
        if isinstance(given, np.ndarray):
            numbers = np.asarray(given, np.float64).reshape(ways, -1)[way]
            starts.append(p.Constant(Per.CALL, numbers.size, numbers=numbers))
        elif isinstance(given, Tensor) and given.value.per is not Per.TOKEN:
            size = given.value.width // ways
            per = given.value.per
            part = p.Part(per, size, (given.value,), start=way * size)
            starts.append(given.value if ways == 1 else part)
        else:
            raise NoFormError("what it starts from is computed")
    return tuple(starts)


COMPUTING: Mapping[str, Reading] = {
    "Clip": _clip,
    "Gemm": _dense,
    "GRU": _recurrent,
    "LayerNormalization": _norm,
    "LeakyRelu": _leaky,
    "LSTM": _recurrent,
    "MatMul": _dense,
    "Pow": _pow,
    "RNN": _recurrent,
    **{
        name: partial(_map, function)
        for name, function in {
            "Abs": "absolute",
            "Add": "add",
            "And": "and",
            "Div": "divide",
            "Equal": "equal",
            "Greater": "greater",
            "GreaterOrEqual": "greater_equal",
            "Less": "less",
            "LessOrEqual": "less_equal",
            "Max": "maximum",
            "Min": "minimum",
            "Mul": "multiply",
            "Neg": "negative",
            "Not": "not",
            "Or": "or",
            "Relu": "relu",
            "Sigmoid": "sigmoid",
            "Sqrt": "sqrt",
            "Sub": "subtract",
            "Tanh": "tanh",
            "Where": "where",
        }.items()
    },
    **{f"Reduce{name}": partial(_reduce, name.lower()) for name in ("Sum", "Mean", "Max", "Min")},
}
"""What reads each of them."""
