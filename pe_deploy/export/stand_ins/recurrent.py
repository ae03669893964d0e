"""`nn.GRU`, `nn.LSTM` and `nn.RNN` as the standard operators, one node a layer.

torch and ONNX order the gates of a weight differently, and add different biases:
https://onnx.ai/onnx/operators/onnx__GRU.html and its neighbours. `linear_before_reset=1` is torch's
GRU, in which the reset gate scales the recurrent term after its bias is added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from pe_deploy.errors import ExportError

States = Tensor | tuple[Tensor, Tensor]
"""Of a GRU or an RNN, `[layers * directions, batch, hidden]`; of an LSTM, two of these."""


class Operator(NamedTuple):
    """The standard operator of a kind of layer.

    Attributes:
        name: of the operator.
        gates: where each of ONNX's gates stands among torch's.
        attributes: those beside `hidden_size` and `direction`, for so many directions.
    """

    name: str
    gates: tuple[int, ...]
    attributes: Callable[[int], dict[str, Any]]


def operator_of(layer: nn.RNNBase) -> Operator:
    """The operator that computes what a layer of torch computes."""
    if isinstance(layer, nn.GRU):  # reset, update, new → update, reset, hidden
        return Operator("GRU", (1, 0, 2), lambda _: {"linear_before_reset": 1})
    if isinstance(layer, nn.LSTM):  # input, forget, cell, output → input, output, forget, cell
        return Operator("LSTM", (0, 3, 1, 2), lambda _: {})
    activation = "Relu" if layer.nonlinearity == "relu" else "Tanh"
    return Operator("RNN", (0,), lambda directions: {"activations": [activation] * directions})


def add_onnx_weights(layer: nn.RNNBase) -> None:
    """Give a layer its weights as ONNX orders them: `W0`, `R0`, `B0`, `W1`, ….

    `[directions, gates * hidden, …]` each. Where an LSTM projects its state (`proj_size`), ONNX
    knows no such thing: `R` reads the state before it is projected, which is as well, since one
    matrix after another is a matrix; and `P0`, … project what the node gives.
    """
    gates = operator_of(layer).gates

    def stacked(name: str) -> Tensor:
        directions = []
        for suffix in ("", "_reverse")[: 2 if layer.bidirectional else 1]:
            parts = layer.get_parameter(name + suffix).detach().chunk(len(gates))
            directions.append(torch.cat([parts[gate] for gate in gates]))
        return torch.stack(directions)

    for index in range(layer.num_layers):
        recurrent = stacked(f"weight_hh_l{index}")
        if projected(layer):
            suffixes = ("", "_reverse")[: 2 if layer.bidirectional else 1]
            names = [f"weight_hr_l{index}{suffix}" for suffix in suffixes]
            projection = torch.stack([layer.get_parameter(name).detach() for name in names])
            exact, dtype = projection.double(), projection.dtype
            recurrent = (recurrent.double() @ exact).to(dtype)
            layer.register_buffer(f"P{index}", projection.transpose(1, 2).contiguous())
            # From a projected state to the shortest of those that are projected to it.
            inverse = torch.linalg.pinv(exact).transpose(1, 2).contiguous()
            layer.register_buffer(f"Q{index}", inverse.to(dtype))
        layer.register_buffer(f"W{index}", stacked(f"weight_ih_l{index}"))
        layer.register_buffer(f"R{index}", recurrent)
        biases = [f"bias_ih_l{index}", f"bias_hh_l{index}"] if layer.bias else []
        both = torch.cat([stacked(name) for name in biases], dim=1) if biases else None
        layer.register_buffer(f"B{index}", both)


def projected(layer: nn.RNNBase) -> bool:
    """Whether an LSTM gives its state times a matrix, in place of its state."""
    return getattr(layer, "proj_size", 0) > 0


def forward(
    layer: nn.RNNBase, inputs: Tensor | PackedSequence, hx: States | None = None
) -> tuple[Tensor | PackedSequence, States]:
    """What the layer's own `forward` gives, as nodes; it holds its `add_onnx_weights`."""
    lengths = None
    if isinstance(inputs, PackedSequence):  # in our own form, see `packed`
        steps, lengths = inputs.data, inputs.batch_sizes
    else:
        if inputs.dim() != 3:
            raise ExportError(
                f"nn.{operator_of(layer).name} is called with {inputs.dim()} dimensions; "
                "allowed: 3, with the batch among them"
            )
        steps = inputs.transpose(0, 1) if layer.batch_first else inputs  # [T, B, D]
    starts = () if hx is None else (hx if isinstance(hx, tuple) else (hx,))
    directions = 2 if layer.bidirectional else 1
    finals = []
    for index in range(layer.num_layers):
        first = index * directions
        start = [state[first : first + directions] for state in starts]
        if lengths is None:
            steps, states = _layer(layer, index, steps, start)
        else:
            steps, states = _packed_layer(layer, index, steps, start, lengths)
        finals.append(states)
    joined = tuple(torch.cat(states) for states in zip(*finals, strict=True))
    found: States = (joined[0], joined[1]) if isinstance(layer, nn.LSTM) else joined[0]
    if lengths is not None:
        return PackedSequence(steps, lengths), found
    return steps.transpose(0, 1) if layer.batch_first else steps, found


