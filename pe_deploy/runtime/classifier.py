"""What every predictor of a bundle shares: checked input, chunks, probabilities, labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle import Manifest
from pe_deploy.config import Label, Signature
from pe_deploy.runtime.validation import to_input_ids

CHUNK_ROWS = 512
"""Rows an engine sees at once: enough to be fast, few enough to keep its memory small."""


class Classifier(ABC):
    """A bundle's model, behind the engine that a subclass brings.

    Every method takes `input_ids`: integers `[batch, sequence]` of any integer dtype, as an array
    or nested lists; where the model has a `pad_id`, also rows of differing length. A batch of no
    rows gives an empty answer. Every method raises `InvalidInputError`, naming row, column, value
    and allowed range, for anything else.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    @property
    def signature(self) -> Signature:
        """What the model takes and gives."""
        return self.manifest.signature

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels, in the order of the columns of `predict_proba`."""
        return self.manifest.labels

    def predict_logits(self, input_ids: Any) -> NDArray[np.float32]:
        """The raw output of the model.

        Returns:
            float32 `[batch]` for a binary model, else `[batch, num_classes]`.
        """
        ids = to_input_ids(input_ids, self.signature)
        if len(ids) == 0:
            return np.empty((0, *self.signature.output_axes[1:]), np.float32)  # type: ignore[arg-type]
        if len(ids) <= CHUNK_ROWS:
            return self._run(ids)
        starts = range(0, len(ids), CHUNK_ROWS)
        return np.concatenate([self._run(ids[start : start + CHUNK_ROWS]) for start in starts])

    def predict_proba(self, input_ids: Any) -> NDArray[np.float64]:
        """The probability of each label: sigmoid of a binary logit, softmax of several.

        Returns:
            float64 `[batch, num_labels]`, rows sum to 1, columns in the order of `labels`.
        """
        logits = self.predict_logits(input_ids).astype(np.float64)
        if logits.ndim == 1:
            # The softmax of (0, z) is (1 - sigmoid(z), sigmoid(z)), each side exact in its tail.
            logits = np.stack([np.zeros_like(logits), logits], axis=1)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
        return probabilities

    def predict(self, input_ids: Any) -> NDArray[Any]:
        """The label of each row.

        Returns:
            `[batch]`, int64 or str as the labels are.
        """
        return self.predict_with_probability(input_ids)[0]

    def predict_with_probability(self, input_ids: Any) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """The label of each row, and the probability of that label.

        Returns:
            Labels as from `predict`, and float64 `[batch]`. With a threshold that is not 0.5, a
            label may be given whose probability is below a half.
        """
        probabilities = self.predict_proba(input_ids)
        if self.manifest.threshold is None:
            classes = probabilities.argmax(axis=1)
        else:
            classes = (probabilities[:, 1] > self.manifest.threshold).astype(np.int64)
        labels: NDArray[Any] = np.array(self.labels)
        return labels[classes], probabilities[np.arange(len(classes)), classes]

    @abstractmethod
    def _run(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits of checked ids, int64 `[batch, sequence]`, at least one row and column."""
