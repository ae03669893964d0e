from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import DataError, InvalidInputError, ParityError, Signature, open_bundle
from pe_deploy.bundle.golden import GoldenCase
from pe_deploy.config import Decision
from pe_deploy.parity import (
    Predictor,
    Report,
    Tolerance,
    golden_inputs,
    load_report,
    parity_cases,
    save_report,
    verify,
    verify_bundle,
)
from pe_deploy.parity.cases import exchanged, random_batches
from pe_deploy.runtime import to_input_ids
from pe_deploy.runtime.engines import predictors
from pe_deploy.runtime.floors import Floors

SIGNATURE = Signature(vocab_size=9, max_length=6)
DECISION = Decision(("no", "yes"), 0.5)


def exact(ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """A stand-in for a model: depends on every id and its place."""
    scores: NDArray[np.float64] = np.sin(ids * 0.7) @ np.cos(np.arange(ids.shape[1]))
    return scores


def rounded(ids: NDArray[np.int64]) -> NDArray[np.float32]:
    return exact(ids).astype(np.float32)


def judged(other: Predictor, tolerance: Tolerance | None = None, **more: Any) -> Report:
    return verify(
        {"eager": rounded, "other": other}, SIGNATURE, exact=exact, tolerance=tolerance, **more
    )


def golden_of(model: Predictor, targets: bool = False) -> list[GoldenCase]:
    cases = [
        GoldenCase(ids, model(ids).astype(np.float64), model(ids).astype(np.float32))
        for ids in golden_inputs(SIGNATURE)
    ]
    ids = np.random.default_rng(8).integers(0, 9, (100, 6))
    logits = model(ids).astype(np.float64)
    truth = np.where(np.arange(100) % 10, logits > 0, logits < 0).astype(np.int64)
    labels = DECISION.labels_of(logits)
    return [
        *cases,
        GoldenCase(ids, logits, logits.astype(np.float32), labels, truth if targets else None),
    ]


def test_the_same_model_passes_every_cell() -> None:
    report = judged(lambda ids: rounded(ids).copy(), golden=golden_of(exact), decision=DECISION)
    assert report.passed
    report.raise_if_failed()
    grid = {(cell.batch, cell.length) for cell in report.cells if cell.check == "shapes"}
    assert grid == {(b, n) for b in (1, 2, 3, 7, 32, 257) for n in range(1, 7)}
    assert {cell.check for cell in report.cells} == {
        "golden",
        "shapes",
        "tokens",
        "batches",
        "positions",
    }


def test_the_gate_is_a_multiple_of_torchs_own_error() -> None:
    def noisy(size: float) -> Predictor:
        return lambda ids: exact(ids) + size

    for floor in (1e-6, 1e-3):
        for factor, passes in ((3.9, True), (4.5, False)):
            report = verify(
                {"eager": noisy(floor), "other": noisy(factor * floor)},
                SIGNATURE,
                exact=exact,
                floor_from="eager",
            )
            assert report.floor == pytest.approx(floor)
            assert report.passed is (passes or factor * floor < 4 * floor + 1e-6)
    assert "4 × floor" in str(report.tolerance)


def test_without_torch_the_floor_comes_from_the_golden_vectors() -> None:
    golden = [
        GoldenCase(case.input_ids, case.float64, case.float32 + np.float32(1e-3))
        for case in golden_of(exact)
    ]
    report = verify({"onnx": lambda ids: exact(ids) + 3e-3}, SIGNATURE, golden)
    assert report.floor == pytest.approx(1e-3, rel=1e-2)
    assert report.passed
    assert not verify({"onnx": lambda ids: exact(ids) + 5e-3}, SIGNATURE, golden).passed


def rounds_more_in_long_rows(ids: NDArray[np.int64]) -> NDArray[np.float64]:
    return exact(ids) + np.where(ids.shape[1] > 40, 1e-3, 1e-7)


def test_a_fault_in_short_rows_does_not_hide_in_the_rounding_of_long_ones(tmp_path: Path) -> None:
    def faulty(ids: NDArray[np.int64]) -> NDArray[np.float64]:
        return exact(ids) + (1e-4 if ids.shape[1] in (20, 60) else 0)

    report = verify(
        {"eager": rounds_more_in_long_rows, "other": faulty},
        Signature(vocab_size=9, max_length=64),
        exact=exact,
        floor_from="eager",
        batches=(1, 2),
    )
    assert report.floor == pytest.approx(1e-3, rel=1e-3)
    assert {cell.length for cell in report.failures} == {20}
    save_report(report, tmp_path / "report.json")
    assert load_report(tmp_path / "report.json").failures == report.failures


def test_a_length_takes_the_largest_floor_near_it() -> None:
    floors = Floors.of([(1, 1e-7), (3, 2e-7), (3, 1e-7), (64, 5e-6)])
    assert [floors.at(length) for length in (1, 7, 64, 60)] == [2e-7, 2e-7, 5e-6, 5e-6]
    assert floors.at(30) == floors.highest == 5e-6  # as nothing near it is known
    joined = floors.joined(Floors(least=1e-6))
    assert [joined.at(length) for length in (1, 64)] == [1e-6, 5e-6]


@pytest.mark.parametrize(
    ("parity", "golden", "shapes"),
    [
        ({"floor": 1e-3}, set(), set()),
        ({"floors": {"by_length": {"1": 0.0, "10": 1e-3}, "least": 0.0}}, {1, 3}, {1, 5}),
        ({}, {1, 3, 10}, {1, 5, 6, 10}),
    ],
)
def test_a_bundle_is_judged_by_the_floors_it_was_published_with(
    notebook_bundle: Path, parity: dict[str, Any], golden: set[int], shapes: set[int]
) -> None:
    bundle = open_bundle(notebook_bundle)
    made = replace(bundle, manifest=replace(bundle.manifest, parity=parity))
    onnx = predictors(made, ["onnx"])["onnx"]
    report = verify_bundle(
        made,
        engines={"onnx": onnx, "off": lambda ids: onnx(ids) + np.float32(1e-4)},
        checks=["golden", "shapes"],
        batches=[2],
    )
    failed = {(cell.check, cell.length) for cell in report.failures}
    assert {length for check, length in failed if check == "golden"} == golden
    assert {length for check, length in failed if check == "shapes"} & {1, 5, 6, 10} == shapes


def test_a_report_of_one_floor_still_loads(tmp_path: Path, demo_bundle: Path) -> None:
    values = json.loads((demo_bundle / "parity.json").read_text())
    for name in ("floors", "not_run"):
        values.pop(name, None)
    (tmp_path / "old.json").write_text(json.dumps(values))
    report = load_report(tmp_path / "old.json")
    assert report.passed
    assert {report.floor_of(cell) for cell in report.cells} == {values["floor"]}


def test_a_name_alone_sets_no_floor() -> None:
    report = verify({"eager": lambda ids: -3 * exact(ids)}, SIGNATURE, exact=exact)
    assert report.floor == 0.0
    assert not report.passed


def test_a_floor_that_is_no_rounding_judges_nothing() -> None:
    rng = np.random.default_rng(0)

    def dropout_left_on(ids: NDArray[np.int64]) -> NDArray[np.float64]:
        return exact(ids) * rng.integers(0, 2, len(ids))

    predictors = {"eager": dropout_left_on, "other": dropout_left_on}
    report = verify(predictors, SIGNATURE, exact=exact, floor_from="eager")
    assert "floor" in report.failed_checks
    with pytest.raises(ParityError, match="that is not rounding"):
        report.raise_if_failed()


def test_decisions_without_recorded_labels_are_not_passed_over() -> None:
    unlabelled = golden_of(exact)[:-1]
    report = verify({"onnx": rounded}, SIGNATURE, unlabelled, decision=DECISION)
    assert report.failed_checks == ("decisions",)


def test_wrong_settings_are_named() -> None:
    with pytest.raises(InvalidInputError, match="on 0 predictors"):
        verify({}, SIGNATURE)
    with pytest.raises(InvalidInputError, match="checks are golden, vibes on 1 predictors"):
        verify({"a": rounded}, SIGNATURE, checks=["golden", "vibes"])


def test_one_wrong_logit_fails_its_cell_alone() -> None:
    def wrong_at_7x4(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        logits = rounded(ids)
        if ids.shape == (7, 4):
            logits[3] += 1e-3
        return logits

    report = judged(wrong_at_7x4)
    assert [(c.batch, c.length) for c in report.failures] == [(7, 4)]
    assert report.failures[0].error == pytest.approx(1e-3, rel=1e-2)
    message = (
        r"parity failed \(shapes\) in 1 of .*other against float64, batch 7 × length 4: differ"
    )
    with pytest.raises(ParityError, match=message):
        report.raise_if_failed()


@pytest.mark.parametrize(
    ("predictor", "problem"),
    [
        (lambda ids: rounded(ids)[:, None], r"shape \[1, 1\] instead of \[1\]"),
        (lambda ids: rounded(ids) * np.nan, "not finite"),
        (lambda ids: rounded(ids[:, ::-1]), "differs by"),
        (lambda ids: rounded(ids) > 0, "dtype bool instead of a float dtype"),
        (lambda ids: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_no_answer_is_a_failure(predictor: Predictor, problem: str) -> None:
    report = judged(predictor)
    assert not report.passed
    with pytest.raises(ParityError, match=problem):
        report.raise_if_failed()


def test_a_reference_that_gives_no_answer_is_the_finding() -> None:
    report = verify({"a": lambda ids: 1 / 0, "b": rounded}, SIGNATURE)  # type: ignore[dict-item, return-value]
    with pytest.raises(ParityError, match=r"a against its signature.*ZeroDivisionError"):
        report.raise_if_failed()
    squeezed: dict[str, Predictor] = {"a": lambda ids: rounded(ids).squeeze(), "b": rounded}
    with pytest.raises(ParityError, match=r"shape \[\] instead of \[1\]"):
        verify(squeezed, SIGNATURE).raise_if_failed()


def test_one_id_out_of_many_is_seen() -> None:
    signature = Signature(vocab_size=5000, max_length=6)

    def one_row_changed(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return rounded(np.where(ids == 4321, 7, ids))

    report = verify({"a": rounded, "b": one_row_changed}, signature, batches=(1, 3))
    assert report.failed_checks == ("tokens",)


def test_padding_that_counts_is_seen_even_if_all_agree() -> None:
    signature = Signature(vocab_size=9, max_length=6, pad_id=0)

    def counts_padding(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray((ids + 1).sum(axis=1), dtype=np.float32)

    report = verify({"a": counts_padding, "b": counts_padding}, signature)
    assert report.failed_checks == ("padding",)
    assert {cell.predictor for cell in report.failures} == {"a", "b"}
    assert verify({"a": lambda ids: ids.sum(axis=1) * 1.0}, signature).passed


def test_rows_that_leak_into_each_other_are_seen_even_if_all_agree() -> None:
    def leaky(ids: NDArray[np.int64]) -> NDArray[np.float64]:
        logits = exact(ids)
        return logits + 0.1 * np.roll(logits, 1)

    report = verify({"a": leaky, "b": leaky}, SIGNATURE)
    assert report.failed_checks == ("batches",)


def test_no_stated_tolerance_hides_a_lost_positional_table() -> None:
    def without_places(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.asarray(np.sin(ids * 0.7).sum(axis=1), dtype=np.float32)

    report = judged(without_places, Tolerance(atol=100.0))
    assert report.failed_checks == ("positions",)


def test_a_stated_tolerance_is_the_limit() -> None:
    def off(ids: NDArray[np.int64]) -> NDArray[np.float64]:
        return exact(ids) + 1e-3

    assert judged(off, Tolerance(atol=1.1e-3)).passed
    assert not judged(off, Tolerance(atol=0.9e-3)).passed
    assert not judged(off, Tolerance(rtol=1e-9)).passed
    for name, value in (("atol", math.nan), ("rtol", math.inf), ("multiple", -1.0)):
        with pytest.raises(InvalidInputError, match=f"{name} is {value}"):
            Tolerance(**{name: value})


def test_golden_vectors_judge_every_predictor() -> None:
    golden = golden_of(exact)
    report = verify({"a": rounded, "b": rounded}, SIGNATURE, golden)
    assert report.passed
    for name in ("a", "b"):
        assert len(report.pairs()["golden", name, "golden"]) == len(golden)
    moved = [
        GoldenCase(case.input_ids, case.float64 + 1e-2, case.float32 + 1e-2) for case in golden
    ]
    assert verify({"a": rounded}, SIGNATURE, moved).failed_checks == ("golden",)


def test_flips_are_told_apart_by_their_margin() -> None:
    golden = golden_of(exact, targets=True)
    margins = np.sort(DECISION.margins(golden[-1].float64))
    nearest = golden[-1].input_ids[np.argsort(DECISION.margins(golden[-1].float64))[0]]

    def nudged(ids: NDArray[np.int64]) -> NDArray[np.float64]:
        logits = exact(ids)
        near = (ids[:, : len(nearest)] == nearest[: ids.shape[1]]).all(axis=1)
        return np.where(near & (ids.shape[1] == 6), -logits, logits)

    explained = verify(
        {"eager": lambda ids: exact(ids) + margins[0] * 2, "other": nudged},
        SIGNATURE,
        golden,
        exact=exact,
        decision=DECISION,
        floor_from="eager",
    )
    (other,) = (d for d in explained.decisions if d.predictor == "other")
    assert other.flips >= 1
    assert other.unexplained == 0
    assert other.accuracy is not None
    assert other.real
    unexplained = verify({"other": nudged}, SIGNATURE, golden, decision=DECISION)
    if margins[0] > 1e-5:
        assert "decisions" in unexplained.failed_checks


@pytest.mark.parametrize(("given", "explained"), [(1, 1), (2, 0)])
def test_a_flip_is_explained_by_the_label_that_flipped(given: int, explained: int) -> None:
    """The two highest logits are a hair apart, and the third is far away."""
    logits = np.array([[1.0, 1.0 - 1e-7, 0.0]])
    signature, decision = Signature(3, 1, num_classes=3), Decision(("a", "b", "c"))
    golden = GoldenCase(np.array([[1]]), logits, logits.astype(np.float32), np.array(["a"]))
    other = np.roll([[9.0, 0.0, 0.0]], given, axis=1)
    report = verify(
        {"it": lambda ids: other}, signature, [golden], decision=decision, checks=["decisions"]
    )
    (decided,) = report.decisions
    assert (decided.flips, decided.explained) == (1, explained)


def test_a_moved_threshold_and_exchanged_labels_are_unexplained_flips() -> None:
    golden = golden_of(exact, targets=True)
    for wrong in (Decision(("no", "yes"), 0.7), Decision(("yes", "no"), 0.5)):
        report = verify({"onnx": rounded}, SIGNATURE, golden, decision=wrong)
        assert report.failed_checks == ("decisions",)
        with pytest.raises(ParityError, match=r"onnx gives \d+ of 100 rows another label"):
            report.raise_if_failed()


def test_the_figures_of_the_decisions() -> None:
    golden = golden_of(exact, targets=True)
    report = verify({"onnx": lambda ids: -exact(ids)}, SIGNATURE, golden, decision=DECISION)
    (decided,) = report.decisions
    assert decided.rows == 100
    assert decided.flips == 100
    assert decided.accuracy == pytest.approx(0.1)
    assert decided.accuracy_change == pytest.approx(-0.8)
    assert decided.auc_change is not None
    assert decided.auc_change < 0
    assert decided.loss_change is not None
    assert decided.loss_change > 0


def test_no_cells_prove_nothing() -> None:
    report = verify({"alone": rounded}, SIGNATURE, checks=["golden"])
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
        Signature(vocab_size=9, max_length=6, min_length=5),
        Signature(vocab_size=9, max_length=6, pad_id=3, min_length=5),
        Signature(vocab_size=9, max_length=6, pad_id=0, min_length=6),
        Signature(vocab_size=3000, max_length=90, pad_id=0, min_length=7),
        Signature(vocab_size=9, max_length=6, pad_id=0, min_length=2, task="tokens"),
    ],
)
def test_every_case_is_an_input_that_the_runtime_accepts(signature: Signature) -> None:
    cases = [case.input_ids for case in parity_cases(signature)] + golden_inputs(signature)
    cases += random_batches(signature, seed=2)
    cases += exchanged(signature) if signature.max_length > 1 else []
    for ids in cases:
        np.testing.assert_array_equal(to_input_ids(ids, signature), ids)
    lengths = {ids.shape[1] for ids in cases}
    assert {signature.min_length, signature.max_length} <= lengths
    seen = set(np.concatenate([ids.ravel() for ids in golden_inputs(signature)]).tolist())
    everything = set(range(signature.vocab_size))
    if signature.max_length == signature.min_length:
        everything -= {signature.pad_id}  # there is no room for padding
    assert seen == everything
    if signature.pad_id is not None and signature.max_length > signature.min_length:
        assert any((ids[:, -1] == signature.pad_id).any() for ids in cases)


def test_of_many_lengths_large_batches_take_some() -> None:
    tried: dict[int, set[int]] = {}
    for case in parity_cases(Signature(vocab_size=9, max_length=64)):
        if case.check == "shapes":
            batch, length = case.input_ids.shape
            tried.setdefault(batch, set()).add(length)
    few = {1, 2, 8, 16, 24, 32, 40, 48, 56, 63, 64}
    for batch in (1, 2, 3, 7):
        assert tried.pop(batch) == set(range(1, 65))
    assert tried == {32: few, 257: {1, 33, 64}}


def test_every_id_is_tried_at_every_position() -> None:
    tokens = [case.input_ids for case in parity_cases(SIGNATURE) if case.check == "tokens"]
    for position in range(6):
        seen = {int(i) for ids in tokens if ids.shape[1] == 6 for i in ids[:, position]}
        assert seen == set(range(9))


def test_the_smallest_failing_input_is_small() -> None:
    def dislikes_7_after_2(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        logits = rounded(ids)
        for place in range(1, ids.shape[1]):
            logits[(ids[:, place - 1] == 2) & (ids[:, place] == 7)] += 1
        return logits

    report = judged(dislikes_7_after_2)
    cell, ids = report.smallest[0]
    assert cell in report.failures
    (row,) = ids
    assert row[-2:] == [2, 7]
    broken_in_batches = judged(lambda ids: rounded(ids) + (len(ids) > 3))
    assert len(broken_in_batches.smallest[0][1]) in (4, 5, 6, 7)


def test_the_smallest_failure_of_positions_is_one_pair() -> None:
    def without_places_after_3(ids: NDArray[np.int64]) -> NDArray[np.float64]:
        places = np.cos(np.minimum(np.arange(ids.shape[1]), 3))
        return np.asarray(np.sin(ids * 0.7) @ places)

    report = judged(without_places_after_3, checks=["positions"])
    ((_, (row, swapped)),) = report.smallest
    assert sorted(row) == sorted(swapped)
    assert sum(one != other for one, other in zip(row, swapped, strict=True)) == 2


def failing_report() -> Report:
    return judged(
        lambda ids: rounded(ids) + np.float32(ids.shape[1] == 3),
        golden=golden_of(exact, targets=True),
        decision=DECISION,
    )


def test_a_saved_report_is_judged_again(tmp_path: Path) -> None:
    passing = judged(lambda ids: rounded(ids) + np.float32(1e-6), Tolerance(atol=1e-5))
    save_report(passing, tmp_path / "report.json")
    read = load_report(tmp_path / "report.json")
    assert read == passing
    assert read.passed
    assert not read.judged_by(Tolerance(atol=0.0)).passed
    good = (tmp_path / "report.json").read_text()
    damaged = [
        good.replace('"floor": ', '"floor": 1e999, "x": ', 1),
        good.replace('"shapes"', "7", 1),
        good.replace('"floor": ', '"floor": "high", "x": ', 1),
    ]
    for text in ("", "{}", "[1]", '{"columns": []}', *damaged):
        (tmp_path / "no.json").write_text(text)
        with pytest.raises(DataError, match=r"no\.json: not a parity report"):
            load_report(tmp_path / "no.json")
    with pytest.raises(DataError, match="nowhere"):
        load_report(tmp_path / "nowhere.json")


def test_reports_in_three_forms(tmp_path: Path) -> None:
    report = failing_report()
    for suffix in (".json", ".md", ".xml"):
        save_report(report, tmp_path / f"report{suffix}")
    values: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    assert values["passed"] is False
    assert len(values["results"]) == values["cells"] == len(report.cells)
    suite = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert suite.get("tests") == str(len(report.cells) + len(report.decisions))
    assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
    assert len(report.failures) > 0
    text = (tmp_path / "report.md").read_text()
    assert "FAILED" in text
    assert "Smallest input" in text
    with pytest.raises(InvalidInputError, match=r"suffix '.txt'; allowed: .json, .md, .xml"):
        save_report(report, tmp_path / "report.txt")
