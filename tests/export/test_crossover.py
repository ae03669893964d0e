from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from pe_deploy import BundleError, InvalidInputError, ModelConfig, OnnxClassifier, open_bundle
from pe_deploy.bundle.artifacts import ONNX, THROUGHPUT, TORCHSCRIPT
from pe_deploy.export import ExportOptions, Source, crossover, export_module, to_onnx
from pe_deploy.export.crossover import CANDIDATES, dispatch_of, measured_crossover, tune
from pe_deploy.export.onnx import to_throughput
from pe_deploy.training import GRUClassifier


@pytest.mark.parametrize("true", [1, 5, 23, 24, 25, 100, 447, 448, 449])
def test_bisection_finds_where_the_form_begins_to_pay(
    notebook_bundle: Path, monkeypatch: pytest.MonkeyPatch, true: int
) -> None:
    monkeypatch.setattr(crossover, "_gain", lambda *args: 1.5 if args[-1] >= true else 0.8)
    bundle = open_bundle(notebook_bundle)
    found = measured_crossover(
        bundle.read(ONNX), bundle.read(THROUGHPUT), bundle.manifest.signature
    )
    assert found == next((rows for rows in CANDIDATES if rows >= true), None)


def test_what_is_measured_is_one_of_the_candidates(notebook_bundle: Path) -> None:
    bundle = open_bundle(notebook_bundle)
    models = bundle.read(ONNX), bundle.read(THROUGHPUT)
    assert measured_crossover(*models, bundle.manifest.signature) in (*CANDIDATES, None)


@pytest.mark.parametrize(
    ("config", "chunk_rows", "own_threads"),
    [
        (ModelConfig(12, 10), 1024, False),
        (ModelConfig(50, 64, 16, 256, num_layers=2), 256, True),
        (ModelConfig(50, 8, 16, 191, num_layers=1), 512, False),
    ],
)
def test_a_wide_model_gets_smaller_chunks_and_threads_of_its_own(
    config: ModelConfig, chunk_rows: int, own_threads: bool
) -> None:
    latency = to_onnx(GRUClassifier(config), config.signature)
    throughput = to_throughput(latency, config.signature)
    found = dispatch_of(latency, throughput, config.signature, 24)
    assert (found.crossover, found.chunk_rows, found.own_threads) == (24, chunk_rows, own_threads)
    assert 1 <= found.share_rows <= 200
    assert dispatch_of(latency, None, config.signature).crossover is None


def source() -> Source:
    torch.manual_seed(0)
    model = GRUClassifier(ModelConfig(7, 4, embedding_dim=3, hidden_dim=4, num_layers=1))
    return Source(model, model.config.signature, (0, 1), 0.5, model.config.to_dict())


def test_the_form_is_left_out_where_it_is_not_wanted_or_never_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = export_module(source(), tmp_path / "without", ExportOptions(throughput=False)).bundle
    assert THROUGHPUT not in without.files
    monkeypatch.setattr(crossover, "_gain", lambda *args: 0.9)
    never = export_module(source(), tmp_path / "never").bundle
    assert THROUGHPUT not in never.files
    assert never.manifest.dispatch.crossover is None
    assert OnnxClassifier(never).predict([[1, 2]] * 1000).shape == (1000,)


def test_tuning_changes_the_crossover_and_nothing_else(
    own_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_bundle(own_bundle)
    monkeypatch.setattr(crossover, "_gain", lambda *args: 1.5 if args[-1] >= 90 else 0.8)
    after = tune(before)
    assert after.manifest.dispatch.crossover == 96
    assert after.path == own_bundle
    assert open_bundle(own_bundle).files == before.files
    assert (own_bundle / "README.md").exists()
    values = [json.loads(bundle.manifest_json) for bundle in (before, after)]
    for each in values:
        del each["dispatch"], each["manifest_sha256"]
        each["files"].pop("README.md", None)  # which new manifests do not list
    assert values[0] == values[1]


def test_what_cannot_be_tuned_says_so(own_bundle: Path, tmp_path: Path) -> None:
    (own_bundle / "model.sig").write_bytes(b"{}")
    with pytest.raises(InvalidInputError, match="is signed; export it here to have it tuned"):
        tune(open_bundle(own_bundle))
    shutil.rmtree(own_bundle)
    export_module(source(), own_bundle, ExportOptions(formats=["torchscript"]))
    bundle = open_bundle(own_bundle)
    assert TORCHSCRIPT in bundle.files
    with pytest.raises(BundleError, match=r"holds no model\.onnx"):
        tune(bundle)
