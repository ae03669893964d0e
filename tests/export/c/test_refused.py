"""What has no form in C is refused in one line that names the operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pe_deploy import ExportError
from pe_deploy.config import Signature
from pe_deploy.errors import InvalidInputError
from pe_deploy.export.c.source import to_c

SIGNATURE = Signature(vocab_size=7, max_length=5, num_classes=4)


class Made:
    """A graph in the making; a call adds a node and names its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.tokens = self("Gather", self.numbers(np.ones((7, 4))), "input_ids")
        self.rows = self("ReduceMean", self.tokens, self.whole(1), keepdims=0)

    def __call__(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, array: np.ndarray[Any, Any]) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def numbers(self, array: Any) -> str:
        return self.constant(np.asarray(array, np.float32))

    def whole(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def recurrent(
        self, kind: str, gates: int, *more: str, width: int = 4, **attributes: Any
    ) -> str:
        weights = self.numbers(np.ones((1, gates * 4, width)))
        steps = self("Transpose", self.tokens, perm=[1, 0, 2])
        states = self.numbers(np.ones((1, gates * 4, 4)))
        self(kind, steps, weights, states, *more, hidden_size=4, **attributes)
        return self.rows

    def model(self, logits: str) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [logits], ["logits"]))
        ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
        out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])
        graph = helper.make_graph(self.nodes, "graph", [ids], [out], self.constants)
        domains = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=domains)


REFUSED: dict[str, Callable[[Made], str]] = {
    "Softmax": lambda it: it("Softmax", it.rows),
    "Erf": lambda it: it("Erf", it.rows),
    "Gelu": lambda it: it("Gelu", it.rows),
    "Exp": lambda it: it("Exp", it.rows),
    "Einsum": lambda it: it("Einsum", it.rows, it.rows, equation="ab,ab->ab"),
    "Conv": lambda it: it("Conv", it.tokens, it.numbers(np.ones((4, 4, 1)))),
    "CumSum": lambda it: it("CumSum", it.rows, it.whole(1)),
    "ArgMax": lambda it: it("ArgMax", "input_ids", axis=1),
    "MatMul": lambda it: it("MatMul", it.tokens, it("Transpose", it.tokens, perm=[0, 2, 1])),
    "Transpose": lambda it: it(
        "Transpose", it("Reshape", it.rows, it.whole(0, 2, 2)), perm=[0, 2, 1]
    ),
    "Reshape": lambda it: it("Reshape", it.tokens, it.whole(4, -1)),
    "ReduceMax": lambda it: it("ReduceMax", it.tokens, it.whole(2), keepdims=0),
    "ReduceSum": lambda it: it("ReduceSum", it.rows, it.whole(0)),
    "Concat": lambda it: it("Concat", it.tokens, it.tokens, axis=1),
    "Slice": lambda it: it("Slice", it.tokens, it.whole(1), it.whole(3), it.whole(1)),
    "Gather": lambda it: it("Gather", it.tokens, it.whole(1), axis=1),
    "Pow": lambda it: it("Pow", it.rows, it.numbers(3)),
    "Cast": lambda it: it("Cast", it.rows, to=TensorProto.INT64),
    "Div": lambda it: it("Div", "input_ids", it.whole(2)),
    "Max": lambda it: it("Max", it.rows, it.rows, it.rows),
    "LSTM": lambda it: it.recurrent("LSTM", 4, "", "", "", "", it.numbers(np.ones((1, 12)))),
    "GRU": lambda it: it.recurrent("GRU", 3, linear_before_reset=0),
    "RNN": lambda it: it.recurrent("RNN", 1, direction="reverse"),
    "LayerNormalization": lambda it: it(
        "LayerNormalization", it.tokens, it.numbers(np.ones((5, 4))), axis=1
    ),
    # Graphs that no engine would take.
    "Gemm": lambda it: it("Gemm", it.rows, it.numbers(np.ones((4, 4))), it.numbers([1, 2, 3])),
    "Unsqueeze": lambda it: it("Unsqueeze", it.rows, it.rows),
    "Range": lambda it: it("Range", it.whole(0, 1), it.whole(3), it.whole(1, 1)),
    "ReduceMin": lambda it: it("ReduceMin", it.rows, it.whole(7)),
}


@pytest.mark.parametrize("operator", REFUSED)
def test_what_has_no_form_is_refused_by_name(operator: str) -> None:
    made = Made()
    logits = REFUSED[operator](made)
    if logits == made.rows:  # the node is there, and nothing reads it
        assert operator in {node.op_type for node in made.nodes}
    model = onnx.shape_inference.infer_shapes(made.model(logits))
    with pytest.raises(ExportError, match=rf"^the form in C .*\b{operator}\b") as told:
        to_c(model, SIGNATURE, "abcd")
    assert "\n" not in str(told.value)


def test_an_operator_of_another_domain_is_refused() -> None:
    made = Made()
    model = made.model(made("Tanh", made.rows, domain="com.microsoft"))
    with pytest.raises(ExportError, match="no Tanh"):
        to_c(model, SIGNATURE, "abcd")


def test_a_layer_that_reads_other_numbers_than_a_token_has() -> None:
    made = Made()
    with pytest.raises(ExportError, match="no GRU as the model uses it: it reads 4 numbers"):
        made.recurrent("GRU", 3, width=5, linear_before_reset=1)
        to_c(made.model(made.rows), SIGNATURE, "abcd")


@pytest.mark.parametrize("logits", ["tokens", "input_ids"])
def test_logits_of_another_kind_than_the_task_has(logits: str) -> None:
    made = Made()
    with pytest.raises(ExportError, match="cannot give the logits"):
        to_c(made.model(getattr(made, logits, logits)), SIGNATURE, "abcd")


@pytest.mark.parametrize("name", ["", "Model", "1st", "a-b", "é", "a" * 42, "a b", "_a"])
def test_names_that_c_would_not_take(name: str) -> None:
    made = Made()
    with pytest.raises(InvalidInputError, match="c_name is"):
        to_c(made.model(made.rows), SIGNATURE, "abcd", name)
