from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from pe_deploy import ExportError, ModelConfig, Signature
from pe_deploy.export import onnx as export_onnx
from pe_deploy.export import operators, to_onnx
from pe_deploy.export.guards import unguarded
from pe_deploy.export.onnx import to_throughput
from pe_deploy.export.passes import recurrent_to_scan, simplify
from pe_deploy.training import GRUClassifier

Make = Callable[[str, ModelConfig | None], tuple[nn.Module, Signature, onnx.ModelProto]]
Hold = Callable[[onnx.ModelProto, nn.Module, Signature], None]
NOTEBOOK = ModelConfig(12, 10, 16, 32, 2)


def run(model: onnx.ModelProto, ids: Any) -> Any:
    session = ort.InferenceSession(model.SerializeToString())
    return session.run(None, {"input_ids": np.asarray(ids)})[0]


def body_of(model: onnx.ModelProto) -> onnx.GraphProto:
    (node,) = [node for node in model.graph.node if node.op_type == "Scan"]
    graph: onnx.GraphProto = next(a.g for a in node.attribute if a.name == "body")
    return graph


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(12, 10, 16, 32, 2),
        ModelConfig(7, 6, 3, 5, 1, num_classes=3),
        ModelConfig(9, 8, 5, 4, 3, num_classes=3, pad_id=2),
        ModelConfig(60, 8, 5, 4, 3, num_classes=3, pad_id=2),
        ModelConfig(4, 1, 3, 3, 2),
        ModelConfig(1, 5, 2, 3, 1),
        ModelConfig(2, 5, 2, 3, 1, pad_id=0),
    ],
    ids=str,
)
def test_any_model_of_the_family(made: Make, holds: Hold, config: ModelConfig) -> None:
    module, _, graph = made("classifier", config)
    before = simplify(graph)
    after = to_throughput(before, config.signature)
    assert after is not None
    holds(after, module, config.signature)
    assert "GRU" not in operators(after)
    assert after == to_throughput(before, config.signature), "always the same"
    steps = [node.op_type for node in body_of(after).node]
    assert not {"Split", "Concat", "Where", "Transpose"} & set(steps)
    assert steps.count("Tanh") == config.num_layers
    folded = config.vocab_size <= 12 and config.max_length > 1
    lookups = 0 if config.max_length == 1 else 3 if folded else 1
    assert steps.count("Gather") == lookups, "embeddings, or their projections, are looked up"
    assert steps.count("Gemm") == 6 * config.num_layers - (3 if folded else 0)


def test_every_row_of_a_tiny_vocabulary(made: Make) -> None:
    """Each beginning has its own row in the table of states, at each length and with padding."""
    config = ModelConfig(3, 4, 4, 6, 2, pad_id=1)
    module, _, graph = made("classifier", config)
    model = recurrent_to_scan(simplify(graph))
    assert model is not None
    for length in range(1, 5):
        ids = np.array(list(itertools.product(range(3), repeat=length)))
        # Rows with padding in between, which no check lets through, are right as well.
        with torch.no_grad():
            expected = module(torch.from_numpy(ids)).numpy()
        np.testing.assert_allclose(run(model, ids), expected, atol=1e-6)


class BelowToo(GRUClassifier):
    """Reads the first layer's state after all steps beside the last one's at a row's end."""

    def forward(self, input_ids: Tensor) -> Tensor:
        states, last = self.rnn_lay(self.embedding(input_ids))
        ends = (input_ids.ne(1).sum(1) - 1).clamp(min=0)
        at_ends = states[torch.arange(input_ids.size(0)), ends]
        logits: Tensor = self.fc_lay(at_ends + last[0]).squeeze(1)
        return logits


