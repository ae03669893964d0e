"""Other engines that run `model.onnx`, so that a proof does not rest on how one reads the graph."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from pe_deploy.config import INPUT_IDS, LOGITS
from pe_deploy.errors import requires_extra
from pe_deploy.runtime.engines import Predictor


def reference_runtimes(model: bytes) -> dict[str, Predictor]:
    """The ONNX reference evaluator, and OpenVINO where it is installed, by name.

    They are predictors for `verify`, best with a coarser grid than its own, such as `batches`
    1, 7, 32 and `lengths` 1, 2, 3, half of the longest and the longest: the reference evaluator is
    Python, and takes 4 to 8 times as long as onnxruntime; far longer where numpy's threads meet
    those of torch (16 times as long was measured), which `OPENBLAS_NUM_THREADS=1` prevents.
    """
    # Each reads the graph when it is first asked: one that cannot is a finding, not a crash.
    found = {"onnx-ref": reference_evaluator(model)}
    if find_spec("openvino") is not None:
        found["openvino"] = openvino(model)
    return found


def reference_evaluator(model: bytes) -> Predictor:
    """Run the bytes of `model.onnx` by the operators' definitions in numpy, as onnx gives them."""

    @cache
    def evaluator() -> ReferenceEvaluator:
        return ReferenceEvaluator(onnx.load_from_string(model))

    def predict(input_ids: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        # Its sigmoid is 1 / (1 + exp(-x)), which is right where exp overflows, but warns of it.
        with np.errstate(over="ignore"):
            outputs: Any = evaluator().run([LOGITS], {INPUT_IDS: input_ids})
        logits: NDArray[np.floating[Any]] = outputs[0]
        return logits

    return predict


def openvino(model: bytes) -> Predictor:
    """Run the bytes of `model.onnx` by OpenVINO on the processor, in float32 and on one thread.

    Raises:
        MissingDependencyError: OpenVINO is not installed.
    """
    with requires_extra("openvino"):
        import openvino as ov

    @cache
    def compiled() -> Any:
        core = ov.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # the default is bfloat16 where processors have it
            "INFERENCE_NUM_THREADS": 1,
        }
        return core.compile_model(core.read_model(model), "CPU", settings)

    def predict(input_ids: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        logits: NDArray[np.floating[Any]] = compiled()({INPUT_IDS: input_ids})[LOGITS]
        return logits

    return predict
