"""Export a trained module to a bundle."""

from pe_deploy.export.eager import LabelledRows, eager_predictor, golden_cases
from pe_deploy.export.exporter import (
    FORMATS,
    Exported,
    Source,
    export,
    export_module,
    predictors_of,
)
from pe_deploy.export.judges import judges, openvino, reference_evaluator
from pe_deploy.export.lint import Expectation, lint
from pe_deploy.export.onnx_model import (
    DEFAULT_OPSET,
    OPSETS,
    operators,
    to_onnx,
    to_throughput,
)
from pe_deploy.export.torchscript import to_torchscript
from pe_deploy.export.weights import weights_sha256

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
    "judges",
    "lint",
    "openvino",
    "operators",
    "predictors_of",
    "reference_evaluator",
    "to_onnx",
    "to_throughput",
    "to_torchscript",
    "weights_sha256",
]