def test_a_layer_below_goes_on_behind_a_rows_end() -> None:
    config = ModelConfig(3, 4, 4, 6, 2, pad_id=1)
    torch.manual_seed(1)
    module = BelowToo(config).eval()
    model = recurrent_to_scan(unguarded(to_onnx(module, config.signature), config.signature))
    assert model is not None
    ids = np.array(list(itertools.product(range(3), repeat=4)))
    with torch.no_grad():
        expected = module(torch.from_numpy(ids)).numpy()
    np.testing.assert_allclose(run(model, ids), expected, atol=1e-6)


@pytest.mark.parametrize("bad", [12, 13, 120, 1 << 40])
@pytest.mark.parametrize("column", [0, 1, 2, 9])
def test_an_id_above_the_vocabulary_is_refused(made: Make, bad: int, column: int) -> None:
    """In the table of beginnings as in the tables of tokens: none is read as another row."""
    model = recurrent_to_scan(simplify(made("classifier", NOTEBOOK)[2]))
    assert model is not None
    ids = np.zeros((3, 10), np.int64)
    ids[1, column] = bad
    with pytest.raises(Exception, match="out of data bounds"):
        run(model, ids)


def test_a_sequence_longer_than_the_table_fails(made: Make) -> None:
    model = recurrent_to_scan(simplify(made("classifier", NOTEBOOK)[2]))
    assert model is not None
    with pytest.raises(Exception, match="Scan"):
        run(model, np.zeros((3, 11), np.int64))


@pytest.mark.parametrize("end", ["last state", "last output", "mean"])
def test_what_users_write(made: Make, holds: Hold, end: str) -> None:
    module, signature, graph = made(end, None)
    model = recurrent_to_scan(simplify(graph))
    assert model is not None
    holds(model, module, signature)
    assert operators(model)["Scan"] == 1


@pytest.mark.parametrize("kind", ["start of ones", "embeddings again", "end not clamped"])
def test_what_is_no_pattern_stays_right(made: Make, holds: Hold, kind: str) -> None:
    module, signature, graph = made(kind, None)
    model = recurrent_to_scan(simplify(graph))
    assert model is not None
    holds(model, module, signature)
    ids = np.array([[3, 3, 3, 3, 3], [1, 3, 3, 3, 3], [3, 1, 4, 3, 5]])
    with torch.no_grad():
        expected = module(torch.from_numpy(ids)).numpy()
    np.testing.assert_allclose(run(model, ids), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        ("start given", {"Scan": 1}),
        ("two stacks", {"Scan": 2}),
        ("bidirectional below", {"Scan": 3}),
        ("backwards", {"Scan": 1}),
    ],
)
def test_other_modules(made: Make, holds: Hold, kind: str, left: dict[str, int]) -> None:
    module, signature, graph = made(kind, None)
    model = to_throughput(simplify(graph), signature)
    assert model is not None
    holds(model, module, signature)
    found = operators(model)
    assert {name: found[name] for name in ("GRU", "Scan") if name in found} == left


@pytest.mark.parametrize(
    ("layers", "scans"),
    [
        ("RNN/one way/mean/2", 1),
        ("RNN/one way/row's end/2", 1),
        ("RNN relu/both ways/last state/1", 1),
        ("LSTM/one way/mean/2", 1),
        ("LSTM/one way/last output/1", 1),
        ("LSTM/one way/row's end/2", 1),
        ("LSTM/one way/cells/2", 1),
        ("LSTM/both ways/mean/2", 2),
        ("LSTM/both ways/cells/1", 1),
        ("LSTM/both ways/packed/2", 4),  # each way ends for itself
        ("GRU/both ways/mean/2", 2),
        ("GRU/both ways/last state/2", 2),
        ("GRU/both ways/row's end/1", 1),
    ],
)
def test_other_layers_and_both_ways(made: Make, holds: Hold, layers: str, scans: int) -> None:
    module, signature, graph = made(layers, None)
    model = to_throughput(simplify(graph), signature)
    assert model is not None
    holds(model, module, signature)
    found = operators(model)
    assert {name: found.get(name, 0) for name in ("GRU", "LSTM", "RNN", "Scan", "Reshape")} == {
        "GRU": 0,
        "LSTM": 0,
        "RNN": 0,
        "Scan": scans,
        "Reshape": 0,  # the outputs of both ways are joined as they are made
    }
    if layers.endswith("one way/row's end/2"):
        assert "Where" in {node.op_type for node in body_of(model).node}, "it stops at a row's end"


