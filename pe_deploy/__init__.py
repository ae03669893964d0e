"""From a notebook's GRU classifier to a proved bundle that apps run on onnxruntime alone.

The names here need numpy and onnxruntime, which are imported when a name that needs them is first
asked for (PEP 562). What needs torch is imported from its own module: `pe_deploy.training`,
`pe_deploy.export`, `pe_deploy.runtime.torchscript`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pe_deploy.bundle.bundle import Bundle, open_bundle
    from pe_deploy.bundle.manifest import Manifest
    from pe_deploy.config import Decision, Signature
    from pe_deploy.errors import (
        BundleError,
        CheckpointError,
        DataError,
        ExportError,
        InvalidInputError,
        MissingDependencyError,
        ParityError,
        PeDeployError,
        PredictionError,
    )
    from pe_deploy.model_config import ModelConfig, TrainConfig
    from pe_deploy.runtime.native import NativeClassifier
    from pe_deploy.runtime.onnx import OnnxClassifier

__version__ = "0.2.0"

__all__ = [
    "Bundle",
    "BundleError",
    "CheckpointError",
    "DataError",
    "Decision",
    "ExportError",
    "InvalidInputError",
    "Manifest",
    "MissingDependencyError",
    "ModelConfig",
    "NativeClassifier",
    "OnnxClassifier",
    "ParityError",
    "PeDeployError",
    "PredictionError",
    "Signature",
    "TrainConfig",
    "__version__",
    "open_bundle",
]

_HOMES = {
    "Bundle": "bundle.bundle",
    "Decision": "config",
    "Manifest": "bundle.manifest",
    "ModelConfig": "model_config",
    "NativeClassifier": "runtime.native",
    "OnnxClassifier": "runtime.onnx",
    "Signature": "config",
    "TrainConfig": "model_config",
    "open_bundle": "bundle.bundle",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value  # found at once the next time
    return value


def __dir__() -> list[str]:
    return __all__
