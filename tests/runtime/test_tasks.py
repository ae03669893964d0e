"""What a classifier answers for each task, and which rows it takes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import InvalidInputError, ParityError, PredictionError, Signature
from pe_deploy.config import Decision
from pe_deploy.runtime import to_input_ids
from pe_deploy.runtime.classifier import Classifier, Run
from pe_deploy.runtime.plan import CHUNK_ROWS
from pe_deploy.runtime.replay import replay
from tests.runtime.tasks import TOYS, Toy, ToyClassifier

TOKENS = TOYS["tokens"]
ROWS = [[8, 5], [5, 8, 6, 6, 5, 5], [8, 3, 7]]
LENGTHS = [2, 6, 3]


@pytest.fixture(params=TOYS)
def toy(request: pytest.FixtureRequest) -> Toy:
    return TOYS[str(request.param)]


def test_the_logits_are_the_models_without_what_it_answers_to_padding(toy: Toy) -> None:
    ids = toy.random_rows()
    logits = ToyClassifier(toy).predict_logits(ids)
    assert logits.shape == toy.signature.output_shape(40, 6)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, toy.signature.zero_padding(toy.rounded(ids), ids))
    if toy.signature.task == "tokens":
        np.testing.assert_array_equal(logits[ids == 0], 0)
        assert (logits[ids != 0] != 0).all()


def test_many_rows_are_the_sum_of_their_chunks(toy: Toy) -> None:
    ids = np.tile(toy.random_rows(), (CHUNK_ROWS // 40 + 1, 1))
    few = ToyClassifier(toy).predict_logits(ids[:40])
    np.testing.assert_array_equal(ToyClassifier(toy).predict_logits(ids)[-40:], few)


def test_an_empty_batch_gives_an_empty_answer(toy: Toy) -> None:
    classifier, labels = ToyClassifier(toy), len(toy.labels)
    empties: list[Any] = [[], np.empty((0, 5), np.int64), np.empty((0, 0), np.int32)]
    for empty in empties:
        assert classifier.predict_logits(empty).shape == toy.signature.output_shape(0, 0)
        assert len(classifier.predict(empty)) == 0
        if toy.signature.task == "tokens":
            assert classifier.predict_proba(empty) == []
            assert classifier.predict_with_probability(empty) == ([], [])
        elif toy.signature.task != "regression":
            assert classifier.predict_proba(empty).shape == (0, labels)


def test_tokens_are_answered_row_by_row_without_padding() -> None:
    classifier = ToyClassifier(TOKENS)
    answers, probabilities = classifier.predict(ROWS), classifier.predict_proba(ROWS)
    assert [answer.shape for answer in answers] == [(length,) for length in LENGTHS]
    assert [each.shape for each in probabilities] == [(length, 3) for length in LENGTHS]
    assert {label for answer in answers for label in answer.tolist()} == {"O", "B", "I"}
    labels, chosen = classifier.predict_with_probability(ROWS)
    for row, answer, each, label, most in zip(
        ROWS, answers, probabilities, labels, chosen, strict=True
    ):
        (alone,) = classifier.predict([row])
        assert answer.tolist() == alone.tolist() == label.tolist()
        np.testing.assert_allclose(each.sum(axis=1), 1)
        np.testing.assert_array_equal(each.max(axis=1), most)
        assert [TOKENS.labels[c] for c in each.argmax(axis=1)] == answer.tolist()


def test_one_logit_a_token_has_a_threshold() -> None:
    toy = TOYS["binary tokens"]
    (logits,), (labels,) = toy.exact(np.array(ROWS[1:2])), ToyClassifier(toy).predict(ROWS[1:2])
    assert labels.tolist() == (logits > 0).astype(int).tolist()
    assert set(labels.tolist()) == {0, 1}
    (never,) = ToyClassifier(toy, threshold=1.0).predict(ROWS[1:2])
    assert never.tolist() == [0] * 6
    (probabilities,) = ToyClassifier(toy).predict_proba(ROWS[1:2])
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-logits)), rtol=1e-6)


def test_any_number_of_labels_is_an_answer() -> None:
    toy = TOYS["multilabel"]
    ids = toy.random_rows()
    logits = ToyClassifier(toy).predict_logits(ids).astype(np.float64)
    probabilities = ToyClassifier(toy).predict_proba(ids)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), rtol=1e-12)
    answers = ToyClassifier(toy).predict(ids)
    expected = [tuple(np.array(toy.labels)[row > 0].tolist()) for row in logits]
    assert answers == expected
    assert {len(answer) for answer in answers} >= {0, 1, 2}
    strict = ToyClassifier(toy, threshold=0.8).predict(ids)
    assert all(set(few) <= set(more) for few, more in zip(strict, answers, strict=True))
    assert sum(map(len, strict)) < sum(map(len, answers))
    with pytest.raises(InvalidInputError, match=r"threshold is 1\.5; allowed: 0\.0 to 1\.0"):
        ToyClassifier(toy, threshold=1.5)


@pytest.mark.parametrize("name", ["regression", "numbers"])
def test_a_regression_answers_with_its_numbers(name: str) -> None:
    toy = TOYS[name]
    classifier, ids = ToyClassifier(toy), toy.random_rows()
    numbers = classifier.predict(ids)
    assert numbers.dtype == np.float32
    np.testing.assert_array_equal(numbers, toy.rounded(ids))
    for method in ("predict_proba", "predict_with_probability"):
        with pytest.raises(InvalidInputError, match=r"^task is regression") as caught:
            getattr(classifier, method)(ids)
        assert "\n" not in str(caught.value)
    with pytest.raises(InvalidInputError, match=r"threshold is 0\.5; allowed: none with regress"):
        ToyClassifier(toy, threshold=0.5)


class Answers(Classifier):
    """Gives the same logits, whatever it is asked."""

    def __init__(self, toy: Toy, logits: NDArray[np.float64]) -> None:
        super().__init__(toy.signature, toy.decision)
        self._logits = logits.astype(np.float32)

    def _open(self) -> Run:
        return lambda ids: self._logits


def test_only_the_answer_to_a_token_has_to_be_finite() -> None:
    logits = np.zeros((2, 3, 3))
    logits[1, 2] = np.nan
    ids = np.array([[1, 2, 3], [4, 5, 0]])
    first, second = Answers(TOKENS, logits).predict(ids)
    assert (first.tolist(), second.tolist()) == (["O"] * 3, ["O"] * 2)
    logits[1, 1, 2] = np.inf
    with pytest.raises(PredictionError) as caught:
        Answers(TOKENS, logits).predict(ids)
    assert str(caught.value) == (
        "row 1: the logit of column 1 of class 2 is inf; an answer needs finite numbers"
    )


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 2), (2, 4, 3), (2, 1)])
def test_an_answer_for_other_tokens_is_no_answer(shape: tuple[int, ...]) -> None:
    with pytest.raises(PredictionError) as caught:
        Answers(TOKENS, np.zeros(shape)).predict_logits([[1, 2, 3], [4, 5, 6]])
    assert str(caught.value) == (
        f"the model answers batch 2 × length 3 with logits {list(shape)} instead of [2, 3, 3]"
    )


OPEN = Signature(vocab_size=30, max_length=24, min_length=5)
PADDED = dataclasses.replace(OPEN, pad_id=0)


@pytest.mark.parametrize(
    ("signature", "rows", "message"),
    [
        (OPEN, [[1, 2]], "input_ids has 2 columns; allowed: 5 to 24"),
        (OPEN, [[1] * 25], "input_ids has 25 columns; allowed: 5 to 24"),
        (OPEN, np.empty((2, 0), int), "input_ids has 0 columns; allowed: 5 to 24"),
        (OPEN, [[1] * 5, [1, 2]], "row 1: has 2 ids; allowed: 5 to 24"),
        (PADDED, [[1] * 6, [1, 2]], "row 1: has 2 ids; allowed: 5 to 24"),
        (PADDED, [[1] * 6, []], "row 1: has 0 ids; allowed: 5 to 24"),
        (PADDED, [[1] * 6, [2] * 4 + [0, 0]], "row 1: has 4 ids; allowed: 5 to 24"),
        (PADDED, [[1] * 6, [0] * 6], "row 1: every id is pad_id 0; allowed: at least one"),
        (
            PADDED,
            [[1] * 6, [2, 0, 2, 0, 0, 0]],
            "row 1: column 1 has pad_id 0 before the row's last token",
        ),
    ],
)
def test_a_row_below_the_least_length_is_refused(
    signature: Signature, rows: Any, message: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        to_input_ids(rows, signature)
    assert str(caught.value).startswith(message)


def test_rows_of_the_least_length_pass() -> None:
    assert to_input_ids([[1] * 5], OPEN).shape == (1, 5)
    assert to_input_ids([[1] * 5, [2] * 24], PADDED).shape == (2, 24)
    assert to_input_ids([[1] * 5 + [0] * 3], PADDED).shape == (1, 8)
    assert to_input_ids([], OPEN).shape == (0, 0)


def test_what_is_recorded_shows_each_answer() -> None:
    logits = np.array([[1.0, -1.0], [2.0, 3.0]])
    several = Decision(("rude", "loud"), 0.5, "multilabel").recorded(logits)
    assert several is not None
    assert several.tolist() == [["+rude", "-loud"], ["+rude", "+loud"]]
    numbers = Decision((3, 5), 0.5, "multilabel").recorded(logits)
    assert numbers is not None
    assert numbers.tolist() == [["+3", "-5"], ["+3", "+5"]]
    classes = Decision((3, 5)).recorded(logits)
    assert classes is not None
    assert classes.tolist() == [3, 5]
    tokens = Decision(("no", "yes"), 0.5, "tokens").recorded(logits)
    assert tokens is not None
    assert tokens.tolist() == [["yes", "no"], ["yes", "yes"]]
    assert Decision(("a", "b"), None, "regression").recorded(logits) is None


def test_golden_vectors_of_each_task_replay(toy: Toy) -> None:
    replay(ToyClassifier(toy).predict_logits, toy.goldens(), "it", toy.decision.recorded)

    def off(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return ToyClassifier(toy).predict_logits(ids) * np.float32(1.01)

    with pytest.raises(ParityError, match="it computes something else than was published"):
        replay(off, toy.goldens(), "it", toy.decision.recorded)


@pytest.mark.parametrize("name", [name for name, toy in TOYS.items() if len(toy.labels) > 1])
def test_exchanged_labels_are_seen_in_a_replay(name: str) -> None:
    toy = TOYS[name]
    exchanged = dataclasses.replace(toy.decision, labels=toy.labels[::-1])
    classifier = ToyClassifier(toy)
    if toy.signature.task == "regression":  # its names are not among the answers
        replay(classifier.predict_logits, [toy.golden()], "it", exchanged.recorded)
        return
    places = "row 0 of" if toy.signature.task == "classes" else r"row \d+, column \d+ of"
    with pytest.raises(ParityError, match=f"it gives {places} the golden vectors the label "):
        replay(classifier.predict_logits, [toy.golden()], "it", exchanged.recorded)


@pytest.mark.parametrize("scale", [1e-44, 1e-16, 1e-8, 1.0, 1e3])
def test_one_logit_is_decided_by_the_probability_that_is_shown(scale: float) -> None:
    drawn = np.random.default_rng(0).normal(0, scale, 9999).astype(np.float32)
    logits = np.concatenate([drawn, np.array([0, -0.0, 3e38, -3e38], np.float32)])
    shown = Decision((0, 1), 0.5).probabilities(logits)[:, 1]
    for threshold in (0.5, 0.0, 1.0, *map(float, shown[:99])):
        chosen = Decision((0, 1), threshold).classes(logits)
        np.testing.assert_array_equal(chosen, shown > threshold)
    for rows in range(1, 40):
        threshold, part = float(shown[rows]), slice(rows, 2 * rows)
        chosen = Decision((0, 1), threshold).classes(logits[part])
        np.testing.assert_array_equal(chosen, shown[part] > threshold)
