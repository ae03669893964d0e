from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from pe_deploy import ModelConfig, Signature
from pe_deploy.export import operators
from pe_deploy.export.passes import lean
from pe_deploy.training import GRUClassifier

Capture = Callable[[nn.Module, Signature], onnx.ModelProto]
Hold = Callable[[onnx.ModelProto, nn.Module, Signature], None]
NOTEBOOK = Signature(vocab_size=12, max_length=9)


def weights(model: onnx.ModelProto) -> dict[str, Any]:
    return {
        tensor.name: numpy_helper.to_array(tensor).tolist()
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }


def made(model: onnx.ModelProto, op_type: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == op_type]


def only_ids_are_transposed(model: onnx.ModelProto) -> bool:
    return [(list(node.input)) for node in made(model, "Transpose")] == [["input_ids"]]


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
def test_any_model_of_the_family(captured: Capture, holds: Hold, config: ModelConfig) -> None:
    torch.manual_seed(0)
    module = GRUClassifier(config).eval()
    before = captured(module, config.signature)
    after = lean(before)
    holds(after, module, config.signature)
    assert only_ids_are_transposed(after)
    assert weights(after) == weights(before), "trained weights keep their names and values"
    assert after.graph.input == before.graph.input
    assert after.graph.output == before.graph.output
    assert lean(before) == after == lean(after), "always the same, and done in one go"
    asked = [[bool(name) for name in node.output] for node in made(after, "GRU")]
    layers = config.num_layers - 1
    if config.pad_id is None:
        assert "Concat" not in operators(after), "the states of all layers are joined"
        assert operators(after)["Gather"] == 1
        assert asked == [[True]] * layers + [[False, True]]
    else:
        assert asked == [[True]] * (layers + 1)


@pytest.mark.parametrize("end", ["last state", "last output", "rows shared", "mean"])
def test_what_users_write(captured: Capture, holds: Hold, notebook: Any, end: str) -> None:
    module = notebook(end).eval()
    before = captured(module, NOTEBOOK)
    after = lean(before)
    holds(after, module, NOTEBOOK)
    found = operators(after)
    assert "Range" in operators(before)
    assert "Range" not in found, "positions are looked up, not sliced"
    assert found["Slice"] == 1
    assert all(len(node.input) == 4 for node in made(after, "GRU")), "zeros are made to start from"
    if end != "mean":
        assert only_ids_are_transposed(after)
        assert [node.output[0] == "" for node in made(after, "GRU")] == [False, True]


def test_a_sequence_longer_than_the_table_still_fails(captured: Capture, notebook: Any) -> None:
    import onnxruntime as ort

    session = ort.InferenceSession(
        lean(captured(notebook("last state").eval(), NOTEBOOK)).SerializeToString()
    )
    with pytest.raises(Exception, match="Add"):
        session.run(None, {"input_ids": np.zeros((2, 10), np.int64)})


class Awkward(nn.Module):
    """What looks like a pattern and is none."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.kind = kind
        self.tokens = nn.Embedding(12, 6)
        self.places = nn.Embedding(9, 6)
        self.gru = nn.GRU(6, 5, 2, batch_first=True, bidirectional=kind == "bidirectional")
        self.head = nn.Linear(10 if kind == "bidirectional" else 5, 1)

    def forward(self, input_ids: Tensor) -> Tensor:
        batch, length = input_ids.shape
        embedded = self.tokens(input_ids)
        start = torch.zeros(2, batch, 5, dtype=embedded.dtype)
        if self.kind == "places from one":
            embedded = embedded + self.places(torch.arange(1, length + 1))
        if self.kind == "places by row":
            embedded = embedded + self.places(input_ids.sum(1, keepdim=True) % 9)
        if self.kind == "start of ones":
            start = start + 1
        if self.kind == "bidirectional":
            outputs, states = self.gru(embedded)
            logits: Tensor = self.head(outputs[:, 0] + torch.cat([states[-2], states[-1]], 1))
            return logits.squeeze(1)
        outputs, states = self.gru(embedded, start)
        if self.kind == "embeddings again":
            outputs = outputs + embedded[:, :, :5]
        rows = torch.arange(batch)
        ends = (input_ids > 3).sum(1) - 1
        logits = self.head(states[0] + outputs[:, 0] + outputs[rows, ends])
        return logits.squeeze(1)


@pytest.mark.parametrize(
    "kind",
    ["places from one", "places by row", "start of ones", "bidirectional", "embeddings again"],
)
def test_what_is_no_pattern_stays_right(captured: Capture, holds: Hold, kind: str) -> None:
    module, signature = Awkward(kind).eval(), Signature(vocab_size=12, max_length=8)
    holds(lean(captured(module, signature)), module, signature)
