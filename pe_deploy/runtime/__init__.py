"""Run a bundle in an app: numpy and onnxruntime, no torch."""

from pe_deploy.runtime.classifier import Classifier
from pe_deploy.runtime.cpu_count import usable_cpus
from pe_deploy.runtime.onnx import OnnxClassifier
from pe_deploy.runtime.validation import to_input_ids

__all__ = ["Classifier", "OnnxClassifier", "to_input_ids", "usable_cpus"]
