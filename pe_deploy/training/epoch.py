"""One pass over the training rows, and what is measured after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from pe_deploy.config import Decision, cross_entropy
from pe_deploy.data import Dataset
from pe_deploy.errors import InvalidInputError, requires_extra
from pe_deploy.model_config import ModelConfig, TrainConfig
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


@dataclass(frozen=True)
class Rows:
    """A dataset as the loop uses it, its tensors made once.

    Attributes:
        input_ids: int64 `[rows, length]`.
        targets: `[rows]`; float32 for a binary model, whose loss compares with a probability,
            int64 for others.
        classes: int64 `[rows]`, the targets as the metrics take them.
    """

    input_ids: Tensor
    targets: Tensor
    classes: NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Dataset, config: ModelConfig) -> Rows:
        """The rows of a dataset, for a model of these sizes."""
        targets = torch.from_numpy(dataset.targets)
        return cls(
            torch.from_numpy(dataset.input_ids),
            targets.float() if config.num_classes == 1 else targets,
            dataset.targets,
        )

    def __len__(self) -> int:
        return len(self.classes)

    def shuffled(self, seed: int, epoch: int) -> Rows:
        """In an order that depends on the two numbers alone, so that resuming finds it again."""
        mixed = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(int(mixed[0])))
        return Rows(self.input_ids[order], self.targets[order], self.classes[order.numpy()])

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """`input_ids` and `targets` of consecutive rows; the last batch may be smaller."""
        return zip(torch.split(self.input_ids, size), torch.split(self.targets, size), strict=True)


def run_epoch(
    model: GRUClassifier,
    optimizer: Optimizer,
    rows: Rows,
    validation: Rows,
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
    criterion = nn.BCEWithLogitsLoss() if model.num_classes == 1 else nn.CrossEntropyLoss()
    if config.shuffle:
        rows = rows.shuffled(config.seed, epoch)
    summed = weighted = 0.0
    seen = []
    model.train()
    for number, (input_ids, targets) in enumerate(rows.batches(config.batch_size), 1):
        optimizer.zero_grad()
        logits = model(input_ids)  # [batch] or [batch, num_classes]
        loss = criterion(logits, targets)
        loss.backward()
        optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            raise _diverged("loss", value, epoch, config)
        summed += value
        weighted += value * len(targets)
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
        val_loss=cross_entropy(val_logits, validation.classes),
        val_accuracy=_share_right(decision, val_logits, validation),
        val_auc=_auc(val_logits, validation.classes),
    )


def _evaluate(model: GRUClassifier, input_ids: Tensor) -> NDArray[np.float32]:
    """Logits `[rows]` or `[rows, num_classes]` in eval mode, without gradients."""
    model.eval()
    with torch.no_grad():
        parts = [model(ids) for ids in torch.split(input_ids, _ROWS_AT_ONCE)]
    logits: NDArray[np.float32] = torch.cat(parts).numpy()
    return logits


def _auc(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> float | None:
    """Area under the ROC curve of a binary model; None where it has no meaning."""
    if logits.ndim != 1 or len(np.unique(targets)) != 2:
        return None
    with requires_extra("train"):
        from sklearn.metrics import roc_auc_score
    return float(roc_auc_score(targets, logits))


def _share_right(decision: Decision, logits: NDArray[np.float32], rows: Rows) -> float:
    return float((decision.classes(logits) == rows.classes).mean())


def _diverged(what: str, value: float, epoch: int, config: TrainConfig) -> InvalidInputError:
    return InvalidInputError(
        f"{what} is {value} in epoch {epoch}; allowed: a finite number, "
        f"which a learning_rate below {config.learning_rate} may give"
    )