def test_a_node_both_ways_is_one_scan_from_both_ends(made: Make) -> None:
    _, signature, graph = made("GRU/both ways/mean/2", None)
    model = to_throughput(simplify(graph), signature)
    assert model is not None
    for node in (node for node in model.graph.node if node.op_type == "Scan"):
        settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert settings["scan_output_directions"] == [0, 1]
        half = settings["num_scan_inputs"] // 2
        assert settings["scan_input_directions"] == [0] * half + [1] * half


@pytest.mark.parametrize(
    ("layers", "other"),
    [
        ("LSTM/one way/mean/2", {"input_forget": 1}),
        ("RNN/one way/mean/2", {"activations": ["Affine"]}),
        ("GRU/both ways/mean/2", {"linear_before_reset": 0}),
        ("GRU/both ways/mean/2", {"clip": 3.0}),
    ],
)
def test_another_formula_stays_a_node(made: Make, layers: str, other: dict[str, Any]) -> None:
    graph = onnx.ModelProto()
    graph.CopyFrom(simplify(made(layers, None)[2]))
    for node in graph.graph.node:
        if node.op_type in ("GRU", "LSTM", "RNN"):
            kept = [a for a in node.attribute if a.name not in other]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.attribute.extend(onnx.helper.make_attribute(*one) for one in other.items())
    assert recurrent_to_scan(graph) is None


def test_metadata_stays(made: Make) -> None:
    before = onnx.ModelProto()
    before.CopyFrom(simplify(made("classifier", NOTEBOOK)[2]))
    before.metadata_props.add(key="key", value="value")
    after = to_throughput(before, NOTEBOOK.signature)
    assert after is not None
    assert {entry.key: entry.value for entry in after.metadata_props} == {"key": "value"}


def test_the_lint_counts_layers_in_scans(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:

    def one_layer_lost(model: onnx.ModelProto, weight_bytes: int) -> onnx.ModelProto | None:
        fast = recurrent_to_scan(model, weight_bytes)
        assert fast is not None
        next(n for n in body_of(fast).node if n.op_type == "Tanh").op_type = "Identity"
        return fast

    monkeypatch.setattr(export_onnx, "recurrent_to_scan", one_layer_lost)
    with pytest.raises(ExportError, match="Scan nodes hold 5 activations instead of 6"):
        to_throughput(simplify(made("classifier", NOTEBOOK)[2]), NOTEBOOK.signature)


class TwoReaders(GRUClassifier):
    """Two stacks of GRUs over one embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.other = nn.GRU(config.embedding_dim, config.hidden_dim, batch_first=True)

    def forward(self, input_ids: Tensor) -> Tensor:
        embedded = self.embedding(input_ids)
        _, first = self.rnn_lay(embedded)
        _, second = self.other(embedded)
        logits: Tensor = self.fc_lay(first[-1] + second[-1]).squeeze(1)
        return logits


def test_a_large_table_is_in_the_file_once() -> None:
    config = ModelConfig(2000, 6, 16, 8, 1)
    for module in (GRUClassifier(config).eval(), TwoReaders(config).eval()):
        model = to_onnx(module, config.signature)
        fast = to_throughput(model, config.signature)
        assert fast is not None
        assert len(fast.SerializeToString()) < 1.3 * len(model.SerializeToString())
        ids = np.random.default_rng(0).integers(0, 2000, (5, 6))
        with torch.no_grad():
            expected = module(torch.from_numpy(ids)).numpy()
        np.testing.assert_allclose(run(fast, ids), expected, atol=1e-6)
