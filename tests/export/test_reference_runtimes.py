from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from pe_deploy import MissingDependencyError, OnnxClassifier, open_bundle
from pe_deploy.bundle import ONNX, Bundle
from pe_deploy.parity import Predictor, Report, verify
from pe_deploy.runtime.reference import openvino, reference_evaluator, reference_runtimes


def compared(bundle: Bundle, predictor: Predictor) -> Report:
    signature = bundle.manifest.signature
    return verify(
        {"onnx": OnnxClassifier(bundle, num_threads=1).predict_logits, "reference": predictor},
        signature,
        bundle.golden(),
        batches=(1, 7),
        lengths=(1, 2, signature.max_length),
    )


def test_every_reference_agrees_with_the_golden_vectors(any_bundle: Path) -> None:
    bundle = open_bundle(any_bundle)
    found = reference_runtimes(bundle.read(ONNX))
    assert "onnx-ref" in found
    for predictor in found.values():
        report = compared(bundle, predictor)
        report.raise_if_failed()
        assert {cell.check for cell in report.cells} >= {"golden", "shapes", "batches"}


def test_openvino_is_among_them_where_it_is_installed(notebook_bundle: Path) -> None:
    pytest.importorskip("openvino")
    bundle = open_bundle(notebook_bundle)
    assert "openvino" in reference_runtimes(bundle.read(ONNX))
    compared(bundle, openvino(bundle.read(ONNX))).raise_if_failed()


def test_openvino_missing_says_what_to_install(
    notebook_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    model = open_bundle(notebook_bundle).read(ONNX)
    assert list(reference_runtimes(model)) == ["onnx-ref"]
    with pytest.raises(MissingDependencyError, match=r"pip install 'pe-deploy\[openvino\]'"):
        openvino(model)


def test_a_reference_reads_the_graph_itself(notebook_bundle: Path) -> None:
    bundle = open_bundle(notebook_bundle)
    model = onnx.load_from_string(bundle.read(ONNX))
    gru = next(node for node in model.graph.node if node.op_type == "GRU")
    attribute = next(a for a in gru.attribute if a.name == "linear_before_reset")
    attribute.i = 0
    for name, predictor in reference_runtimes(model.SerializeToString()).items():
        assert not compared(bundle, predictor).passed, name


def test_saturated_gates_are_no_warning(notebook_bundle: Path) -> None:
    bundle = open_bundle(notebook_bundle)
    model = onnx.load_from_string(bundle.read(ONNX))
    for tensor in model.graph.initializer:
        if tensor.name.endswith("W0"):
            values = onnx.numpy_helper.to_array(tensor) * np.float32(1e4)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    logits = reference_evaluator(model.SerializeToString())(np.array([[1, 2, 3]]))
    assert np.isfinite(logits).all()
