"""One pass over the training rows, and what is measured after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer

from pe_deploy.config import Decision, cross_entropy
from pe_deploy.data import Dataset
from pe_deploy.errors import InvalidInputError, requires_extra
from pe_deploy.model_config import TrainConfig
from pe_deploy.training.batches import batches_of
from pe_deploy.training.model import GRUClassifier
from pe_deploy.training.schedule import learning_rate_at
from pe_deploy.training.sources import Prepared

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
        val_loss: mean over the validation rows, after the epoch; None where there are none.
        val_accuracy: share of validation rows decided right; likewise.
        val_auc: area under the ROC curve of a binary model; None for more classes, and where the
            validation rows all have one label.
    """

    epoch: int
    loss: float
    mean_loss: float
    accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    val_auc: float | None


def best_of(metrics: Sequence[EpochMetrics]) -> EpochMetrics:
    """The epoch with the lowest validation loss, the earliest of equals; without any, the last."""
    losses = [epoch.val_loss for epoch in metrics if epoch.val_loss is not None]
    if not losses:
        return metrics[-1]
    return next(epoch for epoch in metrics if epoch.val_loss == min(losses))


def run_epoch(
    model: GRUClassifier,
    optimizer: Optimizer,
    given: Prepared,
    config: TrainConfig,
    decision: Decision,
    epoch: int,
    report: Callable[[int], None],
) -> EpochMetrics:
    """Update the model with each batch in turn, then validate it by this decision.

    `report` is called after each batch with the number of batches done.

    Raises:
        InvalidInputError: the loss or a validation logit is not finite.
    """
    rows, validation = given.rows, given.validation
    binary = model.num_classes == 1  # then the loss compares with a probability
    criterion: nn.Module = nn.BCEWithLogitsLoss() if binary else nn.CrossEntropyLoss()
    batches = math.ceil(len(rows) / config.batch_size)
    summed = weighted = 0.0
    right = 0
    model.train()
    for number, batch in enumerate(batches_of(rows, config, epoch, given.marks), 1):
        step = (epoch - 1) * batches + number - 1
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, config.epochs * batches, config)
        wanted = torch.from_numpy(batch.targets)
        optimizer.zero_grad()
        logits = model(torch.from_numpy(batch.input_ids))  # [batch] or [batch, num_classes]
        loss = criterion(logits, wanted.float() if binary else wanted)
        loss.backward()
        optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            raise _diverged("loss", value, epoch, config)
        summed += value
        weighted += value * len(batch)
        right += _right(decision, logits.detach().numpy(), batch)
        report(number)
    metrics = EpochMetrics(epoch, summed, weighted / len(rows), right / len(rows), None, None, None)
    if validation is None:
        return metrics
    val_logits = _evaluate(model, validation.input_ids)  # [rows] or [rows, num_classes]
    if not np.isfinite(val_logits).all():
        raise _diverged("a validation logit", math.nan, epoch, config)
    return replace(
        metrics,
        val_loss=cross_entropy(val_logits, validation.targets),
        val_accuracy=_right(decision, val_logits, validation) / len(validation),
        val_auc=_auc(val_logits, validation.targets),
    )


def _evaluate(model: GRUClassifier, input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Logits `[rows]` or `[rows, num_classes]` in eval mode, without gradients."""
    model.eval()
    with torch.no_grad():
        parts = [model(ids) for ids in torch.split(torch.from_numpy(input_ids), _ROWS_AT_ONCE)]
    logits: NDArray[np.float32] = torch.cat(parts).numpy()
    return logits


def _auc(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> float | None:
    """Area under the ROC curve of a binary model; None where it has no meaning."""
    if logits.ndim != 1 or len(np.unique(targets)) != 2:
        return None
    with requires_extra("train"):
        from sklearn.metrics import roc_auc_score
    return float(roc_auc_score(targets, logits))


def _right(decision: Decision, logits: NDArray[np.float32], rows: Dataset) -> int:
    """How many rows are decided right."""
    return int((decision.classes(logits) == rows.targets).sum())


def _diverged(what: str, value: float, epoch: int, config: TrainConfig) -> InvalidInputError:
    return InvalidInputError(
        f"{what} is {value} in epoch {epoch}; allowed: a finite number, "
        f"which a learning_rate below {config.learning_rate} may give"
    )
