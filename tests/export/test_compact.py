from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from pe_deploy import (
    CheckpointError,
    ExportError,
    InvalidInputError,
    ModelConfig,
    OnnxClassifier,
    ParityError,
    open_bundle,
)
from pe_deploy.bench.models import subject_of
from pe_deploy.bundle.artifacts import MODELS
from pe_deploy.data.text_dataset import TextDataset
from pe_deploy.export import (
    Exported,
    ExportOptions,
    LabelledRows,
    Source,
    compare,
    export_module,
)
from pe_deploy.export.compact import rounded
from pe_deploy.export.crossover import tune
from pe_deploy.export.passes.graph import graphs_in
from pe_deploy.export.rebuild import rebuilt
from pe_deploy.export.trained import trained_reference
from pe_deploy.model_config import TrainedFrom
from pe_deploy.mutation.faults import FAULTS
from pe_deploy.mutation.run import self_test
from pe_deploy.parity import load_report, verify_bundle
from pe_deploy.runtime.text_graph import text_graph_predictor
from pe_deploy.runtime.torchscript import TorchScriptClassifier
from pe_deploy.text.building import build_tokenizer
from pe_deploy.training.state_dict import weights_sha256
from tests.export.conftest import source_of

FLOAT16 = ExportOptions(crossover=24, compact="float16", allow_flips=0.01)
INT8 = ExportOptions(crossover=24, compact="int8", allow_flips=0.5)
SIZES = ModelConfig(300, 12, embedding_dim=24, hidden_dim=32, num_classes=4, pad_id=3)


@pytest.fixture(scope="module", autouse=True)
def fewer_random_rows() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pe_deploy.parity.losses.RANDOM_ROWS", 2000)
        yield


@pytest.fixture(scope="module")
def source() -> Source:
    return source_of(SIZES)


