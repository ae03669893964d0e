"""A bundle under a name: what it takes and gives, and its answers as tensors."""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle.bundle import Bundle
from pe_deploy.config import INPUT_IDS, LOGITS
from pe_deploy.data.text_reader import cells_of
from pe_deploy.runtime import OnnxClassifier
from pe_deploy.runtime.answer_columns import columns_of
from pe_deploy.serve.refusal import Refusal
from pe_deploy.serve.tensors import TEXT
from pe_deploy.storage.digest import sha256

LABEL = "label"
PROBABILITY = "probability"

PLATFORM = "onnxruntime_onnx"
"""The name that the protocol has for onnxruntime."""

_QUICK = 1e-3
"""Seconds that the event loop may wait for an answer; what takes longer is given to a thread."""


class TensorType(NamedTuple):
    """A tensor as the metadata states it; -1 is a free axis."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    """How bundles are run.

    Attributes:
        num_threads: of each call of a classifier.
        most_rows: of a request.
    """

    num_threads: int
    most_rows: int


class Model:
    """A bundle that is served; it answers once `load` has replayed its golden vectors.

    Args:
        name: which requests use.
        bundle: with all its files, so that the disk is not asked again.
        settings: how it is run.
    """

    def __init__(self, name: str, bundle: Bundle, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self._bundle: Bundle | None = bundle
        self.manifest = bundle.manifest
        self.version = sha256(bundle.manifest_json)
        self._classifier: OnnxClassifier | None = None
        self._row_seconds = 0.0

    def load(self) -> None:
        """Open the model and replay its golden vectors; meanwhile, and where it fails, not ready.

        Raises:
            BundleError: onnxruntime does not load it.
            ParityError: it answers otherwise than was published.
            MissingDependencyError: its tokenizer needs `tokenizers`, which is not installed.
        """
        if self._bundle is None:
            return
        classifier = OnnxClassifier(
            self._bundle, num_threads=self.settings.num_threads, self_test=True
        )
        self._row_seconds = _seconds_a_row(classifier, self._bundle)
        self._classifier, self._bundle = classifier, None

    @property
    def ready(self) -> bool:
        """Whether its golden vectors were replayed."""
        return self._classifier is not None

    @property
    def takes_text(self) -> bool:
        """Whether it has a tokenizer."""
        return self.manifest.text is not None

    @property
    def truncated(self) -> int:
        """How many texts were cut so far."""
        return 0 if self._classifier is None else self._classifier.truncated

    @property
    def inputs(self) -> list[TensorType]:
        """Either of which a request holds."""
        ids = TensorType(INPUT_IDS, "INT64", (-1, -1))
        return [ids, TensorType(TEXT, "BYTES", (-1,))] if self.takes_text else [ids]

    @property
    def outputs(self) -> list[TensorType]:
        """Those that a request may ask for.

        `label` and `probability` have a member for each row, for each of its tokens, or, for
        multilabel, for each label: then `label` says whether it is part of the answer. A regression
        has logits alone.
        """
        signature = self.manifest.signature
        logits = tuple(axis if isinstance(axis, int) else -1 for axis in signature.output_axes)
        tensors = [TensorType(LOGITS, "FP32", logits)]
        if signature.task == "regression":
            return tensors
        if signature.task == "multilabel":
            answer, datatype = logits, "BOOL"
        else:
            answer = logits[: 2 if signature.task == "tokens" else 1]
            whole = signature.task == "classes" and type(self.manifest.labels[0]) is int
            datatype = "INT64" if whole else "BYTES"
        return [
            *tensors,
            TensorType(LABEL, datatype, answer),
            TensorType(PROBABILITY, "FP64", answer),
        ]

    def is_quick(self, rows: int) -> bool:
        """Whether so many rows may be answered in the event loop, which waits meanwhile."""
        return rows * self._row_seconds <= _QUICK

    def input_ids(self, rows: Any) -> NDArray[np.int64]:
        """The ids of some rows or texts, checked, `[batch, sequence]`.

        Raises:
            InvalidInputError: as `Classifier.predict` raises it.
            Refusal: the model is not ready.
        """
        return self._opened().input_ids(rows)

    def logits(self, input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The logits of checked ids.

        Raises:
            PredictionError: as `Classifier.predict` raises it.
            Refusal: the model is not ready.
        """
        return self._opened().predict_logits(input_ids)

    def tensors(
        self, input_ids: NDArray[np.int64], logits: NDArray[np.float32], wanted: Collection[str]
    ) -> dict[str, NDArray[Any]]:
        """The outputs for some logits.

        Returns:
            From each wanted name to float32 logits, int64, str or bool labels, and float64
            probabilities. A token that is padding has the label `""` and the probability 0.
        """
        made: dict[str, NDArray[Any]] = {LOGITS: logits}
        if LABEL not in wanted and PROBABILITY not in wanted:
            return made
        signature, decision = self.manifest.signature, self.manifest.decision
        if signature.task == "multilabel":
            made[LABEL] = decision.classes(logits)
            made[PROBABILITY] = decision.probabilities(logits)
            return made
        made[LABEL], made[PROBABILITY] = decision.with_probability(logits)
        if signature.task == "tokens":
            kept = signature.is_token(input_ids)
            made[LABEL] = np.where(kept, made[LABEL].astype(str), "")
            made[PROBABILITY] = np.where(kept, made[PROBABILITY], 0.0)
        return made

    def predictions(
        self, input_ids: NDArray[np.int64], logits: NDArray[np.float32]
    ) -> list[dict[str, Any]]:
        """The answer for each row, with the names and values that `predict` writes into a file."""
        signature, decision = self.manifest.signature, self.manifest.decision
        columns = columns_of(signature, decision, input_ids, logits)
        cells = zip(*map(cells_of, columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in cells]

    def _opened(self) -> OnnxClassifier:
        if self._classifier is None:
            raise Refusal("not_ready", f"model {self.name} is not ready: it replays its proof")
        return self._classifier


def _seconds_a_row(classifier: OnnxClassifier, bundle: Bundle) -> float:
    """About how long one of the longest rows takes, at most, of a few."""
    longest = max(bundle.golden(), key=lambda case: case.input_ids.shape[1])
    one = np.ascontiguousarray(longest.input_ids[:1])
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        classifier.predict_logits(one)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
