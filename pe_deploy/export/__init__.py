"""Export a trained module to a bundle."""

from pe_deploy.export.exporter import (
    FORMATS,
    Exported,
    Source,
    export,
    export_module,
)
from pe_deploy.export.golden import LabelledRows, eager_predictor, golden_cases
from pe_deploy.export.lint import Expectation, lint
from pe_deploy.export.onnx import (
    DEFAULT_OPSET,
    OPSETS,
    operators,
    to_onnx,
    to_throughput,
)
from pe_deploy.export.torchscript import to_torchscript
from pe_deploy.export.weights_digest import weights_sha256
from pe_deploy.runtime.reference import openvino, reference_evaluator, reference_runtimes

__all__ = [
    "DEFAULT_OPSET",
    "FORMATS",
    "OPSETS",
    "Expectation",
    "Exported",
    "LabelledRows",
    "Source",
    "eager_predictor",
    "export",
    "export_module",
    "golden_cases",
    "lint",
    "openvino",
    "operators",
    "reference_evaluator",
    "reference_runtimes",
    "to_onnx",
    "to_throughput",
    "to_torchscript",
    "weights_sha256",
]
