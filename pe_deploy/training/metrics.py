"""How well a model does: what is measured after each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pe_deploy.errors import requires_extra
from pe_deploy.training.model import GRUClassifier

_ROWS_AT_ONCE = 1024  # bounds the memory that an evaluation takes


@dataclass(frozen=True)
class EpochMetrics:
    """One line of `metrics.jsonl`.

    Attributes:
        epoch: counted from 1.
        loss: sum over the epoch's batches of each batch's mean loss, the notebook's figure.
        mean_loss: mean over the training rows.
        accuracy: share of training rows decided right, each as its batch came by, so before that
            batch's own update.
        val_loss: mean over the validation rows, after the epoch.
        val_accuracy: share of validation rows decided right.
        val_auc: area under the ROC curve of a binary model; None for more classes, and where the
            validation rows all have one label.
    """

    epoch: int
    loss: float
    mean_loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    val_auc: float | None


def best_of(metrics: Sequence[EpochMetrics]) -> EpochMetrics:
    """The epoch with the lowest validation loss, the earliest of equals."""
    return min(metrics, key=lambda epoch: epoch.val_loss)


def evaluate(model: GRUClassifier, input_ids: Tensor) -> NDArray[np.float32]:
    """Logits `[rows]` or `[rows, num_classes]` in eval mode, without gradients."""
    model.eval()
    with torch.no_grad():
        parts = [model(ids) for ids in torch.split(input_ids, _ROWS_AT_ONCE)]
    logits: NDArray[np.float32] = torch.cat(parts).numpy()
    return logits


def auc(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> float | None:
    """Area under the ROC curve of a binary model; None where it has no meaning."""
    if logits.ndim != 1 or len(np.unique(targets)) != 2:
        return None
    with requires_extra("train"):
        from sklearn.metrics import roc_auc_score
    return float(roc_auc_score(targets, logits))
