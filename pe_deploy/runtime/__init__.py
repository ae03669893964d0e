"""Run a bundle in an app: numpy and onnxruntime, no torch; for C, numpy alone.

onnxruntime is imported when a name that needs it is first asked for (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pe_deploy.runtime.classifier import Classifier
    from pe_deploy.runtime.cpu_count import usable_cpus
    from pe_deploy.runtime.onnx import OnnxClassifier
    from pe_deploy.runtime.validation import to_input_ids

__all__ = ["Classifier", "OnnxClassifier", "to_input_ids", "usable_cpus"]

_HOMES = {
    "Classifier": "classifier",
    "OnnxClassifier": "onnx",
    "to_input_ids": "validation",
    "usable_cpus": "cpu_count",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
