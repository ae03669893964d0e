"""One direction of a recurrent node read as arithmetic: its weights by gate, and its step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from pe_deploy.export.passes import graph as g
from pe_deploy.export.passes.scan_body import Body

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Layer(ABC):
    """One direction of a node, in float64.

    Attributes:
        node: the recurrent node.
        backwards: whether it reads from the last step to the first.
        inputs: `[gates, hidden, inputs]`.
        recurrent: `[gates, hidden, hidden]`.
        bias: `[gates, hidden]`, what is added to each gate's projection of the inputs.
    """

    GATES: ClassVar[tuple[str, ...]]
    STATES: ClassVar[int]
    """How many states a step hands to the next; the first of them is its output."""

    node: ir.Node
    backwards: bool
    inputs: Floats
    recurrent: Floats
    bias: Floats

    @property
    def hidden(self) -> int:
        """How many numbers a state holds."""
        return int(self.recurrent.shape[2])

    def projected(self, rows: Floats, gate: int) -> Floats:
        """What rows of inputs add to one gate: `[rows, hidden]`, without the bias."""
        projected: Floats = rows @ self.inputs[gate].T
        return projected

    @abstractmethod
    def step(self, rows: Floats, states: list[Floats]) -> list[Floats]:
        """The states after one step, from inputs and states of as many rows."""

    @abstractmethod
    def add_step(
        self,
        body: Body,
        label: str,
        states: list[ir.Value],
        parts: list[ir.Value],
        active: ir.Value | None,
    ) -> list[ir.Value]:
        """Put one step into the body of a Scan.

        Args:
            body: where to put it.
            label: what tells the names of its weights from others.
            states: those before the step, `[batch, hidden]`.
            parts: what the inputs add to each gate, the bias in it, `[batch, hidden]`.
            active: 1 where a row has not ended, else 0, `[batch, 1]`; None where none ends early.
        """

    def projections(self, body: Body, label: str, inputs: ir.Value) -> list[ir.Value]:
        """What inputs `[batch, inputs]` add to each gate, its bias among it."""
        return [
            body.op(
                "Gemm",
                inputs,
                body.weight(self.inputs[gate].T, f"W{label}_{name}"),
                body.weight(self.bias[gate], f"W{label}_{name}_bias"),
            )
            for gate, name in enumerate(self.GATES)
        ]


class Numbers(NamedTuple):
    """The weights of one direction of a node, gates in ONNX's order, in float64.

    Attributes:
        inputs: `[gates, hidden, inputs]`.
        recurrent: `[gates, hidden, hidden]`.
        biases: `[2, gates, hidden]`, of the inputs and of the state.
    """

    inputs: Floats
    recurrent: Floats
    biases: Floats


def numbers_of(node: ir.Node, gates: int) -> list[Numbers] | None:
    """The weights of each direction of a node; None where the graph computes them."""
    inputs, recurrent = (g.constant(g.given(node, index)) for index in (1, 2))
    bias = g.given(node, 3)
    both = None if bias is None else g.constant(bias)
    if inputs is None or recurrent is None or (bias is not None and both is None):
        return None
    directions, hidden = len(recurrent), recurrent.shape[-1]
    if both is None:
        both = np.zeros((directions, 2 * gates * hidden))
    return [
        Numbers(
            np.asarray(inputs[one], np.float64).reshape(gates, hidden, -1),
            np.asarray(recurrent[one], np.float64).reshape(gates, hidden, -1),
            np.asarray(both[one], np.float64).reshape(2, gates, hidden),
        )
        for one in range(directions)
    ]


def standing(
    body: Body, after: list[ir.Value], before: list[ir.Value], active: ir.Value | None
) -> list[ir.Value]:
    """The states after a step; where a row has ended, as they were before it."""
    if active is None:
        return after
    going = body.op("Cast", active, to=ir.DataType.BOOL)
    return [body.op("Where", going, *pair) for pair in zip(after, before, strict=True)]


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)) without its overflow."""
    made: Floats = (1 + np.tanh(values / 2)) / 2
    return made
