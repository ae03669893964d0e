"""Run a text graph as an app does that has no tokenizer: texts in, logits out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pe_deploy.bundle.artifacts import TEXT_ONNX
from pe_deploy.config import BATCH, LOGITS, Signature
from pe_deploy.errors import BundleError, PredictionError, line_of
from pe_deploy.runtime.onnx import CPU, session_options
from pe_deploy.runtime.quiet_onnxruntime import ENGINE_ERRORS
from pe_deploy.runtime.quiet_onnxruntime import onnxruntime as ort

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEXTS = "texts"
"""The input of a text graph, string `[batch]`."""

TextGraph = Callable[[list[str]], "NDArray[np.float32]"]
"""From texts to logits, float32 of the signature's `output_axes`."""


def text_graph_predictor(data: bytes, signature: Signature) -> TextGraph:
    """Open a text graph.

    Args:
        data: the bytes of `model.text.onnx`.
        signature: what it is to give.

    Returns:
        A function from texts to logits. It raises PredictionError, which names the guard, where the
        graph refuses a text.

    Raises:
        BundleError: onnxruntime does not load it, or it takes or gives something else.
    """
    try:
        session = ort.InferenceSession(data, session_options(1), providers=[CPU])
    except ENGINE_ERRORS as error:
        raise BundleError(
            f"{TEXT_ONNX}: onnxruntime {ort.__version__} does not load it: {line_of(error, 1000)}"
        ) from error
    values = [*session.get_inputs(), *session.get_outputs()]
    found = [(value.name, value.type, tuple(value.shape)) for value in values]
    expected = [
        (TEXTS, "tensor(string)", (BATCH,)),
        (LOGITS, "tensor(float)", signature.output_axes),
    ]
    if found != expected:
        raise BundleError(f"{TEXT_ONNX} has input and output {found}; allowed: {expected}")

    def predict(texts: list[str]) -> NDArray[np.float32]:
        try:
            logits: NDArray[np.float32] = session.run(
                [LOGITS], {TEXTS: np.array(texts, np.object_)}
            )[0]
        except ENGINE_ERRORS as error:
            raise PredictionError(f"{TEXT_ONNX} gives no answer: {line_of(error)}") from error
        return logits

    return predict
