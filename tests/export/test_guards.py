from __future__ import annotations

import copy
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from pe_deploy.config import Signature
from pe_deploy.errors import ExportError, InvalidInputError
from pe_deploy.export import to_onnx, to_torchscript
from pe_deploy.export.guards import guard_names
from pe_deploy.export.lint import Expectation, lint
from pe_deploy.export.refusals import bad_inputs, check_onnx_refuses, check_torchscript_refuses
from pe_deploy.model_config import ModelConfig
from pe_deploy.parity import random_ids
from pe_deploy.runtime import to_input_ids
from pe_deploy.runtime.torchscript import jit_deprecation_ignored
from pe_deploy.training import GRUClassifier

LEVELS = [
    ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
]

CONFIGS = {
    "notebook": ModelConfig(vocab_size=12, max_length=10),
    "one of all": ModelConfig(1, 1, embedding_dim=3, hidden_dim=4, num_layers=1),
    "short": ModelConfig(7, 1, embedding_dim=3, hidden_dim=4, num_classes=3),
    "padded": ModelConfig(20, 12, embedding_dim=5, hidden_dim=6, num_classes=3, pad_id=0),
    "padded, two ids": ModelConfig(2, 3, embedding_dim=3, hidden_dim=4, pad_id=1),
}


class OneHot(nn.Module):
    """A user's module that looks no id up in a table, so that no embedding can refuse one."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(1, 4, batch_first=True)

    def forward(self, input_ids: Tensor) -> Tensor:
        states: Tensor = self.gru((input_ids % 7).float().unsqueeze(2))[0]
        return states[:, -1, 0]


def models() -> dict[str, tuple[nn.Module, Signature]]:
    torch.manual_seed(3)
    made = {name: GRUClassifier(config) for name, config in CONFIGS.items()}
    found: dict[str, tuple[nn.Module, Signature]] = {
        name: (module, module.config.signature) for name, module in made.items()
    }
    # A table with more rows than the vocabulary that the signature states.
    found["larger table"] = (GRUClassifier(ModelConfig(30, 5)), Signature(12, 5))
    found["no table"] = (OneHot(), Signature(50, 6))
    found["very long"] = (OneHot(), Signature(50, 10_000))
    return found


@cache
def exported(config: ModelConfig) -> onnx.ModelProto:
    """Shared: to change it, copy it."""
    return to_onnx(GRUClassifier(config), config.signature)


def session(model: onnx.ModelProto, options: ort.SessionOptions | None = None) -> Any:
    options = options or ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


@pytest.mark.parametrize("name", list(models()))
def test_bad_input_fails_in_the_guard_for_it_at_every_optimisation_level(name: str) -> None:
    module, signature = models()[name]
    model = to_onnx(module, signature)
    names = guard_names(signature)
    good = random_ids(signature, 5, signature.max_length, np.random.default_rng(0))
    exact = module.eval()(torch.from_numpy(good)).detach().numpy()
    for level in LEVELS:
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        run = session(model, options).run
        for description, (kind, ids) in bad_inputs(signature).items():
            with pytest.raises(Exception, match=f"Name:'{names[kind]}") as caught:
                run(None, {"input_ids": ids})
            assert "onnxruntime" in type(caught.value).__module__, description
            answer = run(["logits"], {"input_ids": good})[0]
            np.testing.assert_allclose(answer, exact, rtol=0, atol=2e-6)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_no_bad_id_passes_wherever_it_stands(config: ModelConfig) -> None:
    signature = config.signature
    run = session(exported(config)).run
    rng = np.random.default_rng(1)
    size = signature.vocab_size
    values = [-1, -size, -size - 1, -(2**31), -(2**32), -(2**62), -(2**63)]
    values += [size, size + 1, 2 * size, 2**31, 2**32, 2**62, 2**63 - 1]
    for value in values:
        ids = random_ids(signature, 3, signature.max_length, rng)
        ids[rng.integers(3), rng.integers(signature.max_length)] = value
        with pytest.raises(Exception, match="Name:'guard_"):
            run(None, {"input_ids": ids})


@pytest.mark.parametrize("seed", range(5))
def test_padding_is_refused_exactly_where_the_wrapper_refuses_it(seed: int) -> None:
    config = CONFIGS["padded"]
    run = session(exported(config)).run
    rng = np.random.default_rng(seed)
    refused = 0
    for _ in range(60):
        ids = rng.integers(0, 2, (rng.integers(1, 4), rng.integers(1, 7)))
        try:
            to_input_ids(ids, config.signature)
        except InvalidInputError:
            refused += 1
            with pytest.raises(Exception, match="Name:'guard_padding_on_the_right'"):
                run(None, {"input_ids": ids})
        else:
            assert np.isfinite(run(None, {"input_ids": ids})[0]).all()
    assert 0 < refused < 60


def test_no_optimiser_of_onnxruntime_removes_a_guard(tmp_path: Path) -> None:
    config = CONFIGS["padded"]
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    session(exported(config), options)
    left = {node.name for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert set(guard_names(config.signature).values()) <= left


def without_node(output: str) -> Callable[[onnx.GraphProto], None]:
    """Take a node out, and let its readers have the raw ids instead."""

    def edit(graph: onnx.GraphProto) -> None:
        node = next(node for node in graph.node if node.output[0] == output)
        graph.node.remove(node)
        for reader in graph.node:
            reader.input[:] = ["input_ids" if name == output else name for name in reader.input]

    return edit


def with_constant(name: str, value: Any) -> Callable[[onnx.GraphProto], None]:
    def edit(graph: onnx.GraphProto) -> None:
        tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.array(value), name))

    return edit


def bypass(graph: onnx.GraphProto) -> None:
    reader = next(node for node in graph.node if node.name.startswith("guard_id_from"))
    reader.input[1] = "input_ids"


def ignored(graph: onnx.GraphProto) -> None:
    """The guards run, and the answer is made of something else."""
    for node in graph.node:
        node.output[:] = ["unused" if name == "logits" else name for name in node.output]
    graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float32), "zeros"))
    graph.node.append(helper.make_node("Identity", ["zeros"], ["logits"]))


@pytest.mark.parametrize(
    ("edit", "breach"),
    [
        (without_node("checked_ids"), "is missing or changed"),
        (without_node("guard_first"), "guard_sequence_not_empty is missing"),
        (without_node("guard_fits"), "guard_sequence_at_most_12 is missing"),
        (without_node("guard_padded"), "guard_padding_on_the_right is missing"),
        (with_constant("guard_lengths", [20] * 14), "guard_lengths is missing or changed"),
        (with_constant("guard_lengths", [19] * 13), "guard_lengths is missing or changed"),
        (with_constant("guard_pad_id", 3), "guard_pad_id is missing or changed"),
        (bypass, "guard_id_from_0_to_19 is missing or changed"),
        (ignored, "no answer depends on guard_id_from_0_to_19"),
    ],
)
def test_the_lint_demands_every_guard(edit: Callable[[onnx.GraphProto], None], breach: str) -> None:
    config = CONFIGS["padded"]
    good = exported(config)
    expected = Expectation(config.signature, config.num_layers, 18)
    assert lint(good, expected) == []
    model = copy.deepcopy(good)
    edit(model.graph)
    assert any(line.startswith("guards: ") and breach in line for line in lint(model, expected))


def test_a_graph_for_another_signature_is_not_guarded_for_this_one() -> None:
    config = CONFIGS["notebook"]
    model = exported(config)
    smaller = Signature(11, 9)
    assert any("guards: " in line for line in lint(model, Expectation(smaller, 2, 18)))


@pytest.mark.parametrize("name", list(models()))
def test_torchscript_refuses_in_the_words_of_the_wrapper(name: str) -> None:
    module, signature = models()[name]
    check_torchscript_refuses(to_torchscript(module, signature), signature)


@pytest.fixture(scope="module")
def padded_script() -> Any:
    config = CONFIGS["padded"]
    data = to_torchscript(GRUClassifier(config).eval(), config.signature)
    with jit_deprecation_ignored():
        return torch.jit.load(io.BytesIO(data))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "ids",
    [
        torch.zeros(3, 0, dtype=torch.int64),
        torch.zeros(3, dtype=torch.int64),
        torch.zeros(1, 2, 3, dtype=torch.int64),
        torch.ones(2, 13, dtype=torch.int32),
        torch.ones(2, 3),
        torch.ones(2, 3, dtype=torch.bool),
        torch.tensor([[1, 2], [3, 20]]),
        torch.tensor([[1, 2], [-1, 2]], dtype=torch.int8),
        torch.tensor([[1, 2, 0], [1, 0, 2]]),
        torch.tensor([[1, 2, 0], [0, 0, 0]]),
        torch.tensor([[0, 2, 0]]),
    ],
)
def test_torchscript_and_the_wrapper_say_the_same(padded_script: Any, ids: Tensor) -> None:
    with pytest.raises(InvalidInputError) as eager:
        to_input_ids(ids, CONFIGS["padded"].signature)
    with pytest.raises(Exception, match=r"builtins\.ValueError: ") as scripted:
        padded_script(ids)
    assert str(scripted.value).strip().splitlines()[-1] == f"builtins.ValueError: {eager.value}"


def test_torchscript_refuses_a_batch_of_no_rows(padded_script: Any) -> None:
    """To which our classifiers, which make it an empty answer, say nothing."""
    with pytest.raises(Exception, match=r"has shape \(0, 5\); allowed: at least 1 row and 1 to 12"):
        padded_script(torch.zeros(0, 5, dtype=torch.int64))


def test_torchscript_takes_any_integer_dtype(padded_script: Any) -> None:
    ids = torch.tensor([[1, 2, 0], [19, 0, 0]])
    for dtype in (torch.int64, torch.int32, torch.int16, torch.uint8):
        torch.testing.assert_close(padded_script(ids.to(dtype)), padded_script(ids), rtol=0, atol=0)


def test_an_artifact_that_answers_a_bad_input_is_not_published() -> None:
    config = CONFIGS["notebook"]
    model = GRUClassifier(config).eval()
    larger = Signature(config.vocab_size, config.max_length + 5)
    with pytest.raises(ExportError, match=r"model\.pt does not say what is wrong with rows of 0"):
        check_torchscript_refuses(to_torchscript(model, larger), config.signature)
    good = exported(config)
    smaller = Signature(config.vocab_size - 3, config.max_length)
    with pytest.raises(ExportError, match=r"model\.onnx does not say what is wrong with id -1"):
        check_onnx_refuses(good.SerializeToString(), smaller)
    shorter = Signature(config.vocab_size, config.max_length - 5)
    with pytest.raises(ExportError, match=r"model\.onnx answers rows of 6 ids"):
        check_onnx_refuses(good.SerializeToString(), shorter)
