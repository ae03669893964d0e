"""One pass over the training rows, and what is measured after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer

from pe_deploy.config import Decision, cross_entropy
from pe_deploy.data import Dataset
from pe_deploy.errors import InvalidInputError, requires_extra
from pe_deploy.model_config import TrainConfig
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


def run_epoch(
    model: GRUClassifier,
    optimizer: Optimizer,
    rows: Dataset,
    validation: Dataset,
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
    if config.shuffle:
        # An order that depends on the two numbers alone, so that resuming finds it again.
        mixed = np.random.SeedSequence((config.seed, epoch)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(mixed[0]))
        rows = rows.take(torch.randperm(len(rows), generator=generator).numpy())
    ids, targets = torch.from_numpy(rows.input_ids), torch.from_numpy(rows.targets)
    criterion: nn.Module = nn.CrossEntropyLoss()
    if model.num_classes == 1:  # a loss that compares with a probability
        criterion, targets = nn.BCEWithLogitsLoss(), targets.float()
    size = config.batch_size
    batches = zip(torch.split(ids, size), torch.split(targets, size), strict=True)
    summed = weighted = 0.0
    seen = []
    model.train()
    for number, (input_ids, wanted) in enumerate(batches, 1):
        optimizer.zero_grad()
        logits = model(input_ids)  # [batch] or [batch, num_classes]
        loss = criterion(logits, wanted)
        loss.backward()
        optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            raise _diverged("loss", value, epoch, config)
        summed += value
        weighted += value * len(wanted)
        seen.append(logits.detach())
        report(number)
    val_logits = _evaluate(model, validation.input_ids)  # [rows] or [rows, num_classes]
    if not np.isfinite(val_logits).all():
        raise _diverged("a validation logit", math.nan, epoch, config)
    return EpochMetrics(
        epoch=epoch,
        loss=summed,
        mean_loss=weighted / len(rows),
        accuracy=_share_right(decision, torch.cat(seen).numpy(), rows),
        val_loss=cross_entropy(val_logits, validation.targets),
        val_accuracy=_share_right(decision, val_logits, validation),
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


def _share_right(decision: Decision, logits: NDArray[np.float32], rows: Dataset) -> float:
    return float((decision.classes(logits) == rows.targets).mean())


def _diverged(what: str, value: float, epoch: int, config: TrainConfig) -> InvalidInputError:
    return InvalidInputError(
        f"{what} is {value} in epoch {epoch}; allowed: a finite number, "
        f"which a learning_rate below {config.learning_rate} may give"
    )