@pytest.fixture(scope="module")
def plain(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    place = tmp_path_factory.mktemp("plain") / "bundle"
    return export_module(source, place, ExportOptions(crossover=24))


@pytest.fixture(scope="module")
def small(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_module(source, tmp_path_factory.mktemp("small") / "bundle", FLOAT16)


@pytest.fixture(scope="module")
def smallest(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_module(source, tmp_path_factory.mktemp("smallest") / "bundle", INT8)


class Mean(nn.Module):
    """A table of ids and a head, which may be the same; and a table that was not trained."""

    def __init__(self, out: int = 3, tied: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(30, 16)
        self.head = nn.Linear(16, 30 if tied else out)
        if tied:
            self.head.weight = self.embedding.weight
        self.register_buffer("shifts", torch.randn(9, 16))
        self.register_buffer("mask", torch.full((9, 9), -1e9).triu(1))
        self.register_buffer("once", torch.rand(16))

    def forward(self, ids: Tensor) -> Tensor:
        shifted = self.embedding(ids) + self.get_buffer("shifts")[: ids.shape[1]]
        logits: Tensor = self.head(torch.tanh(shifted * self.once).mean(1))
        return logits


def in_float16(tensor: Tensor) -> Tensor:
    return tensor.half().float()


def test_float16_is_the_nearest_of_each_weight() -> None:
    module = Mean()
    before = copy.deepcopy(module.state_dict())
    made = rounded(module, "float16")
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())
    for name, tensor in made.state_dict().items():
        expected = before[name] if name in ("mask", "once") else in_float16(before[name])
        assert torch.equal(tensor, expected), name
        assert tensor.dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_int8_is_a_scale_a_row_that_reaches_its_largest_number() -> None:
    module = Mean()
    with torch.no_grad():
        module.embedding.weight[2] = 0
        module.embedding.weight[3] *= 1e-6
        module.embedding.weight[4] *= 1e6
        module.embedding.weight[5] = 1e-38
    made = rounded(module, "int8")
    for name in ("embedding.weight", "head.weight"):
        was, now = (m.get_parameter(name).double() for m in (module, made))
        largest = was.abs().amax(1, keepdim=True)
        assert ((now - was).abs() <= largest / 127 / 2 * (1 + 2**-10) + 2.0**-90).all()
        scale = now.abs().amax(1, keepdim=True) / 127
        levels = (now / scale.clamp(min=2.0**-120)).numpy()
        np.testing.assert_array_equal(levels, levels.round())
        assert np.abs(levels).max() == 127
    assert torch.equal(made.head.bias, in_float16(module.head.bias))  # type: ignore[arg-type, union-attr]
    assert not made.embedding.weight[5].any()  # type: ignore[index, union-attr]


def test_axes_of_one_count_no_rows() -> None:
    module = Mean()
    module.places = nn.Parameter(torch.randn(1, 9, 16) * torch.logspace(-3, 3, 9)[:, None])
    flat = Mean()
    flat.places = nn.Parameter(module.places[0].detach().clone())
    made, expected = (rounded(each, "int8").get_parameter("places") for each in (module, flat))
    assert torch.equal(made[0], expected)
    assert (made - module.places).abs().max() < 0.005 * module.places.abs().max()
    assert made[0, 0].any()


def test_tied_weights_stay_tied() -> None:
    made = rounded(Mean(tied=True), "int8")
    assert made.head.weight is made.embedding.weight  # type: ignore[union-attr]


def test_weights_and_buffers_may_share_their_memory() -> None:
    module = Mean()
    module.twin = nn.Parameter(module.embedding.weight.data)
    module.register_buffer("view", module.embedding.weight.data[:5])
    module.register_buffer("repeated", torch.full((1, 4), 0.1).expand(3, 4))
    made = rounded(module, "int8")
    expected = rounded(Mean(), "int8").get_parameter("embedding.weight")
    for name in ("embedding.weight", "twin"):
        assert torch.equal(made.get_parameter(name), expected)
    assert torch.equal(made.get_buffer("view"), in_float16(module.embedding.weight[:5]))
    assert torch.equal(made.get_buffer("repeated"), in_float16(torch.full((3, 4), 0.1)))


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (70000.0, "float16", "embedding.weight holds 70000, which float16 weights cannot"),
        (
            -1e38,
            "float16",
            "holds -1e[+]38, which float16 weights cannot; allowed: -65504 to 65504",
        ),
        (3.4028234e38, "int8", "holds 3.40282e[+]38, which int8 weights cannot"),
    ],
)
def test_a_weight_beyond_the_type_is_refused(
    tmp_path: Path, value: float, dtype: Any, message: str
) -> None:
    module = Mean()
    with torch.no_grad():
        module.embedding.weight[7, 3] = value
    options = ExportOptions(compact=dtype, allow_flips=1)
    with pytest.raises(ExportError, match=message):
        export_module(module, tmp_path / "bundle", options, max_length=9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("odd", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_a_weight_that_is_not_finite_is_refused_as_ever(
    tmp_path: Path, odd: float, dtype: Any
) -> None:
    source = source_of(SIZES)
    with torch.no_grad():
        source.module.get_parameter("fc_lay.weight")[1, 2] = odd
    with pytest.raises(ExportError):
        export_module(source, tmp_path / "bundle", ExportOptions(compact=dtype, allow_flips=1))


def numbers_of(model: bytes) -> dict[str, int]:
    """How many numbers of each type a model holds."""
    counts: dict[str, int] = {}
    for graph in graphs_in(onnx.load_from_string(model).graph):
        for tensor in graph.initializer:
            name = onnx.TensorProto.DataType.Name(tensor.data_type)
            counts[name] = counts.get(name, 0) + int(np.prod(tensor.dims))
    return counts


def test_the_files_hold_few_bytes_a_weight(
    plain: Exported, small: Exported, smallest: Exported
) -> None:
    for name in ("model.onnx", "model.throughput.onnx"):
        before, half, quarter = (len(it.bundle.files[name]) for it in (plain, small, smallest))
        assert half < 0.6 * before
        assert quarter < 0.45 * before
        of_half, of_quarter = (numbers_of(it.bundle.files[name]) for it in (small, smallest))
        assert of_half["FLOAT"] < 0.1 * of_half["FLOAT16"]
        assert of_quarter["FLOAT"] < 0.2 * of_quarter["INT8"]
    assert len(small.bundle.files["model.pt"]) == len(plain.bundle.files["model.pt"])


@pytest.mark.parametrize("made", ["small", "smallest"])
def test_it_is_judged_by_its_own_weights_and_the_loss_beside(
    made: str, source: Source, request: pytest.FixtureRequest
) -> None:
    exported: Exported = request.getfixturevalue(made)
    bundle, report = exported.bundle, exported.report
    compact = bundle.manifest.compact
    assert compact is not None
    assert compact.trained_sha256 == weights_sha256(source.module)
    own = rounded(source.module, compact.dtype)
    assert bundle.manifest.weights_sha256 == weights_sha256(own) != compact.trained_sha256
    assert weights_sha256(rebuilt(bundle)) == bundle.manifest.weights_sha256
    assert b'"format_version": 4,' in bundle.manifest_json
    assert report.worst <= report.tolerance.allowed(report.floor, 0)
    (lost,) = report.losses
    assert (lost.rows, lost.held_out) == (2000, False)
    assert lost.difference > 10 * report.worst

    ids = np.random.default_rng(5).integers(4, 300, (60, 9))
    expected = own.double()(torch.from_numpy(ids)).numpy()
    trained = source.module(torch.from_numpy(ids)).detach().numpy()
    for classifier in (OnnxClassifier(bundle, self_test=True), TorchScriptClassifier(bundle)):
        answers = classifier.predict_logits(ids)
        np.testing.assert_allclose(answers, expected, atol=2e-6)
        assert 1e-5 < np.abs(answers - trained).max() < 2 * lost.difference
    assert load_report(bundle.path / "parity.json").losses == report.losses
    assert "rounding_on_random_rows" in bundle.manifest.parity


def test_the_card_says_what_it_costs(small: Exported, plain: Exported) -> None:
    card = (small.bundle.path / "README.md").read_text()
    assert "were rounded to float16" in card
    assert "| 2,000 random |" in card
    assert "compared with torch on the rounded weights" in card
    assert "rounded" not in (plain.bundle.path / "README.md").read_text()


def test_the_same_weights_give_the_same_bytes(
    small: Exported, source: Source, tmp_path: Path
) -> None:
    again = export_module(source, tmp_path / "bundle", FLOAT16)
    assert again.bundle.files == small.bundle.files


def test_held_out_rows_are_judged_apart(source: Source, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(4, 300, (700, 12))
    trained = dataclasses.replace(source, rows=LabelledRows(rows, rows[:, 0] % 4))
    made = export_module(trained, tmp_path / "bundle", FLOAT16)
    held_out, random = made.report.losses
    assert (held_out.kind, held_out.rows, held_out.allowed) == ("held-out", 700, 7)
    assert (random.kind, random.rows, random.allowed) == ("random", 2000, 20)


def test_too_many_flips_are_not_published(source: Source, tmp_path: Path) -> None:
    options = dataclasses.replace(INT8, allow_flips=0.0)
    with pytest.raises(ParityError, match=r"^parity failed \(flips\): .* allowed: 0") as caught:
        export_module(source, tmp_path / "bundle", options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"compact": "int4"}, "compact is 'int4'; allowed: float16, int8"),
        ({"compact": "int8"}, "compact is int8 and allow_flips is not stated"),
        ({"allow_flips": 0.1}, "allow_flips is 0.1; allowed only with compact"),
        ({"compact": "float16", "allow_flips": 1.5}, "allow_flips is 1.5; allowed: a share"),
        ({"compact": "float16", "allow_flips": -0.1}, "allow_flips is -0.1"),
        ({"compact": "float16", "allow_flips": float("nan")}, "allow_flips is nan"),
        ({"compact": "float16", "allow_flips": True}, "allow_flips is True"),
        ({"compact": "int8", "allow_flips": "0.1"}, "allow_flips is '0.1'"),
        ({"compact": "float16", "formats": "torchscript"}, "compact is asked for with torchscript"),
    ],
)
def test_what_is_asked_for_has_to_make_sense(stated: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        ExportOptions(**stated)


def test_a_regression_has_differences_alone(tmp_path: Path) -> None:
    stated: dict[str, Any] = {"task": "regression", "max_length": 9}
    for options in (INT8, FLOAT16):
        with pytest.raises(InvalidInputError, match="task regression has no labels to flip"):
            export_module(Mean(1), tmp_path / "bundle", options, **stated)
    options = ExportOptions(crossover=24, compact="float16")
    made = export_module(Mean(1), tmp_path / "bundle", options, **stated)
    (lost,) = made.report.losses
    assert (lost.flips, lost.allowed) == (None, None)
    assert lost.difference > 0
    assert made.bundle.manifest.compact == ("float16", weights_sha256(Mean(1)), None)


@pytest.mark.parametrize(("task", "unit"), [("multilabel", "labels"), ("tokens", "tokens")])
def test_each_task_counts_its_own_flips(tmp_path: Path, task: Any, unit: str) -> None:
    class Each(Mean):
        def forward(self, ids: Tensor) -> Tensor:
            logits: Tensor = self.head(self.embedding(ids))
            return logits if task == "tokens" else logits.mean(1)

    made = export_module(Each(), tmp_path / "bundle", INT8, task=task, max_length=9)
    (lost,) = made.report.losses
    assert lost.unit == unit
    assert lost.decisions > lost.rows


def test_a_table_that_is_the_head_too(tmp_path: Path) -> None:
    made = export_module(Mean(tied=True), tmp_path / "bundle", INT8, max_length=9)
    model = onnx.load_from_string(made.bundle.files["model.onnx"])
    lookups = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    tables = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8}
    assert lookups & tables


def test_weights_of_half_precision_lose_nothing(tmp_path: Path) -> None:
    options = dataclasses.replace(FLOAT16, allow_flips=0.0)
    made = export_module(Mean().half(), tmp_path / "bundle", options, max_length=9)
    (lost,) = made.report.losses
    assert (lost.flips, lost.difference) == (0, 0.0)


def test_the_module_that_it_was_made_of_verifies_it(small: Exported, source: Source) -> None:
    report = compare(source.module, small.bundle)
    assert report.passed
    assert report.losses == small.report.losses
    other = source_of(SIZES, seed=1)
    assert not compare(other.module, small.bundle, checks=["golden"]).passed


@pytest.mark.parametrize("made", ["small", "smallest"])
def test_engines_that_read_the_graph_in_their_own_way_agree(
    made: str, request: pytest.FixtureRequest
) -> None:
    """OpenVINO would by default round what int8 weights are multiplied with, too."""
    exported: Exported = request.getfixturevalue(made)
    report = verify_bundle(exported.bundle, independent=True)
    report.raise_if_failed()
    assert "onnx-ref" in {cell.predictor for cell in report.cells}


def test_a_checkpoint_is_known_by_the_weights_that_were_trained(
    small: Exported, source: Source, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.pt"
    torch.save(source.module.state_dict(), weights)
    reference = trained_reference(small.bundle, TrainedFrom(str(weights)))
    assert verify_bundle(small.bundle, reference).losses == small.report.losses
    torch.save(rounded(source.module, "float16").state_dict(), weights)
    with pytest.raises(CheckpointError, match="holds other weights"):
        trained_reference(small.bundle, TrainedFrom(str(weights)))


def test_the_self_test_plants_no_rounding_where_there_is_some(
    small: Exported, smallest: Exported
) -> None:
    rounding = [fault for fault in FAULTS if "float16" in fault.name]
    for made, planted in ((small, False), (smallest, True)):
        outcomes = self_test(made.bundle, faults=rounding)
        of_float16 = [o for o in outcomes if o.fault == "weights rounded to float16"]
        assert [o.planted for o in of_float16] == [planted] * 3
        assert all(o.caught for o in outcomes if o.planted)
        if not planted:
            assert {o.note for o in of_float16} == {
                "the bundle's weights are float16, and what that costs was measured beside"
            }


def test_faults_are_planted_into_compact_graphs(smallest: Exported) -> None:
    few = (
        "embedding rows permuted",
        "gates swapped",
        "guards left out",
        "wrong at one length only",
    )
    outcomes = self_test(smallest.bundle, faults=[f for f in FAULTS if f.name in few])
    assert [o for o in outcomes if o.planted and not o.caught] == []
    assert {o.fault for o in outcomes if o.planted} == {*few}


def test_the_crossover_can_be_measured_anew(source: Source, tmp_path: Path) -> None:
    made = export_module(source, tmp_path / "bundle", FLOAT16)
    tuned = tune(made.bundle)
    assert tuned.manifest.compact == made.bundle.manifest.compact
    assert {name: tuned.files[name] for name in MODELS if name in tuned.files} == {
        name: made.bundle.files[name] for name in MODELS if name in made.bundle.files
    }


def test_the_bench_finds_its_module(small: Exported) -> None:
    assert subject_of(small.bundle).has_module


def test_the_text_graph_is_compact_too(tmp_path: Path) -> None:
    texts = ("the cat sat", "a dog ran", "the dog sat on a cat")
    words = build_tokenizer("words", texts)
    module = source_of(ModelConfig(words.vocab_size, 6, 24, 32, num_classes=3, pad_id=0)).module
    options = dataclasses.replace(FLOAT16, text_graph=True)
    data = TextDataset(texts, np.arange(3), labels=("x", "y", "z"))
    made = export_module(module, tmp_path / "bundle", options, tokenizer=words, data=data)
    predict = text_graph_predictor(
        made.bundle.files["model.text.onnx"], made.bundle.manifest.signature
    )
    expected = OnnxClassifier(made.bundle).predict_logits(list(texts))
    np.testing.assert_allclose(predict(list(texts)), expected, atol=1e-6)
    assert "FLOAT16" in numbers_of(made.bundle.files["model.text.onnx"])


def test_the_command_shows_the_table(
    run: Callable[..., Any], source: Source, tmp_path: Path
) -> None:
    torch.save(source.module.state_dict(), tmp_path / "weights.pt")
    stated = ("export", "weights.pt", "-o", "made", "--pad-id", 3, "--crossover", 24)
    done = run(*stated, "--compact", "int8", "--allow-flips", 0.5)
    assert done.code == 0
    assert "Rounded weights beside the trained ones" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert "rounded" in run("inspect", "made").out
    shown = run("verify", "made", "--checkpoint", "weights.pt").out
    assert "Rounded weights beside the trained ones" in shown
    assert "Rounded weights" in run("verify", "made/parity.json").out

    refused = run(*stated, "--compact", "int8", "--allow-flips", 0)
    assert refused.code == 1
    assert refused.err.count("\n") == 1
    assert "parity failed (flips): rounding the weights flips" in refused.err
    assert open_bundle(tmp_path / "made").manifest.compact is not None
    assert run(*stated, "--compact", "int8").code == 1
    assert run(*stated, "--compact", "float8").code == 2
    assert json.loads((tmp_path / "made" / "parity.json").read_bytes())["losses"]
