"""Other engines that run `model.onnx`, so that a proof does not rest on how one reads the graph."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import INPUT_IDS, LOGITS
from pe_deploy.errors import MissingDependencyError, line_of, requires_extra
from pe_deploy.runtime.engines import Predictor


def reference_evaluator(model: bytes) -> Predictor:
    """Run the bytes of `model.onnx` by the operators' definitions in numpy, as onnx gives them.

    It takes 4 to 8 times as long as onnxruntime; far longer where numpy's threads meet those of
    torch (16 times as long was measured), which `OPENBLAS_NUM_THREADS=1` prevents.

    Raises:
        MissingDependencyError: onnx is not installed.
    """
    with requires_extra("train"):
        import onnx
        from onnx.reference import ReferenceEvaluator

    @cache  # read when it is first asked: a graph that it cannot read is a finding, not a crash
    def evaluator() -> ReferenceEvaluator:
        return ReferenceEvaluator(onnx.load_from_string(model))

    def predict(input_ids: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        # Its sigmoid is 1 / (1 + exp(-x)), which is right where exp overflows, but warns of it.
        with np.errstate(over="ignore"):
            outputs: Any = evaluator().run([LOGITS], {INPUT_IDS: input_ids})
        logits: NDArray[np.floating[Any]] = outputs[0]
        return logits

    return predict


def openvino(model: bytes, num_threads: int = 1) -> Predictor:
    """Run the bytes of an ONNX file by OpenVINO on the processor, in float32.

    Raises:
        MissingDependencyError: OpenVINO is not installed, or does not load here.
    """
    ov = _openvino()

    @cache
    def request() -> Any:
        core = ov.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # the default is bfloat16 where processors have it
            "INFERENCE_NUM_THREADS": num_threads,
            # By default what int8 weights are multiplied with is rounded to int8 as well.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        }
        return core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()

    def predict(input_ids: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        # Its quickest call; the memory of the answer is used again by the next one.
        answers = request().infer({INPUT_IDS: input_ids}, share_inputs=True, share_outputs=True)
        logits: NDArray[np.floating[Any]] = answers[LOGITS].copy()
        return logits

    return predict


def _openvino() -> Any:
    """The package, without its telemetry: that writes to the home folder and calls a server.

    OpenVINO does without where `openvino_telemetry` cannot be imported. What was imported before
    is the app's own choice.
    """
    telemetry = "openvino_telemetry"
    hidden = telemetry not in sys.modules
    if hidden:
        sys.modules[telemetry] = None  # type: ignore[assignment]
    try:
        with requires_extra("openvino"):
            import openvino
    except MissingDependencyError:
        raise
    except Exception as error:  # of its libraries, numpy, the machine's account: anything
        raise MissingDependencyError(
            f"openvino does not load here: {type(error).__name__}: {line_of(error, 1000)}",
            name="openvino",
        ) from error
    finally:
        if hidden:
            del sys.modules[telemetry]
    return openvino
