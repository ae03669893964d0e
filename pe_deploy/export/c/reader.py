"""What is known of a graph while its nodes are read, one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from pe_deploy.config import BATCH, INPUT_IDS, SEQUENCE, Signature
from pe_deploy.export.c import program as p
from pe_deploy.export.c.program import Per
from pe_deploy.export.c.shapes import Known, NoFormError, Tensor, positive
from pe_deploy.export.passes import graph as g

Wanted = TypeVar("Wanted")

WHOLE = frozenset({ir.DataType.INT64, ir.DataType.INT32})
"""The types of whole numbers."""


class Reader:
    """What is known of the values of a graph, as those who read one operator ask for it."""

    def __init__(self, graph: ir.Graph, signature: Signature) -> None:
        self.graph = graph
        self.signature = signature
        self.known: dict[ir.Value, Known] = {}
        ids = next(value for value in graph.inputs if value.name == INPUT_IDS)
        self.known[ids] = Tensor(p.Ids(Per.TOKEN, 1), (BATCH, SEQUENCE))
        for value in graph.initializers.values():
            array = g.constant(value)
            if array is not None:
                self.known[value] = array

    def given(self, value: ir.Value | None) -> Known | None:
        """What a value is; None where that is not known."""
        return None if value is None else self.known.get(value)

    def one(
        self, node: ir.Node, index: int, kind: type[Wanted] | tuple[type[Wanted], ...]
    ) -> Wanted:
        """An input that has to be of a kind."""
        found = self.given(g.given(node, index))
        if not isinstance(found, kind):
            raise NoFormError(f"its input {index} is a {type(found).__name__}")
        return found

    def tensor(self, node: ir.Node, index: int = 0) -> Tensor:
        """An input that has to be computed."""
        return self.one(node, index, Tensor)

    def array(self, node: ir.Node, index: int) -> NDArray[Any]:
        """An input that has to be a constant."""
        return self.one(node, index, np.ndarray)

    def axes(self, node: ir.Node, rank: int) -> list[int]:
        """The axes that the second input names, counted from the front."""
        given = g.given(node, 1)
        named = [] if given is None else [int(axis) for axis in self.array(node, 1).ravel()]
        return [positive(axis, rank) for axis in named]


Reading = Callable[[Reader, ir.Node], "Known | list[Known | None]"]
"""What reads one kind of operator: what its outputs are."""
