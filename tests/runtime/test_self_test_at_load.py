from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import BundleError, OnnxClassifier, ParityError, PredictionError, open_bundle
from pe_deploy.bundle.artifacts import GOLDEN, ONNX, THROUGHPUT
from pe_deploy.bundle.bundle import write_bundle
from pe_deploy.bundle.golden import GoldenCase, golden_to_bytes
from pe_deploy.bundle.onnx_file import read_onnx
from pe_deploy.parity import Tolerance
from pe_deploy.runtime.replay import replay

IDS = np.array([[1, 2, 3]])


def case(logit: float = 1.0, torch_error: float = 0.0) -> GoldenCase:
    exact = np.array([logit])
    return GoldenCase(IDS, exact, np.array(exact + torch_error, np.float32))


def test_a_good_bundle_loads_and_answers_as_without(any_bundle: Path) -> None:
    tested = OnnxClassifier(any_bundle, self_test=True)
    ids = open_bundle(any_bundle).golden()[0].input_ids
    expected = OnnxClassifier(any_bundle).predict_logits(ids)
    np.testing.assert_array_equal(tested.predict_logits(ids), expected)


def test_golden_vectors_of_another_model_fail_in_one_line(own_bundle: Path) -> None:
    bundle = open_bundle(own_bundle)
    moved = [GoldenCase(c.input_ids, c.float64 + 1e-3, c.float32 + 1e-3) for c in bundle.golden()]
    golden = golden_to_bytes(moved, bundle.manifest.weights_sha256)
    write_bundle(own_bundle, bundle.manifest, {**bundle.files, GOLDEN: golden})
    OnnxClassifier(own_bundle)
    with pytest.raises(ParityError) as caught:
        OnnxClassifier(own_bundle, self_test=True)
    line = str(caught.value)
    assert "\n" not in line
    for part in (str(own_bundle / ONNX), "CPUExecutionProvider", "worst difference 0.001", "floor"):
        assert part in line
    assert "allowed" in line


@pytest.mark.parametrize("name", [ONNX, THROUGHPUT])
@pytest.mark.parametrize("crossover", [1, 10_000])
def test_each_graph_is_replayed_whatever_batches_it_is_for(
    notebook_bundle: Path, name: str, crossover: int
) -> None:
    bundle = open_bundle(notebook_bundle)
    dispatch = bundle.manifest.dispatch._replace(crossover=crossover)
    manifest = dataclasses.replace(bundle.manifest, dispatch=dispatch)
    made = dataclasses.replace(bundle, manifest=manifest)
    OnnxClassifier(made, self_test=True)
    graph = bundle.read(name)
    (bias,) = (
        t.values for t in read_onnx(graph).tensors if t.dims == (1,) and t.values is not None
    )
    off_by_one = graph.replace(bias.tobytes(), (bias + 1).tobytes())
    wrong = dataclasses.replace(made, files={**made.files, name: off_by_one})
    with pytest.raises(ParityError, match=rf"/{name} on .* worst difference 1 "):
        OnnxClassifier(wrong, self_test=True)


def test_labels_of_another_manifest_fail_in_one_line(notebook_bundle: Path) -> None:
    bundle = open_bundle(notebook_bundle)
    swapped = dataclasses.replace(bundle.manifest, labels=bundle.manifest.labels[::-1])
    made = dataclasses.replace(bundle, manifest=swapped)
    OnnxClassifier(made)
    with pytest.raises(ParityError, match=r"the label [01]; published was [01]$"):
        OnnxClassifier(made, self_test=True)


def test_a_label_may_differ_by_rounding() -> None:
    edge = GoldenCase(IDS, np.array([1e-7]), np.array([1e-7], np.float32), np.array([1]))

    def decide(logits: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        return np.asarray(logits > 0, np.int64)

    replay(lambda ids: np.array([-1e-7], np.float32), [edge], "it", decide)
    wrong = dataclasses.replace(edge, labels=np.array([0]))
    with pytest.raises(ParityError, match="row 0 of the golden vectors the label 1; published"):
        replay(lambda ids: np.array([2e-7], np.float32), [wrong], "it", decide)


def test_damaged_golden_vectors_are_named(notebook_bundle: Path) -> None:
    bundle = open_bundle(notebook_bundle)
    made = dataclasses.replace(bundle, files={**bundle.files, GOLDEN: b"no archive"})
    with pytest.raises(BundleError, match=r"golden\.npz is not a plain zip archive"):
        OnnxClassifier(made, self_test=True)


def test_the_rule_is_that_of_parity() -> None:
    allowed = Tolerance().from_floor(1e-4)
    golden = [case(torch_error=1e-4), case()]
    floor = float(np.abs(golden[0].float32 - golden[0].float64).max())
    assert allowed == pytest.approx(Tolerance().from_floor(floor), rel=1e-3)

    def off_by(error: float) -> float:
        return replay(lambda ids: np.array([1.0 + error], np.float32), golden, "it")

    assert off_by(0.98 * allowed) == pytest.approx(0.98 * allowed, rel=1e-3)
    with pytest.raises(ParityError, match="it computes something else"):
        off_by(1.02 * allowed)


def test_no_number_and_no_answer_are_failures() -> None:
    with pytest.raises(ParityError, match="worst difference nan"):
        replay(lambda ids: np.array([np.nan], np.float32), [case(), case()], "it")

    def fails(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        raise PredictionError("the engine fails")

    with pytest.raises(ParityError, match=r"fails on .* batch 1 × length 3: the engine fails"):
        replay(fails, [case()], "it")


def test_what_is_no_error_of_ours_passes_through_a_replay() -> None:
    def interrupted(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        raise TimeoutError("the app's own alarm")

    with pytest.raises(TimeoutError, match="the app's own alarm"):
        replay(interrupted, [case()], "it")
