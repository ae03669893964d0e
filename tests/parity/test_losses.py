from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import DataError, ParityError, Signature
from pe_deploy.config import Decision
from pe_deploy.parity import Predictor, Report, Tolerance, load_report, render, save_report
from pe_deploy.parity.losses import RANDOM_ROWS, Loss, losses
from pe_deploy.parity.report import Cell
from pe_deploy.runtime.floors import Floors

CLASSES = Signature(vocab_size=10, max_length=6, num_classes=3)
LABELS = Decision(("a", "b", "c"))


def first_id(ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """The second class by so much as the first id says, from -4.5 to 4.5."""
    logits = np.zeros((len(ids), 3))
    logits[:, 1] = ids[:, 0] - 4.5
    logits[:, 2] = -9
    return logits


def moved(by: float) -> Predictor:
    return lambda ids: first_id(ids) + np.array([0, by, 0])


def test_flips_come_with_their_margins() -> None:
    rows = np.arange(10)[:, None]
    held_out, _ = losses(moved(-1.75), first_id, CLASSES, LABELS, rows, 0.2)
    assert (held_out.rows, held_out.decisions, held_out.held_out) == (10, 10, True)
    assert held_out.difference == 1.75
    assert held_out.spread == 4.5 + 9
    assert held_out.flips == 2
    assert held_out.margins == (1.5, 0.5)  # between the two largest logits, before
    assert held_out.median_margin == 1.0
    assert not held_out.failed
    stricter, _ = losses(moved(-1.75), first_id, CLASSES, LABELS, rows, 0.1)
    assert stricter.failed
    assert "flips 2 of 10 labels of held-out rows, 20.000%; allowed: 1 " in str(stricter)


@pytest.mark.parametrize(
    ("share", "allowed"), [(0.0, 0), (0.001, 1), (0.1, 1), (0.11, 2), (0.7, 7), (1.0, 10)]
)
def test_of_few_labels_one_may_flip_unless_none_may(share: float, allowed: int) -> None:
    rows = np.arange(10)[:, None]
    held_out, random = losses(first_id, first_id, CLASSES, LABELS, rows, share)
    assert held_out.allowed == allowed
    assert random.allowed == round(share * RANDOM_ROWS)
    assert (held_out.flips, random.flips, random.margins) == (0, 0, ())


@pytest.mark.parametrize(
    "signature",
    [
        Signature(10, 6, 3),
        Signature(10, 6, 3, pad_id=9, min_length=2),
        Signature(10, 1, 3),
        Signature(300, 150, 3, min_length=3),
        Signature(10, 7, 3, pad_id=0, task="tokens"),
    ],
    ids=str,
)
def test_the_random_rows_are_valid_and_of_all_lengths(signature: Signature) -> None:
    seen: list[NDArray[np.int64]] = []

    def answer(ids: NDArray[np.int64]) -> NDArray[np.float64]:
        seen.append(ids)
        assert ids.size <= 2**20
        return np.ones(signature.output_shape(*ids.shape))

    def zeros(ids: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.zeros(signature.output_shape(*ids.shape))

    (random,) = losses(zeros, answer, signature, LABELS)
    assert random.rows == sum(map(len, seen)) == RANDOM_ROWS
    lengths = {ids.shape[1] for ids in seen}
    assert {signature.min_length, signature.max_length} <= lengths
    assert len(lengths) == min(64, signature.max_length - signature.min_length + 1)
    for ids in seen:
        assert 0 <= ids.min() <= ids.max() < signature.vocab_size
        if signature.pad_id is not None:
            tokens = ids != signature.pad_id
            assert (np.diff(tokens.astype(int), axis=1) <= 0).all()
            assert tokens.sum(1).min() >= signature.min_length
    tokens = sum(signature.is_token(ids).sum() for ids in seen)
    assert random.decisions == (tokens if signature.task == "tokens" else random.rows)


def test_very_long_rows_are_fewer() -> None:
    signature = Signature(vocab_size=10, max_length=50_000, num_classes=3)
    (random,) = losses(first_id, first_id, signature, LABELS)
    assert 64 <= random.rows < 100


def test_each_task_counts_what_it_labels() -> None:
    rows = np.arange(10)[:, None]
    one = Signature(vocab_size=10, max_length=1)
    binary = Decision((0, 1), 0.5)
    held_out, _ = losses(lambda i: i[:, 0] - 3.9, lambda i: i[:, 0] - 4.5, one, binary, rows)
    assert (held_out.decisions, held_out.flips, held_out.unit) == (10, 1, "rows")
    assert held_out.margins == (0.5,)  # from the threshold

    several = dataclasses.replace(one, num_classes=4, task="multilabel")
    each = Decision(("r", "s", "t", "u"), 0.5, "multilabel")

    def labels(by: float) -> Predictor:
        return lambda ids: np.ones((len(ids), 4)) * [by, 1, 1, -1]

    held_out, _ = losses(labels(-0.25), labels(0.5), several, each, rows, 0.5)
    assert (held_out.decisions, held_out.flips, held_out.unit) == (40, 10, "labels")
    assert set(held_out.margins) == {0.5}

    number = dataclasses.replace(one, task="regression")
    (moved_by,) = losses(
        lambda ids: ids[:, 0] * 1.5,
        lambda ids: ids[:, 0] * 1.0,
        number,
        Decision(("x",), None, "regression"),
    )
    assert (moved_by.flips, moved_by.allowed, moved_by.failed) == (None, None, False)
    assert moved_by.difference == 4.5


def test_padding_has_no_answer() -> None:
    signature = Signature(vocab_size=4, max_length=5, num_classes=3, pad_id=0, task="tokens")
    rows = np.array([[1, 2, 0, 0], [3, 3, 3, 0]])

    def tags(noise: float) -> Predictor:
        return lambda ids: np.where((ids == 0)[..., None], noise, np.eye(3)[ids % 3])

    held_out, _ = losses(tags(50.0), tags(0.0), signature, LABELS, rows)
    assert (held_out.decisions, held_out.flips, held_out.difference) == (5, 0, 0.0)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_what_is_not_finite_is_the_largest_difference(odd: float) -> None:
    (random,) = losses(lambda ids: first_id(ids) + odd, first_id, CLASSES, LABELS)
    assert random.difference == np.finfo(np.float64).max


LOST = Loss(20, False, 0.25, 4.0, 20, "rows", 2, 1, (0.5, 0.125), 0.3125)
CELL = Cell("onnx", "float64", "shapes", 1, 1, 0.0, 0.0, "")


def report(*lost: Loss) -> Report:
    return Report(Tolerance(), Floors(), (CELL,), losses=lost)


def test_a_report_fails_by_too_many_flips_and_is_read_back(tmp_path: Path) -> None:
    held_out = dataclasses.replace(LOST, held_out=True, flips=1)
    failed = report(held_out, LOST)
    assert failed.failed_checks == ("flips",)
    line = r"^parity failed \(flips\): rounding the weights flips 2 of 20 labels of random rows"
    with pytest.raises(ParityError, match=line):
        failed.raise_if_failed()
    save_report(failed, tmp_path / "parity.json")
    assert load_report(tmp_path / "parity.json") == failed
    assert report(held_out).passed
    assert report().to_json() == dataclasses.replace(failed, losses=()).to_json()
    assert "losses" not in json.loads(report().to_json())
    summary = failed.summary()["rounding_on_random_rows"]
    assert summary == (
        "logits move by 0.25 at most, of a spread of 4; 2 of 20 labels flip, by margins up to 0.5"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"flips": "2"},
        {"flips": 2.0},
        {"rows": True},
        {"unit": "words"},
        {"difference": -1},
        {"spread": None},
        {"margins": 3},
        {"margins": ["0.5"]},
        {"median_margin": "0.5"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_report_with_odd_losses_is_none(tmp_path: Path, changes: dict[str, Any]) -> None:
    document = json.loads(report(LOST).to_json())
    document["losses"][0] |= changes
    (tmp_path / "parity.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="not a parity report"):
        load_report(tmp_path / "parity.json")


def test_the_table_has_a_row_for_each_kind_of_rows() -> None:
    number = Loss(20, True, 0.25, 4.0, 20)
    _, columns, rows = render.losses_table(report(number, LOST))
    assert [len(row) for row in rows] == [len(columns)] * 2
    assert rows[0] == ("held-out", "20", "2.5e-01", "4.0e+00", "–", "–", "–", "–")
    assert rows[1] == ("random", "20", "2.5e-01", "4.0e+00", "2 ✗", "1", "5.0e-01", "3.1e-01")
    page = render.to_markdown(report(LOST))
    assert "| random | 20 | 2.5e-01 |" in page
    assert "2 ✗" in render.to_html(report(LOST))
    assert 'failures="1"' in render.to_junit(report(LOST))
