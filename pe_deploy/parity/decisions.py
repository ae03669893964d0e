"""Whether two sets of logits decide alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bundle.golden import GoldenCase
from pe_deploy.config import Decision, Signature, cross_entropy

UNITS = ("rows", "tokens", "labels")
"""What may have one decision each."""


@dataclass(frozen=True)
class Decisions:
    """One predictor's labels on the golden rows, beside those of exact torch.

    Attributes:
        predictor: whose.
        rows: how many decisions there were: a row has one; of a token task each of its tokens has
            one, and of a multilabel model each of its labels.
        real: whether they are on rows of the data, with the truth.
        flips: decisions whose label differs from the one that exact torch gave.
        explained: of these, the ones whose two labels are so near to each other, by the exact
            logits, that rounding explains it.
        nearest: the smallest distance of an exact logit from giving another label; None for a
            regression, which has none.
        accuracy: share of real decisions that are right; None without the truth.
        accuracy_change: against exact torch.
        auc_change: of a binary model with both labels among the rows; else None.
        loss_change: of the mean cross-entropy; for a regression, of the mean squared error.
        unit: what has one decision, of `UNITS`.
    """

    predictor: str
    rows: int
    real: bool
    flips: int
    explained: int
    nearest: float | None
    accuracy: float | None = None
    accuracy_change: float | None = None
    auc_change: float | None = None
    loss_change: float | None = None
    unit: str = "rows"

    @property
    def unexplained(self) -> int:
        """Flips that rounding does not explain."""
        return self.flips - self.explained

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values; the unit, which came later, only where it says more."""
        values = asdict(self)
        if self.unit == "rows":
            del values["unit"]
        return values

    def __str__(self) -> str:
        what = "answer" if self.unit == "labels" else "label"
        return (
            f"{self.predictor} gives {self.unexplained} of {self.rows} {self.unit} another {what} "
            "than torch did, and rounding does not explain it"
        )


def is_decided(golden: GoldenCase, signature: Signature) -> bool:
    """Whether a golden case holds what decisions are held against."""
    return (golden.targets if signature.task == "regression" else golden.labels) is not None


def decide(
    predictor: str,
    signature: Signature,
    decision: Decision,
    golden: GoldenCase,
    logits: NDArray[np.floating[Any]],
    rounding: float,
) -> Decisions:
    """Compare a predictor's labels with those that were recorded for a golden case.

    `rounding` is the difference of a logit that rounding explains.
    """
    if not is_decided(golden, signature):
        raise ValueError("the golden case holds nothing to judge decisions by")
    real = golden.targets is not None
    if signature.task == "regression":
        loss, before = (_squared_error(v, golden.targets) for v in (logits, golden.float64))
        return Decisions(predictor, len(logits), real, 0, 0, None, loss_change=loss - before)
    each = partial(each_decision, signature, golden.input_ids)
    mine, exact = each(logits), each(golden.float64)
    given, recorded = each(decision.classes(logits)), each(golden.labels)
    named = each(decision.recorded(logits))
    flipped = recorded.astype(object) != named.astype(object)  # as Python compares an int and a str
    distances = _distances(decision, exact[flipped], recorded[flipped], given[flipped])
    flips, explained = int(flipped.sum()), int((distances <= rounding).sum())
    # With a threshold of 0 or 1 no logit comes near; JSON has no infinity.
    nearest = min(float(decision.margins(exact).min()), float(np.finfo(np.float64).max))
    unit = unit_of(signature)
    decided = Decisions(predictor, len(given), real, flips, explained, nearest, unit=unit)
    truth = each(golden.targets) if real else np.full(len(given), -1)
    known = truth >= 0
    if not known.any():
        return decided
    right = given == truth
    right_before = each(decision.classes(golden.float64)) == truth
    truth, mine, exact = truth[known], mine[known], exact[known]
    is_binary = signature.task == "classes" and exact.ndim == 1
    auc, auc_before = (_auc(v, truth) if is_binary else None for v in (mine, exact))
    return replace(
        decided,
        accuracy=float(right[known].mean()),
        accuracy_change=float(right[known].mean() - right_before[known].mean()),
        auc_change=None if auc is None or auc_before is None else auc - auc_before,
        loss_change=cross_entropy(mine, truth) - cross_entropy(exact, truth),
    )


def undecided(predictor: str, signature: Signature, golden: GoldenCase) -> Decisions:
    """The decisions of a predictor that gives no answer: every one is lost."""
    answers = np.zeros(signature.answer_shape(*golden.input_ids.shape))
    rows = len(each_decision(signature, golden.input_ids, answers))
    unit = unit_of(signature)
    return Decisions(predictor, rows, golden.targets is not None, rows, 0, 0.0, unit=unit)


def unit_of(signature: Signature) -> str:
    """What has one decision, of `UNITS`."""
    return {"tokens": "tokens", "multilabel": "labels"}.get(signature.task, "rows")


def each_decision(signature: Signature, input_ids: NDArray[np.int64], values: Any) -> NDArray[Any]:
    """What belongs to each decision, `[decisions]`, or its logits, `[decisions, num_classes]`."""
    array = np.asarray(values)
    if signature.task == "tokens":
        return array[signature.is_token(input_ids)]
    return array.reshape(-1) if signature.task == "multilabel" else array


def _distances(
    decision: Decision,
    exact: NDArray[np.float64],
    recorded: NDArray[Any],
    given: NDArray[np.int64],
) -> NDArray[np.float64]:
    """How far exact logits have to move to exchange the recorded label and the given one.

    Half of what lies between the logits of the two, as both may move; of a binary logit, what lies
    between it and the edge. Infinite for a recorded label that the decision does not know.
    """
    if exact.ndim == 1:
        return decision.margins(exact)
    rows = np.arange(len(exact))
    labels = decision.label_array.astype(object)
    is_recorded = labels == recorded.astype(object)[:, None]
    between = np.abs(exact[rows, is_recorded.argmax(axis=1)] - exact[rows, given]) / 2
    distances: NDArray[np.float64] = np.where(is_recorded.any(axis=1), between, np.inf)
    return distances


def _squared_error(numbers: NDArray[np.floating[Any]], targets: Any) -> float:
    return float(np.square(numbers - np.asarray(targets, np.float64)).mean())


def _auc(logits: NDArray[np.floating[Any]], targets: NDArray[np.int64]) -> float | None:
    """Area under the ROC curve as the Mann-Whitney U statistic, ties counted by half.

    Hanley and McNeil (1982), "The meaning and use of the area under a ROC curve".
    """
    positive = targets == 1
    if positive.all() or not positive.any():
        return None
    difference = logits[positive][:, None] - logits[~positive]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)
