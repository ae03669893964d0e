from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, parser
from torch import Tensor, nn

from pe_deploy import ModelConfig, Signature
from pe_deploy.export import to_onnx, to_throughput
from pe_deploy.export.compact import WEIGHT_BYTES, rounded
from pe_deploy.export.passes import recurrent_to_scan, simplify
from pe_deploy.export.passes.compact import Narrow, compacted, expanded, narrowed
from pe_deploy.export.passes.graph import graphs_in
from tests.export.passes.conftest import Hold, Make, ids_of

SIZES = ModelConfig(vocab_size=12, max_length=8, embedding_dim=16, hidden_dim=16, num_classes=3)

NOTEBOOK = ModelConfig(vocab_size=12, max_length=10)


def rows(levels: Any, scales: Any) -> NDArray[np.float32]:
    """Rows of whole multiples of a scale, each of which reaches 127 times its own."""
    made = np.array(levels, np.float32) * np.array(scales, np.float32)[:, None]
    return made.astype(np.float32)


LEVELS = np.random.default_rng(0).integers(-127, 128, (24, 40))
LEVELS[:, 3] = 127
ROWS = rows(LEVELS, 2.0 ** np.arange(-18, 6))


def found(weight: NDArray[np.float32], dtype: str = "int8") -> Narrow:
    narrow = narrowed(weight, dtype)
    assert narrow is not None
    np.testing.assert_array_equal(narrow.wide(), weight)
    assert narrow.size < weight.nbytes
    return narrow


@pytest.mark.parametrize(
    "weight",
    [
        ROWS,
        ROWS.T,
        -ROWS,
        ROWS[None],
        np.stack([ROWS, 3 * ROWS[::-1]]),
        np.stack([ROWS, 3 * ROWS[::-1]]).transpose(0, 2, 1),
        ROWS[8:16],
        ROWS.reshape(24, 8, 5),
        np.concatenate([ROWS, np.zeros((2, 40), np.float32)]),
    ],
    ids=lambda weight: str(weight.shape),
)
def test_rows_of_a_scale_are_found_however_they_lie(weight: NDArray[np.float32]) -> None:
    narrow = found(weight)
    assert narrow.numbers.dtype == np.int8
    assert narrow.scale is not None
    assert narrow.scale.size <= 2 * len(ROWS) + 2


def test_what_no_narrow_type_holds_stays_as_it_is() -> None:
    numbers = np.random.default_rng(1).normal(size=(30, 30)).astype(np.float32)
    assert narrowed(numbers, "float16") is None
    assert narrowed(numbers, "int8") is None
    assert narrowed(np.array(1.0, np.float32), "int8") is None  # a node takes more than it saves
    assert narrowed(np.ones(20, np.float32), "float16") is None
    assert narrowed(np.full((9, 9), 7e4, np.float32), "float16") is None
    assert narrowed(np.full((9, 9), np.nan, np.float32), "int8") is None


def test_float16_is_found_to_its_ends() -> None:
    ends = [65504.0, -65504.0, 2.0**-24, -(2.0**-24), 2.0**-14, 0.0, -0.0, -np.inf]
    narrow = found(np.resize(np.array(ends, np.float32), (30, 8)), "float16")
    assert np.array_equal(np.signbit(narrow.wide()[0]), np.signbit(np.array(ends, np.float32)))


def test_int8_takes_float16_for_what_has_no_rows() -> None:
    vector = np.random.default_rng(2).normal(size=300).astype(np.float16).astype(np.float32)
    assert found(vector).numbers.dtype == np.float16
    assert found(ROWS, "float16").numbers.dtype == np.float16


