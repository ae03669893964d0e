from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import InvalidInputError, ParityError, Signature
from pe_deploy.bundle import GoldenCase
from pe_deploy.parity import Predictor, Report, Tolerance, golden_inputs, parity_cases, verify
from pe_deploy.runtime import to_input_ids

SIGNATURE = Signature(vocab_size=9, max_length=6)


def position_aware(ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """A stand-in for a model: depends on every id and its place."""
    weights = np.cos(np.arange(ids.shape[1]))
    return np.asarray(np.sin(ids * 0.7) @ weights, dtype=np.float32)


def judged(other: Predictor, golden: list[GoldenCase] | None = None, **tolerance: float) -> Report:
    predictors = {"eager": position_aware, "other": other}
    return verify(predictors, SIGNATURE, golden or [], Tolerance(**tolerance))


def test_the_same_model_passes_every_cell() -> None:
    report = judged(lambda ids: position_aware(ids).copy())
    assert report.passed
    assert report.worst == 0.0
    report.raise_if_failed()
    grid = {(cell.batch, cell.length) for cell in report.cells if cell.group == "grid"}
    assert grid == {(b, n) for b in (1, 2, 3, 7, 32) for n in range(1, 7)}


def test_one_wrong_logit_fails_its_cell_alone() -> None:
    def wrong_at_7x4(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        logits = position_aware(ids)
        if ids.shape == (7, 4):
            logits[3] += 1e-3
        return logits

    report = judged(wrong_at_7x4)
    assert [(c.batch, c.length) for c in report.failures] == [(7, 4)]
    assert report.failures[0].difference == pytest.approx(1e-3, rel=1e-2)
    with pytest.raises(ParityError, match=r"1 of 35 cells.*other against eager, grid, batch 7 × "):
        report.raise_if_failed()


@pytest.mark.parametrize(
    ("predictor", "problem"),
    [
        (lambda ids: position_aware(ids)[:, None], r"shape \[1, 1\] instead of \[1\]"),
        (lambda ids: position_aware(ids) * np.nan, "not finite"),
        (lambda ids: position_aware(ids[:, ::-1]), "differs by"),
        (lambda ids: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_no_answer_is_a_failure(predictor: Predictor, problem: str) -> None:
    report = judged(predictor)
    assert not report.passed
    with pytest.raises(ParityError, match=problem):
        report.raise_if_failed()


def test_a_reference_that_gives_no_answer_is_the_finding() -> None:
    report = verify({"eager": lambda ids: 1 / 0, "other": position_aware}, SIGNATURE, [])  # type: ignore[dict-item, return-value]
    with pytest.raises(ParityError, match=r"eager against its signature.*ZeroDivisionError"):
        report.raise_if_failed()
    squeezed = {"a": lambda ids: position_aware(ids).squeeze(), "b": position_aware}
    with pytest.raises(ParityError, match=r"shape \[\] instead of \[1\]"):
        verify(squeezed, SIGNATURE, []).raise_if_failed()


def test_one_id_out_of_many_is_seen() -> None:
    signature = Signature(vocab_size=5000, max_length=6)

    def one_row_changed(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return position_aware(np.where(ids == 4321, 7, ids))

    report = verify({"a": position_aware, "b": one_row_changed}, signature, [])
    assert {cell.group for cell in report.failures} == {"vocabulary"}


def test_padding_that_counts_is_seen_even_if_all_agree() -> None:
    signature = Signature(vocab_size=9, max_length=6, pad_id=0)

    def counts_padding(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray((ids + 1).sum(axis=1), dtype=np.float32)

    report = verify({"a": counts_padding, "b": counts_padding}, signature, [])
    assert {(c.predictor, c.group) for c in report.failures} == {("a", "padding"), ("b", "padding")}
    ignores = verify({"a": lambda ids: ids.sum(axis=1) * 1.0}, signature, [])
    assert ignores.passed


def test_the_tolerance_is_the_limit() -> None:
    def off(ids: NDArray[np.int64]) -> NDArray[np.float64]:
        return position_aware(ids).astype(np.float64) + 1e-3

    assert judged(off, atol=1.1e-3, rtol=0).passed
    assert not judged(off, atol=0.9e-3, rtol=0).passed
    with pytest.raises(InvalidInputError, match="atol is nan"):
        Tolerance(atol=math.nan)
    with pytest.raises(InvalidInputError, match="rtol is inf"):
        Tolerance(rtol=math.inf)


def test_golden_vectors_judge_every_predictor() -> None:
    golden = [
        GoldenCase(ids, position_aware(ids).astype(np.float64), position_aware(ids))
        for ids in golden_inputs(SIGNATURE)
    ]
    report = judged(position_aware, golden)
    assert report.passed
    assert len(report.pairs()["eager", "golden"]) == len(golden)
    assert len(report.pairs()["other", "golden"]) == len(golden)
    moved = [GoldenCase(case.input_ids, case.float64 + 1e-2, case.float32) for case in golden]
    assert len(judged(position_aware, moved).failures) == 2 * len(golden)


def test_no_cells_prove_nothing() -> None:
    report = verify({"alone": position_aware}, SIGNATURE, [])
    assert not report.passed
    with pytest.raises(ParityError, match="no cells"):
        report.raise_if_failed()


@pytest.mark.parametrize(
    "signature",
    [
        SIGNATURE,
        Signature(vocab_size=5, max_length=4, pad_id=2),
        Signature(vocab_size=2, max_length=1, pad_id=0),
        Signature(vocab_size=3000, max_length=1),
        Signature(vocab_size=1, max_length=3),
        Signature(vocab_size=300, max_length=200, pad_id=299),
    ],
)
def test_every_case_is_an_input_that_the_runtime_accepts(signature: Signature) -> None:
    cases = [case.input_ids for case in parity_cases(signature)] + golden_inputs(signature)
    for ids in cases:
        np.testing.assert_array_equal(to_input_ids(ids, signature), ids)
    lengths = {ids.shape[1] for ids in cases}
    assert {1, signature.max_length} <= lengths
    seen = set(np.concatenate([ids.ravel() for ids in cases]).tolist())
    ends = {0, signature.vocab_size - 1}
    if signature.max_length == 1:
        ends -= {signature.pad_id}  # a row of one id has no room for padding
    assert ends <= seen
    if signature.pad_id is not None and signature.max_length > 1:
        assert any((ids[:, -1] == signature.pad_id).any() for ids in cases)


def failing_report() -> Report:
    return judged(lambda ids: position_aware(ids) + np.float32(ids.shape[1] == 3))


def test_reports_in_three_forms(tmp_path: Path) -> None:
    report = failing_report()
    for suffix in (".json", ".md", ".xml"):
        report.save(tmp_path / f"report{suffix}")
    values: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    assert values["passed"] is False
    assert len(values["results"]) == values["cells"] == len(report.cells)
    suite = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert suite.get("tests") == str(len(report.cells))
    assert len(suite.findall("testcase/failure")) == len(report.failures) == 5
    text = (tmp_path / "report.md").read_text()
    assert "FAILED" in text
    assert "| other | eager | 35 | 5 | 1 |" in text
    with pytest.raises(InvalidInputError, match=r"suffix '.txt'; allowed: .json, .md, .xml"):
        report.save(tmp_path / "report.txt")
