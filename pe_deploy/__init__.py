"""From a notebook's GRU classifier to a proved bundle that apps run on onnxruntime alone.

The names here need numpy and onnxruntime only. What needs torch is imported from its own module:
`pe_deploy.training`, `pe_deploy.export`, `pe_deploy.runtime.torchscript`.
"""

from pe_deploy.bundle import Bundle, Manifest, open_bundle
from pe_deploy.config import ModelConfig, Signature, TrainConfig
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
from pe_deploy.runtime import OnnxClassifier

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "BundleError",
    "CheckpointError",
    "DataError",
    "ExportError",
    "InvalidInputError",
    "Manifest",
    "MissingDependencyError",
    "ModelConfig",
    "OnnxClassifier",
    "ParityError",
    "PeDeployError",
    "PredictionError",
    "Signature",
    "TrainConfig",
    "__version__",
    "open_bundle",
]
