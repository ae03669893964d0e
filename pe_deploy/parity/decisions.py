"""Whether two sets of logits decide alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle.golden import GoldenCase
from pe_deploy.config import Decision, cross_entropy


@dataclass(frozen=True)
class Decisions:
    """One predictor's labels on the golden rows, beside those of exact torch.

    Attributes:
        predictor: whose.
        rows: how many rows were decided.
        real: whether they are rows of the data, with true labels.
        flips: rows whose label differs from the one that exact torch gave.
        explained: of these, the rows whose two labels are so near to each other, by the exact
            logits, that rounding explains it.
        nearest: the smallest distance of an exact logit from giving another label.
        accuracy: share of real rows that are right; None without true labels.
        accuracy_change: against exact torch.
        auc_change: of a binary model with both labels among the rows; else None.
        loss_change: of the mean cross-entropy.
    """

    predictor: str
    rows: int
    real: bool
    flips: int
    explained: int
    nearest: float
    accuracy: float | None = None
    accuracy_change: float | None = None
    auc_change: float | None = None
    loss_change: float | None = None

    @property
    def unexplained(self) -> int:
        """Flips that rounding does not explain."""
        return self.flips - self.explained

    def __str__(self) -> str:
        return (
            f"{self.predictor} gives {self.unexplained} of {self.rows} rows another label than "
            "torch did, and rounding does not explain it"
        )


def decide(
    predictor: str,
    decision: Decision,
    golden: GoldenCase,
    logits: NDArray[np.floating[Any]],
    rounding: float,
) -> Decisions:
    """Compare a predictor's labels with those that were recorded for a golden case.

    `rounding` is the difference of a logit that rounding explains.
    """
    if golden.labels is None:
        raise ValueError("the golden case has no labels")
    given = decision.classes(logits)
    flipped = decision.label_array[given] != golden.labels
    explained = flipped & (_distances(decision, golden, given) <= rounding)
    counts = (len(logits), golden.targets is not None, int(flipped.sum()), int(explained.sum()))
    # With a threshold of 0 or 1 no logit comes near; JSON has no infinity.
    nearest = min(float(decision.margins(golden.float64).min()), float(np.finfo(np.float64).max))
    if golden.targets is None:
        return Decisions(predictor, *counts, nearest)
    targets = golden.targets
    accuracy, before = (
        float((decision.classes(values) == targets).mean()) for values in (logits, golden.float64)
    )
    auc, auc_before = _auc(logits, targets), _auc(golden.float64, targets)
    return Decisions(
        predictor,
        *counts,
        nearest,
        accuracy,
        accuracy - before,
        None if auc is None or auc_before is None else auc - auc_before,
        cross_entropy(logits, targets) - cross_entropy(golden.float64, targets),
    )


def undecided(predictor: str, golden: GoldenCase) -> Decisions:
    """The decisions of a predictor that gives no answer: every one is lost."""
    rows = len(golden.input_ids)
    return Decisions(predictor, rows, golden.targets is not None, rows, 0, 0.0)


def _distances(
    decision: Decision, golden: GoldenCase, given: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How far each row's exact logits have to move to exchange its recorded and its given label.

    Half of what lies between the logits of the two, as both may move; of a binary logit, what lies
    between it and the edge. Infinite for a recorded label that the decision does not know.
    """
    exact = golden.float64
    if exact.ndim == 1:
        return decision.margins(exact)
    rows = np.arange(len(exact))
    is_recorded = decision.label_array == np.asarray(golden.labels)[:, None]
    between = np.abs(exact[rows, is_recorded.argmax(axis=1)] - exact[rows, given]) / 2
    distances: NDArray[np.float64] = np.where(is_recorded.any(axis=1), between, np.inf)
    return distances


def _auc(logits: NDArray[np.floating[Any]], targets: NDArray[np.int64]) -> float | None:
    """Area under the ROC curve as the Mann-Whitney U statistic, ties counted by half.

    Hanley and McNeil (1982), "The meaning and use of the area under a ROC curve".
    """
    positive = targets == 1
    if logits.ndim != 1 or positive.all() or not positive.any():
        return None
    difference = logits[positive][:, None] - logits[~positive]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)
