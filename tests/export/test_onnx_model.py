from __future__ import annotations

import copy
import logging
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from pe_deploy import ExportError, InvalidInputError, ModelConfig, Signature
from pe_deploy.export import Source, operators, to_onnx
from pe_deploy.export.lint import Expectation, lint
from pe_deploy.training import GRUClassifier


def run(model: onnx.ModelProto, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    session = ort.InferenceSession(model.SerializeToString())
    logits: NDArray[np.float32] = session.run(None, {"input_ids": ids})[0]
    return logits


def axes(values: Any) -> dict[str, list[str | int]]:
    return {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in values
    }


@pytest.fixture(scope="module")
def notebook_graph(notebook_source: Source) -> onnx.ModelProto:
    return to_onnx(notebook_source.module, notebook_source.signature)


@pytest.mark.parametrize("sample_shape", [None, (1, 10), (2, 1), (1, 1), (10, 10), (64, 4)])
def test_no_trace_of_the_sample(
    notebook_source: Source,
    notebook_graph: onnx.ModelProto,
    sample_shape: tuple[int, int] | None,
) -> None:
    signature = notebook_source.signature
    model = to_onnx(notebook_source.module, signature, sample_shape=sample_shape)
    assert axes(model.graph.input) == {"input_ids": ["batch", "sequence"]}
    assert axes(model.graph.output) == {"logits": ["batch"]}
    assert operators(model)["GRU"] == 2
    assert model == notebook_graph, "the sample left a trace"


@pytest.mark.parametrize("opset", [18, 20, 23])
def test_shapes_the_export_never_saw(padded_source: Source, opset: int) -> None:
    module, signature = padded_source.module, padded_source.signature
    model = to_onnx(module, signature, opset=opset)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", opset)]
    for batch, length in ((1, 1), (1, 8), (13, 2), (40, 8)):
        ids = np.random.default_rng(batch).integers(4, 30, (batch, length))
        expected = module(torch.from_numpy(ids)).detach().numpy()
        np.testing.assert_allclose(run(model, ids), expected, atol=1e-6)


def test_nothing_of_the_making_is_left(notebook_source: Source) -> None:
    model = to_onnx(notebook_source.module, notebook_source.signature, metadata={"key": "value"})
    assert {entry.key: entry.value for entry in model.metadata_props} == {"key": "value"}
    data = model.SerializeToString()
    assert b"pkg.torch" not in data
    assert b".py" not in data
    own = [node for node in model.graph.node if not node.output[0].startswith("guard_")]
    assert len(own) <= 13


class Tagger(nn.Module):
    """A user's own module: other names, other wiring, one logit a row."""

    def __init__(self, **gru: Any) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.tokens = nn.Embedding(9, 6)
        self.blocks = nn.ModuleDict({"reader": nn.GRU(6, 5, **gru)})
        directions = 2 if gru.get("bidirectional") else 1
        self.head = nn.Linear(5 * directions * 2, 1)
        self.time_axis = 1 if gru.get("batch_first") else 0
        self.initial = nn.Parameter(torch.randn(gru.get("num_layers", 1) * directions, 1, 5))

    def forward(self, input_ids: Tensor) -> Tensor:
        embedded = self.tokens(input_ids)
        if self.time_axis == 0:
            embedded = embedded.transpose(0, 1)
        start = self.initial.expand(-1, input_ids.shape[0], -1).contiguous()
        outputs, states = self.blocks["reader"](embedded, start)
        mean = outputs.mean(self.time_axis)
        directions = states.shape[-1] * (mean.shape[-1] // states.shape[-1])
        last = states[-(directions // 5) :].transpose(0, 1).flatten(1)
        logits: Tensor = self.head(torch.cat([mean, last], 1)).squeeze(1)
        return logits


@pytest.mark.parametrize(
    "gru",
    [
        {},
        {"batch_first": True, "bias": False},
        {"num_layers": 3, "batch_first": True},
        {"bidirectional": True},
        {"bidirectional": True, "num_layers": 2, "batch_first": True, "bias": False},
    ],
)
def test_any_module_with_any_gru(gru: dict[str, Any]) -> None:
    module = Tagger(**gru).eval()
    model = to_onnx(module, Signature(vocab_size=9, max_length=20))
    assert operators(model)["GRU"] == gru.get("num_layers", 1)
    for batch, length in ((1, 1), (4, 20), (6, 3)):
        ids = np.random.default_rng(length).integers(0, 9, (batch, length))
        expected = module(torch.from_numpy(ids)).detach().numpy()
        np.testing.assert_allclose(run(model, ids), expected, atol=1e-6)
    assert isinstance(module.blocks["reader"], nn.GRU), "the user's module was changed"


class Shared(nn.Module):
    """One GRU under two names, flattened before use, as older code does."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.first = nn.GRU(4, 4, batch_first=True)
        self.second = self.first
        self.head = nn.Linear(4, 1)

    def forward(self, input_ids: Tensor) -> Tensor:
        self.first.flatten_parameters()
        outputs, _ = self.first(self.embedding(input_ids))
        _, state = self.second(outputs)
        logits: Tensor = self.head(state[-1]).squeeze(1)
        return logits


def test_a_gru_with_two_names() -> None:
    module = Shared().eval()
    model = to_onnx(module, Signature(vocab_size=9, max_length=12))
    ids = np.random.default_rng(0).integers(0, 9, (5, 12))
    expected = module(torch.from_numpy(ids)).detach().numpy()
    np.testing.assert_allclose(run(model, ids), expected, atol=1e-6)


@pytest.mark.parametrize(("max_length", "pad_id"), [(8, 7), (3, 2), (5, 4), (2, 1), (14, 13)])
def test_a_constant_that_is_a_sample_size_by_chance(max_length: int, pad_id: int) -> None:
    module = GRUClassifier(ModelConfig(vocab_size=20, max_length=max_length, pad_id=pad_id))
    assert operators(to_onnx(module, module.config.signature))["GRU"] == 2


class Frozen(GRUClassifier):
    """Reads the batch size as a Python number: the classic way to freeze an axis."""

    def forward(self, input_ids: Tensor) -> Tensor:
        embedded = self.pos_encoder(self.embedding(input_ids))
        start = torch.zeros(2, int(input_ids.shape[0]), 32)
        constant = embedded[:3].expand(3, -1, -1)
        _, last = self.rnn_lay(constant, start)
        logits: Tensor = self.fc_lay(last[-1]).squeeze(1)
        return logits


def test_a_frozen_axis_is_refused() -> None:
    module = Frozen(ModelConfig(vocab_size=12, max_length=10))
    with pytest.raises(ExportError, match=r"axes|frozen|capture"):
        to_onnx(module, module.config.signature)


class Looping(GRUClassifier):
    def forward(self, input_ids: Tensor) -> Tensor:
        embedded, state = self.embedding(input_ids), torch.zeros(())
        for step in range(input_ids.shape[1]):
            state = torch.tanh(embedded[:, step] - state)
        return state.sum(1)


def test_what_cannot_be_captured_is_one_line_that_names_the_line() -> None:
    module = Looping(ModelConfig(vocab_size=12, max_length=10))
    with pytest.raises(ExportError, match=r"test_onnx_model.py:\d+: for step in range") as error:
        to_onnx(module, module.config.signature)
    assert "\n" not in str(error.value)


def test_settings_outside_their_range(notebook_source: Source) -> None:
    module, signature = notebook_source.module, notebook_source.signature
    with pytest.raises(InvalidInputError, match="opset is 17; allowed: 18 to 23"):
        to_onnx(module, signature, opset=17)
    with pytest.raises(InvalidInputError, match=r"sample_shape is \(2, 11\)"):
        to_onnx(module, signature, sample_shape=(2, 11))


def test_own_noise_is_silenced_and_other_warnings_are_not(caplog: pytest.LogCaptureFixture) -> None:
    class Noisy(GRUClassifier):
        def forward(self, input_ids: Tensor) -> Tensor:
            warnings.warn("the user's own warning", UserWarning, stacklevel=2)
            return super().forward(input_ids)

    module = Noisy(ModelConfig(vocab_size=12, max_length=10))
    with caplog.at_level(logging.WARNING), pytest.warns(UserWarning, match="the user's own"):
        to_onnx(module, module.config.signature)
    assert "torchvision" not in caplog.text


@pytest.fixture(scope="module")
def good(
    notebook_source: Source, notebook_graph: onnx.ModelProto
) -> tuple[onnx.ModelProto, Expectation]:
    model = notebook_graph
    expected = Expectation(
        notebook_source.signature, recurrent_nodes=2, opset=18, sample_shape=(7, 9)
    )
    assert lint(model, expected) == []
    return model, expected


def freeze(value: onnx.ValueInfoProto) -> None:
    value.type.tensor_type.shape.dim[0].dim_value = 7


def break_linear_before_reset(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "GRU")
    kept = [a for a in node.attribute if a.name != "linear_before_reset"]
    del node.attribute[:]
    node.attribute.extend(kept)


def break_steps(model: onnx.ModelProto) -> None:
    """Reshape what the GRU reads to the sample's length, and let the outer axes look free."""
    gru = next(node for node in model.graph.node if node.op_type == "GRU")
    shape = numpy_helper.from_array(np.array([9, -1, 16]), "steps_shape")
    model.graph.initializer.append(shape)
    node = helper.make_node("Reshape", [gru.input[0], "steps_shape"], ["frozen"], name="Reshape_0")
    model.graph.node.insert(list(model.graph.node).index(gru), node)
    gru.input[0] = "frozen"


def break_dtype(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def break_constant(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 7]), "shape"))


def break_one_file(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def break_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 19


def break_gru_count(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "GRU").op_type = "Identity"


def break_graph(model: onnx.ModelProto) -> None:
    model.graph.node[-1].input[0] = "nowhere"


@pytest.mark.parametrize(
    ("damage", "rule", "cure"),
    [
        (break_linear_before_reset, "recurrent", "export with onnxscript 0.7.1 or later"),
        (break_gru_count, "recurrent", "keep each nn.GRU, nn.LSTM and nn.RNN a submodule"),
        (
            lambda model: freeze(model.graph.input[0]),
            "axes",
            "without using their sizes as Python numbers",
        ),
        (
            lambda model: freeze(model.graph.output[0]),
            "axes",
            "without using their sizes as Python numbers",
        ),
        (break_dtype, "axes", "export the module in float32"),
        (break_steps, "frozen_steps", "do not reshape with sizes read as Python numbers"),
        (break_constant, "frozen_constants", "give to_onnx another sample_shape"),
        (break_one_file, "one_file", "external_data=False"),
        (
            lambda model: model.opset_import.add(domain="com.microsoft"),
            "standard_domain",
            "replace the torch operation",
        ),
        (break_opset, "opset", "export with another opset"),
        (break_graph, "checker", "export with another opset"),
    ],
)
def test_each_lint_rule_catches_its_fault(
    good: tuple[onnx.ModelProto, Expectation], damage: Any, rule: str, cure: str
) -> None:
    model, expected = copy.deepcopy(good)
    damage(model)
    findings = {line.split(":")[0]: line for line in lint(model, expected)}
    assert rule in findings
    assert cure in findings[rule]
