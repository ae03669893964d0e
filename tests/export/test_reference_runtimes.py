from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from pe_deploy import MissingDependencyError, OnnxClassifier, open_bundle
from pe_deploy.bundle.artifacts import ONNX
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.parity import Predictor, Report, verify, verify_bundle
from pe_deploy.runtime.reference import openvino, reference_evaluator
from tests.export.independent import reference_runtimes


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


def test_openvino_writes_nothing_home_and_needs_none(tmp_path: Path, notebook_bundle: Path) -> None:
    pytest.importorskip("openvino")
    code = (
        "import sys, numpy as np\n"
        "from pe_deploy import open_bundle\n"
        "from pe_deploy.runtime.engines import predictors\n"
        "run = predictors(open_bundle(sys.argv[1]), ['openvino'])['openvino']\n"
        "assert run(np.array([[1, 2]])).shape == (1,)\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    subprocess.run(
        [sys.executable, "-c", code, str(notebook_bundle)],
        check=True,
        env={**environment, "HOME": str(tmp_path)},
    )
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_cannot_be_imported_is_named(
    notebook_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(notebook_bundle)
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert list(reference_runtimes(bundle.read(ONNX))) == ["onnx-ref"]
    with pytest.raises(MissingDependencyError, match=r"pip install 'pe-deploy\[openvino\]'"):
        openvino(bundle.read(ONNX))
    report = verify_bundle(bundle, checks=["golden"], independent=True)
    assert report.passed
    assert {cell.predictor for cell in report.cells} >= {"torchscript", "onnx", "onnx-ref"}
    assert list(report.not_run) == ["openvino"]
    assert "openvino is not installed" in report.not_run["openvino"]


def test_an_import_that_raises_anything_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openvino.py").write_text("raise RuntimeError('no home\\ndirectory')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingDependencyError) as caught:
        openvino(b"")
    assert str(caught.value) == "openvino does not load here: RuntimeError: no home directory"


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
