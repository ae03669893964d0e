"""Each task is proved: a toy of it passes, and what is wrong with another is seen."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import DataError
from pe_deploy.config import sigmoid
from pe_deploy.parity import Predictor, Report, load_report, save_report, verify
from pe_deploy.parity.assertion import assert_parity
from tests.runtime.tasks import GARBAGE, TOYS, Toy

TOKENS, MULTILABEL, NUMBERS = TOYS["tokens"], TOYS["multilabel"], TOYS["numbers"]


@pytest.fixture(params=TOYS)
def toy(request: pytest.FixtureRequest) -> Toy:
    return TOYS[str(request.param)]


def judged(toy: Toy, other: Predictor, **more: Any) -> Report:
    return verify(
        {"eager": toy.rounded, "other": other},
        toy.signature,
        toy.goldens(),
        exact=toy.exact,
        floor_from="eager",
        **{"decision": toy.decision, **more},
    )


def changed(toy: Toy, change: Callable[[NDArray[np.float64], NDArray[np.int64]], Any]) -> Predictor:
    """The toy, with something done to its logits, which depends on the ids."""
    return lambda ids: np.asarray(change(toy.exact(ids), ids))


def test_the_same_model_passes_every_check(toy: Toy) -> None:
    report = judged(toy, lambda ids: toy.rounded(ids).copy())
    report.raise_if_failed()
    checks = {"golden", "shapes", "tokens", "batches", "positions"}
    if toy.signature.pad_id is not None:
        checks.add("padding")
    assert {cell.check for cell in report.cells} == checks
    lengths = {cell.length for cell in report.cells}
    assert lengths == set(range(toy.signature.min_length, 7))
    assert bool(report.decisions) is (toy.signature.task != "regression")


def test_parity_is_an_assertion(toy: Toy) -> None:
    assert_parity(toy.rounded, lambda ids: toy.rounded(ids).copy(), toy.signature)
    off = changed(toy, lambda logits, ids: logits + 1e-2 * (logits != GARBAGE))
    with pytest.raises(AssertionError, match=r"golden|shapes, tokens"):
        assert_parity(off, toy.rounded, toy.signature)


def test_a_single_wrong_logit_is_seen(toy: Toy) -> None:
    def wrong(logits: NDArray[np.float64], ids: NDArray[np.int64]) -> NDArray[np.float64]:
        if ids.shape == (7, 5):
            logits[3:4].flat[0] += 1e-3
        return logits

    report = judged(toy, changed(toy, wrong))
    failed = {(c.predictor, c.batch, c.length) for c in report.failures if c.check == "shapes"}
    assert failed == {("other", 7, 5)}


def test_what_answers_padding_is_no_answer() -> None:
    def other(logits: NDArray[np.float64], ids: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.where((ids == 0)[..., None], np.nan, logits)

    judged(TOKENS, changed(TOKENS, other)).raise_if_failed()


def test_padding_that_counts_for_a_token_is_seen_even_if_all_agree() -> None:
    def leaky(logits: NDArray[np.float64], ids: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(logits + (ids == 0).sum(axis=1)[:, None, None])

    model = changed(TOKENS, leaky)
    report = verify({"a": model, "b": model}, TOKENS.signature)
    assert report.failed_checks == ("padding",)


def test_rows_that_leak_into_each_other_are_seen() -> None:
    model = changed(TOKENS, lambda logits, ids: logits + 0.1 * np.roll(logits, 1, axis=0))
    report = verify({"a": model, "b": model}, TOKENS.signature)
    assert "batches" in report.failed_checks


def test_tokens_that_lose_their_places_are_seen() -> None:
    def without_places(ids: NDArray[np.int64]) -> NDArray[np.float64]:
        angles = 0.7 * ids[..., None] + np.arange(3)
        return np.asarray(np.where(ids[..., None] != 0, np.sin(angles), 0).cumsum(axis=1))

    assert "positions" in judged(TOKENS, without_places).failed_checks


@pytest.mark.parametrize("shape", [(3,), (6, 1), (6, 2)])
def test_an_answer_of_another_shape_is_named(shape: tuple[int, ...]) -> None:
    report = judged(TOKENS, lambda ids: np.zeros((len(ids), *shape)), checks=["golden"])
    problems = {cell.problem for cell in report.failures}
    assert f"shape {[40, *shape]} instead of [40, 6, 3]" in problems


def test_the_smallest_failing_input_has_the_least_length() -> None:
    report = judged(MULTILABEL, changed(MULTILABEL, lambda logits, ids: logits + 1))
    assert report.smallest
    assert min(len(row) for _, ids in report.smallest for row in ids) == 2


def test_token_decisions_are_counted_without_padding() -> None:
    golden = TOKENS.golden()
    count = int((golden.input_ids != 0).sum())
    report = judged(TOKENS, changed(TOKENS, lambda logits, ids: logits[..., ::-1]))
    right, wrong = report.decisions
    assert (right.rows, right.flips, right.unit, right.real) == (count, 0, "tokens", False)
    exact = TOKENS.signature.zero_padding(TOKENS.exact(golden.input_ids), golden.input_ids)
    kept = exact[golden.input_ids != 0]
    assert wrong.flips == int((kept.argmax(1) != kept[:, ::-1].argmax(1)).sum()) > 0
    assert "decisions" in report.failed_checks
    assert str(wrong).startswith(f"other gives {wrong.unexplained} of {count} tokens another label")
    assert right.nearest == pytest.approx(float(TOKENS.decision.margins(kept).min()))


def test_token_decisions_against_the_truth() -> None:
    ids = TOKENS.random_rows()
    truth = TOKENS.exact(ids).argmax(axis=2)
    truth[:, 0] = (truth[:, 0] + 1) % 3  # every first token is answered wrongly
    truth[5, 1] = -1  # nobody knows
    truth[ids == 0] = -1
    predictors = {"it": TOKENS.exact, "worse": changed(TOKENS, lambda logits, ids: -logits)}
    report = verify(predictors, TOKENS.signature, [TOKENS.golden(truth)], decision=TOKENS.decision)
    it, worse = report.decisions
    known = int((truth >= 0).sum())
    assert it.real
    assert it.accuracy == pytest.approx((known - 40) / known)
    assert (it.accuracy_change, it.loss_change, it.auc_change) == (0, 0, None)
    assert worse.accuracy_change is not None
    assert worse.accuracy_change < 0
    assert worse.loss_change is not None
    assert worse.loss_change > 0


def test_multilabel_decisions_are_one_for_each_label() -> None:
    ids = MULTILABEL.random_rows()
    exact = MULTILABEL.exact(ids)
    truth = (exact > 0).astype(np.int64)
    truth[0] = 1 - truth[0]
    flipped = exact.copy()
    flipped[:2, 1] *= -1
    report = verify(
        {"it": MULTILABEL.exact, "other": lambda ids: flipped if len(ids) == 40 else exact[:0]},
        MULTILABEL.signature,
        [MULTILABEL.golden(truth)],
        decision=MULTILABEL.decision,
        checks=["decisions"],
    )
    it, other = report.decisions
    assert (it.rows, it.flips, it.unit) == (120, 0, "labels")
    assert it.accuracy == pytest.approx(117 / 120)
    assert (other.flips, other.explained) == (2, 0)
    assert str(other).startswith("other gives 2 of 120 labels another answer than torch did")
    chance = sigmoid(exact)
    loss = -np.log(np.where(truth == 1, chance, 1 - chance)).mean()
    after = -np.log(np.where(truth == 1, sigmoid(flipped), 1 - sigmoid(flipped))).mean()
    assert other.loss_change == pytest.approx(after - loss)


def test_a_flip_within_rounding_is_explained() -> None:
    ids = MULTILABEL.random_rows()
    exact = MULTILABEL.exact(ids)
    exact[3, 1] = 1e-7
    golden = dataclasses.replace(
        MULTILABEL.golden(),
        float64=exact,
        float32=exact.astype(np.float32),
        labels=MULTILABEL.decision.recorded(exact),
    )
    other = exact.copy()
    other[3, 1] = -1e-7
    report = verify(
        {"it": lambda ids: other},
        MULTILABEL.signature,
        [golden],
        decision=MULTILABEL.decision,
        checks=["decisions"],
    )
    (decided,) = report.decisions
    assert (decided.flips, decided.explained) == (1, 1)
    assert decided.nearest == pytest.approx(1e-7)
    assert report.passed


@pytest.mark.parametrize("name", ["multilabel", "tokens", "binary tokens"])
def test_exchanged_labels_and_a_moved_threshold_are_seen(name: str) -> None:
    toy = TOYS[name]
    wrong = [dataclasses.replace(toy.decision, labels=toy.labels[::-1])]
    if toy.threshold is not None:
        wrong.append(dataclasses.replace(toy.decision, threshold=0.7))
    for decision in wrong:
        report = judged(toy, toy.rounded, decision=decision)
        assert report.failed_checks == ("decisions",)


def test_a_regression_has_no_flips_and_tells_its_loss() -> None:
    ids = NUMBERS.random_rows()
    golden = NUMBERS.golden(NUMBERS.exact(ids) + 1)
    predictors = {"it": NUMBERS.exact, "off": changed(NUMBERS, lambda logits, ids: logits - 1)}
    report = verify(
        predictors,
        NUMBERS.signature,
        [golden],
        decision=NUMBERS.decision,
        checks=["golden", "decisions"],
    )
    assert report.failed_checks == ("golden",)
    it, off = report.decisions
    assert (it.rows, it.flips, it.nearest, it.accuracy, it.loss_change) == (40, 0, None, None, 0)
    assert off.loss_change == pytest.approx(3)


def test_a_predictor_without_an_answer_loses_each_decision(toy: Toy) -> None:
    report = judged(toy, lambda ids: 1 / 0, checks=["decisions"])  # type: ignore[arg-type, return-value]
    if toy.signature.task != "regression":
        it, lost = report.decisions
        assert lost.flips == lost.unexplained == lost.rows == it.rows
        assert lost.unit == it.unit


def test_decisions_that_were_not_recorded_are_missed_but_for_a_regression(toy: Toy) -> None:
    unlabelled = toy.goldens()[:-1]
    report = verify({"it": toy.rounded}, toy.signature, unlabelled, decision=toy.decision)
    expected = () if toy.signature.task == "regression" else ("decisions",)
    assert report.failed_checks == expected


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("tokens", "tokens of random rows (nearest margin "),
        ("multilabel", "labels of random rows (nearest margin "),
        ("classes", "random rows (nearest margin "),
        ("regression", ""),
    ],
)
def test_a_report_says_what_was_decided(tmp_path: Path, name: str, title: str) -> None:
    report = judged(TOYS[name], TOYS[name].rounded)
    for suffix in ("json", "md", "xml"):
        save_report(report, tmp_path / f"report.{suffix}")
    assert load_report(tmp_path / "report.json") == report
    text = (tmp_path / "report.md").read_text()
    assert title in text
    assert ("Decisions on" in text) is (name != "regression")
    units = {
        each.get("unit") for each in json.loads((tmp_path / "report.json").read_text())["decisions"]
    }
    assert units <= {"tokens", "labels", None}
    assert (units == {None}) is (name == "classes")


def test_a_report_of_odd_decisions_is_none(tmp_path: Path) -> None:
    save_report(judged(TOKENS, TOKENS.rounded), tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text()
    for odd in ('"sheep"', "3", "[]", "null"):
        (tmp_path / "odd.json").write_text(text.replace('"unit": "tokens"', f'"unit": {odd}'))
        with pytest.raises(DataError, match=r"odd\.json: not a parity report"):
            load_report(tmp_path / "odd.json")