def _layer(
    layer: nn.RNNBase, index: int, steps: Tensor, start: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Outputs `[T, B, directions * H]` and final states `[directions, B, H]` of one layer."""
    outputs, states = node(layer, index, steps, start)
    joined = outputs.squeeze(1) if outputs.shape[1] == 1 else outputs.transpose(1, 2).flatten(2)
    return joined, states


def _packed_layer(
    layer: nn.RNNBase, index: int, steps: Tensor, start: Sequence[Tensor], lengths: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """As `_layer`, of rows that end after `lengths` ids `[B]`, each direction a node of its own.

    From left to right, a row's end cannot change what comes before it, so its final state is the
    output there. From right to left, each row is turned round within its length first. The
    operator's own `sequence_lens` would do, but OpenVINO and onnx's reference evaluator leave it
    out of account without a word; so only a final cell state, which no output holds, is had by it.
    """
    rows = torch.arange(steps.shape[1], device=steps.device)
    ends = (lengths - 1).clamp(min=0)
    outputs, finals = [], []
    for direction in range(2 if layer.bidirectional else 1):
        turned = steps if direction == 0 else _turned(steps, lengths)
        one = slice(direction, direction + 1)
        ours = [state[one] for state in start]
        given = node(layer, index, turned, ours, one)[0].squeeze(1)
        states = [given[ends, rows]]
        if isinstance(layer, nn.LSTM):
            states.append(node(layer, index, turned, ours, one, lengths)[1][1][0])
        outputs.append(given if direction == 0 else _turned(given, lengths))
        finals.append(states)
    return torch.cat(outputs, dim=2), [torch.stack(states) for states in zip(*finals, strict=True)]


def _turned(steps: Tensor, lengths: Tensor) -> Tensor:
    """Each row `[T, B, D]` turned round within its length; the padding stays where it is."""
    return torch.onnx.ops.symbolic(
        "ReverseSequence",
        (steps, lengths),
        attrs={"batch_axis": 1, "time_axis": 0},
        dtype=steps.dtype,
        shape=steps.shape,
    )


def node(
    layer: nn.RNNBase,
    index: int,
    steps: Tensor,
    start: Sequence[Tensor],
    which: slice = slice(None),
    lengths: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """One node, of some of the layer's directions: outputs `[T, directions, B, H]`, states."""
    operator = operator_of(layer)
    weights = [getattr(layer, f"{name}{index}") for name in "WRB"]
    if len(weights[0]) > 1 and which != slice(None):
        weights = [None if weight is None else weight[which] for weight in weights]
    directions = weights[0].shape[0]
    projection = getattr(layer, f"P{index}")[which] if projected(layer) else None
    if start and projection is not None:
        start = [start[0] @ getattr(layer, f"Q{index}")[which], *start[1:]]
    length, batch = steps.shape[:2]
    state = (directions, batch, layer.hidden_size)
    outputs, *states = torch.onnx.ops.symbolic_multi_out(
        operator.name,
        (
            steps,
            *weights,
            None if lengths is None else lengths.to(torch.int32),
            *start,
        ),
        attrs={
            "hidden_size": layer.hidden_size,
            **operator.attributes(directions),
            **({"direction": "bidirectional"} if directions == 2 else {}),
        },
        dtypes=(steps.dtype,) * (3 if isinstance(layer, nn.LSTM) else 2),
        shapes=(
            (length, directions, batch, layer.hidden_size),
            *[state] * (2 if isinstance(layer, nn.LSTM) else 1),
        ),
    )
    if projection is not None:
        outputs, states[0] = outputs @ projection, states[0] @ projection
    return outputs, states