def weights_of(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {t.name: t for graph in graphs_in(model.graph) for t in graph.initializer}


def answers(model: onnx.ModelProto, ids: NDArray[np.int64]) -> Any:
    return ort.InferenceSession(model.SerializeToString()).run(None, {"input_ids": ids})[0]


@pytest.mark.parametrize("dtype", WEIGHT_BYTES)
@pytest.mark.parametrize("name", ["classifier", "LSTM/both ways/mean/1", "GRU/one way/packed/2"])
def test_the_same_model_in_fewer_bytes_and_back(
    made: Make, holds: Hold, name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pe_deploy.export.passes.compact._NODE_BYTES", 0)  # all that can be
    module, signature, _ = made(name, SIZES if name == "classifier" else None)
    module = rounded(module, dtype)
    latency = to_onnx(module, signature)
    fast = to_throughput(latency, signature, WEIGHT_BYTES[dtype])
    assert fast is not None
    for model in (latency, fast):
        small = compacted(model, dtype)
        kinds = [tensor.data_type for tensor in weights_of(small).values()]
        assert kinds.count(TensorProto.FLOAT16 if dtype == "float16" else TensorProto.INT8) > 4
        if dtype == "float16" or model is latency:  # OpenVINO takes no LSTM's step in int8
            holds(small, module, signature)
        ids = ids_of(signature, 33, 7)
        np.testing.assert_array_equal(answers(small, ids), answers(model, ids))
        back = expanded(small)
        assert [n for g in graphs_in(back.graph) for n in g.node] == [
            n for g in graphs_in(model.graph) for n in g.node
        ]
        before, after = weights_of(model), weights_of(back)
        assert list(before) == list(after)
        for key, tensor in before.items():
            same = numpy_helper.to_array(after[key]), numpy_helper.to_array(tensor)
            np.testing.assert_array_equal(*same)


@pytest.mark.parametrize("dtype", WEIGHT_BYTES)
def test_a_table_stays_narrow_behind_its_lookup_and_is_widened_for_others(dtype: str) -> None:
    """Also where an inner graph reads it."""
    model = parser.parse_model("""
        <ir_version: 10, opset_import: ["": 18]>
        tied (int64[n] input_ids, float[1] start) => (float[n, 24] logits, float[n, 24, 40] inner) {
            rows = Gather<axis = 0>(table, input_ids)
            turned = Transpose<perm = [1, 0]>(table)
            logits = MatMul(rows, turned)
            last, inner = Scan<num_scan_inputs = 1, body = step
                (float[1] state, int64 id) => (float[1] next, float[24, 40] out) {
                    next = Identity(state)
                    out = Mul(table, next)
                }>(start, input_ids)
        }
    """)
    model.graph.initializer.append(numpy_helper.from_array(ROWS, "table"))
    small = compacted(model, dtype)
    assert "table" in weights_of(small)
    assert weights_of(small)["table"].data_type != TensorProto.FLOAT
    (lookup,) = [node for node in small.graph.node if node.output[0] == "rows/narrow"]
    assert (lookup.op_type, lookup.input[0]) == ("Gather", "table")
    feed = {"input_ids": np.array([3, 0, 23]), "start": np.array([2.0], np.float32)}
    got, expected = (
        ort.InferenceSession(each.SerializeToString()).run(None, feed) for each in (small, model)
    )
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert expanded(small) == model


def test_names_that_are_taken_do_no_harm() -> None:
    nodes = [helper.make_node("Gather", ["a", "ids"], ["a_scale"])]
    nodes += [helper.make_node("MatMul", ["a_scale", "a_wide"], ["y"])]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 24])
    weights = [numpy_helper.from_array(ROWS, "a"), numpy_helper.from_array(ROWS.T, "a_wide")]
    graph = helper.make_graph(nodes, "graph", [ids], [out], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    small = compacted(model, "int8")
    onnx.checker.check_model(small, full_check=True)
    assert expanded(small) == model


class Plain(nn.Module):
    """Ids without positions, few enough for a table of what each adds to a gate."""

    def __init__(self, kind: str, both_ways: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens = nn.Embedding(12, 16)
        self.layers = getattr(nn, kind)(16, 12, batch_first=True, bidirectional=both_ways)
        self.head = nn.Linear(24 if both_ways else 12, 3)

    def forward(self, input_ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layers(self.tokens(input_ids))[0].mean(1))
        return logits


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_tables_of_tokens_are_left_to_the_runtime(holds: Hold, kind: str, both_ways: bool) -> None:
    module, signature = Plain(kind, both_ways).eval(), Signature(12, 8, 3)
    assert_made_at_load(to_onnx(module, signature), signature)
    small = to_throughput(to_onnx(module, signature), signature, weight_bytes=2)
    assert small is not None
    holds(small, module, signature)


@pytest.mark.parametrize("name", ["classifier", "last state"])
def test_and_those_of_positions(made: Make, holds: Hold, name: str) -> None:
    module, signature, _ = made(name, SIZES if name == "classifier" else None)
    model = to_onnx(module, signature)
    assert_made_at_load(model, signature)
    small = to_throughput(model, signature, weight_bytes=2)
    assert small is not None
    holds(small, module, signature)


def assert_made_at_load(model: onnx.ModelProto, signature: Signature) -> None:
    fast, small = (to_throughput(model, signature, weight_bytes=each) for each in (4, 2))
    assert fast is not None
    assert small is not None
    assert any("tokens_" in name for name in weights_of(fast))
    names = [name for name in weights_of(small) if "tokens" in name]
    assert len(names) == 1  # the table itself, once for all gates and both ways


def test_a_table_of_states_at_most_doubles_what_the_file_holds(made: Make) -> None:
    _, _, graph = made("classifier", NOTEBOOK)
    simple = simplify(graph)
    numbers = sum(
        numpy_helper.to_array(tensor).size
        for tensor in simple.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
    )
    sizes = []
    for weight_bytes in (4, 2, 1):
        model = recurrent_to_scan(simple, weight_bytes)
        assert model is not None
        tables = [t for name, t in weights_of(model).items() if "_states" in name]
        sizes.append(sum(int(np.prod(tensor.dims)) for tensor in tables))
        assert 0 < 4 * sizes[-1] <= weight_bytes * numbers
    assert sizes[0] > sizes[-1]
