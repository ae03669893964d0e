from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from torch import nn

from pe_deploy import ModelConfig, Signature
from pe_deploy.export import operators
from pe_deploy.export.passes import simplify

Make = Callable[[str, ModelConfig | None], tuple[nn.Module, Signature, onnx.ModelProto]]
Hold = Callable[[onnx.ModelProto, nn.Module, Signature], None]


def weights(model: onnx.ModelProto) -> dict[str, Any]:
    return {
        tensor.name: numpy_helper.to_array(tensor).tolist()
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }


def nodes_of(model: onnx.ModelProto, op_type: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == op_type]


def only_ids_are_transposed(model: onnx.ModelProto) -> bool:
    return [(list(node.input)) for node in nodes_of(model, "Transpose")] == [["input_ids"]]


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(12, 10, 16, 32, 2),
        ModelConfig(7, 6, 3, 5, 1, num_classes=3),
        ModelConfig(9, 8, 5, 4, 3, num_classes=3, pad_id=2),
        ModelConfig(4, 1, 3, 3, 2),
        ModelConfig(1, 5, 2, 3, 1),
    ],
    ids=str,
)
def test_any_model_of_the_family(made: Make, holds: Hold, config: ModelConfig) -> None:
    module, _, before = made("classifier", config)
    after = simplify(before)
    holds(after, module, config.signature)
    assert only_ids_are_transposed(after)
    assert weights(after) == weights(before), "trained weights keep their names and values"
    assert after.graph.input == before.graph.input
    assert after.graph.output == before.graph.output
    assert simplify(before) == after == simplify(after), "always the same, and done in one go"
    asked = [[bool(name) for name in node.output] for node in nodes_of(after, "GRU")]
    layers = config.num_layers - 1
    if config.pad_id is None:
        assert "Concat" not in operators(after), "the states of all layers are joined"
        assert operators(after)["Gather"] == 1
        assert asked == [[True]] * layers + [[False, True]]
    else:
        assert asked == [[True]] * (layers + 1)


@pytest.mark.parametrize("end", ["last state", "last output", "rows shared", "mean"])
def test_what_users_write(made: Make, holds: Hold, end: str) -> None:
    module, signature, before = made(end, None)
    after = simplify(before)
    holds(after, module, signature)
    found = operators(after)
    assert "Range" in operators(before)
    assert "Range" not in found, "positions are looked up, not sliced"
    assert found["Slice"] == 1
    assert all(len(node.input) == 4 for node in nodes_of(after, "GRU")), (
        "zeros are made to start from"
    )
    if end != "mean":
        assert only_ids_are_transposed(after)
        assert [node.output[0] == "" for node in nodes_of(after, "GRU")] == [False, True]


def test_a_sequence_longer_than_the_table_still_fails(made: Make) -> None:
    session = ort.InferenceSession(simplify(made("last state", None)[2]).SerializeToString())
    with pytest.raises(Exception, match="Add"):
        session.run(None, {"input_ids": np.zeros((2, 10), np.int64)})


@pytest.mark.parametrize(
    "kind",
    [
        "places from one",
        "places by row",
        "start of ones",
        "bidirectional",
        "embeddings again",
        "end not clamped",
    ],
)
def test_what_is_no_pattern_stays_right(made: Make, holds: Hold, kind: str) -> None:
    module, signature, graph = made(kind, None)
    holds(simplify(graph), module, signature)
