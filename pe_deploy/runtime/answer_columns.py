"""What a classifier answers for some rows, as columns of a file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import Decision, Signature
from pe_deploy.data.chunk import offsets_of
from pe_deploy.data.lists import Full, Lists
from pe_deploy.runtime.classifier import Classifier


def answer_columns(classifier: Classifier, rows: Any) -> dict[str, Full]:
    """The columns of `columns_of` for some rows, as a classifier answers them.

    Raises:
        InvalidInputError: as `Classifier.predict` raises it.
        PredictionError: likewise.
    """
    ids = classifier.input_ids(rows)
    logits = classifier.predict_logits(ids)
    return columns_of(classifier.signature, classifier.decision, ids, logits)


def columns_of(
    signature: Signature,
    decision: Decision,
    input_ids: NDArray[np.int64],
    logits: NDArray[np.float32],
) -> dict[str, Full]:
    """The columns of a task, which are the same for any rows, and for none.

    - classes: `label` and its `probability`.
    - multilabel: the list `labels`, and `probability_<label>` of each label.
    - tokens: the lists `labels` and `probabilities`, with a member for each token.
    - regression: `value`, or `value_<name>` of each number where there are several.
    """
    task = signature.task
    if task == "classes":
        label, probability = decision.with_probability(logits)
        return {"label": label, "probability": probability}
    if task == "tokens":
        kept = signature.is_token(input_ids)
        offsets = offsets_of(kept.sum(axis=1))
        labels, probabilities = decision.with_probability(logits)
        return {
            "labels": Lists(labels[kept], offsets),
            "probabilities": Lists(probabilities[kept], offsets),
        }
    if task == "multilabel":
        chosen = decision.classes(logits)
        members = np.broadcast_to(decision.label_array, chosen.shape)[chosen]
        names = [f"probability_{label}" for label in decision.labels]
        each = decision.probabilities(logits).T
        return {
            "labels": Lists(members, offsets_of(chosen.sum(axis=1))),
            **dict(zip(names, each, strict=True)),
        }
    numbers = logits.reshape(len(logits), len(decision.labels)).T
    names = [f"value_{name}" for name in decision.labels] if len(numbers) > 1 else ["value"]
    return dict(zip(names, numbers, strict=True))
