"""No number that is not finite ever becomes a label."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import PredictionError, Signature
from pe_deploy.config import Decision
from pe_deploy.runtime.classifier import Classifier, Run, in_chunks
from pe_deploy.runtime.plan import CHUNK_ROWS


class Answers(Classifier):
    """Gives the logits that it was made with, whatever it is asked."""

    def __init__(self, logits: NDArray[np.float32], classes: int | None = None) -> None:
        classes = classes or (1 if logits.ndim == 1 else logits.shape[1])
        labels = tuple(range(max(2, classes)))
        decision = Decision(labels, 0.5 if classes == 1 else None)
        super().__init__(Signature(5, 64, classes), decision)
        self._logits = logits

    def _open(self) -> Run:
        rows = iter(self._logits)

        def run(ids: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.array([next(rows) for _ in ids], np.float32)

        return in_chunks(run)


@pytest.mark.parametrize("rows", [1, 5, 100, CHUNK_ROWS + 7])
@pytest.mark.parametrize("classes", [1, 3, 40])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("method", ["predict_logits", "predict_proba", "predict"])
def test_a_logit_that_is_not_finite_is_named(
    rows: int, classes: int, bad: float, method: str
) -> None:
    logits = np.zeros((rows, classes), np.float32)
    logits[-1, -1] = bad
    which = "the logit" if classes == 1 else f"the logit of class {classes - 1}"
    classifier = Answers(logits[:, 0] if classes == 1 else logits)
    with pytest.raises(PredictionError) as caught:
        getattr(classifier, method)(np.ones((rows, 2), int))
    assert str(caught.value) == f"row {rows - 1}: {which} is {bad}; an answer needs finite numbers"
    assert caught.value.row == rows - 1


@pytest.mark.parametrize("rows", [2, 31, 33, 1000])
def test_infinities_that_cancel_are_seen(rows: int) -> None:
    logits = np.zeros(rows, np.float32)
    logits[:2] = np.inf, -np.inf
    with pytest.raises(PredictionError, match="row 0: the logit is inf"):
        Answers(logits).predict(np.ones((rows, 2), int))


@pytest.mark.parametrize("rows", [1, 4, 31, 1000])
@pytest.mark.parametrize("classes", [1, 4])
def test_huge_finite_logits_pass(rows: int, classes: int) -> None:
    largest = np.finfo(np.float32).max
    logits = np.full((rows, classes), largest, np.float32)
    logits[:, 0] = largest if classes == 1 else -largest
    classifier = Answers(logits[:, 0] if classes == 1 else logits)
    labels, probabilities = classifier.predict_with_probability(np.ones((rows, 1), int))
    assert labels.tolist() == [1] * rows
    assert np.isfinite(probabilities).all()


def test_an_answer_of_another_shape_is_no_answer() -> None:
    for rows in (1, 600, 3000):
        wrong = Answers(np.zeros((rows, 1), np.float32), classes=1)
        with pytest.raises(PredictionError) as caught:
            wrong.predict_logits(np.ones((rows, 2), int))
        assert str(caught.value) == (
            f"the model answers batch {rows} × length 2 with logits [{rows}, 1] instead of [{rows}]"
        )


class Fails(Classifier):
    """An engine that fails."""

    def _open(self) -> Run:
        def run(ids: NDArray[np.int64]) -> NDArray[np.float32]:
            raise RuntimeError("out of\nmemory")

        return in_chunks(run)


def test_a_failing_engine_is_named_in_one_line() -> None:
    with pytest.raises(PredictionError) as caught:
        Fails(Signature(5, 64), Decision((0, 1), 0.5)).predict([[1, 2, 3]])
    assert str(caught.value) == (
        "the engine fails on batch 1 × length 3: RuntimeError: out of memory"
    )
