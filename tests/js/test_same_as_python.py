"""The same 300 inputs, bad ones included: the same answers and the same errors as in Python."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy import OnnxClassifier, Signature, open_bundle
from pe_deploy.errors import PeDeployError
from pe_deploy.runtime.floors import MULTIPLE, NEAR_ZERO, Floors
from tests.js.conftest import Ask, Job

ROOT = Path(__file__).parents[2]
MADE = ROOT / "tests/bundles"
IDS = (
    *(MADE / name for name in ("notebook", "padded", "shortest", "compact")),
    ROOT / "models/demo",
)
TEXTS = (
    *(MADE / name for name in ("bytes", "words", "characters", "pieces")),
    ROOT / "models/languages",
)
TASKS = tuple(MADE / name for name in ("multilabel", "numbers", "tokens"))
TRUNCATIONS = ("error", "start", "end")
PREDICT = {"predict": "predict", "predictLogits": "predict_logits", "predictProba": "predict_proba"}

IN_JAVASCRIPT = (
    (r"is None \(NoneType\)", "is null (null)"),
    (r"\b(is|has) None\b", r"\1 null"),
    (r"\b(is|has) nan\b", r"\1 NaN"),
    (r"\b(is|has) True\b", r"\1 true"),
    (r"\b(is|has) False\b", r"\1 false"),
    (r"\((int|float)\)", "(number)"),
    (r"\(bool\)", "(boolean)"),
    (r"\(list\)", "(Array)"),
    (r"\ba list;", "a Array;"),
    (r"\ba list\b(?!( of|\())", "a Array"),
    (r"\ba dict\b", "a Object"),
)
"""The words that are another language's; docs/javascript.md lists them."""


def in_javascript(message: str) -> str:
    for python, javascript in IN_JAVASCRIPT:
        message = re.sub(python, javascript, message)
    return message


@cache
def ids_for(folder: Path) -> list[Any]:
    """300 inputs, a third of them bad."""
    signature = open_bundle(folder).manifest.signature
    rng = random.Random(folder.name)
    inputs = [*_odd(signature)]
    while len(inputs) < 150:
        batch = _good(rng, signature, rng.choice([1, 1, 2, 5]))
        row = rng.choice(batch)
        row[rng.randrange(len(row))] = rng.choice(_wrong(signature))
        inputs.append(batch)
    inputs.append(_good(rng, signature, 1100))  # by both graphs, in several chunks
    while len(inputs) < 300:
        inputs.append(_good(rng, signature, rng.choice([1, 1, 2, 3, 30, 70])))
    return inputs


def _good(rng: random.Random, signature: Signature, rows: int) -> list[list[Any]]:
    tokens = [each for each in range(signature.vocab_size) if each != signature.pad_id]
    length = rng.randint(1, signature.max_length)
    made = []
    for _ in range(rows):
        if signature.pad_id is not None:
            length = rng.randint(1, signature.max_length)
        made.append(rng.choices(tokens, k=length))
    return made


def _wrong(signature: Signature) -> list[Any]:
    last = signature.vocab_size
    outside = [-1, last, last + 1, 2**31, 2**32, 2**53, 2**63, -(2**63), 2**64, -(2**70)]
    pads = [] if signature.pad_id is None else [signature.pad_id] * 6
    return [*outside, *pads, 1.5, -0.5, float("nan"), None, True, False, "7", [1], {}]


def _odd(signature: Signature) -> Iterator[Any]:
    longest, last = signature.max_length, signature.vocab_size - 1
    yield from (
        [],
        [[]],
        [[], []],
        [[], [last]],
        [[last], []],
        [last],
        [1.5],
        [None],
        ["a"],
        [[["b"]]],
    )
    yield from (None, True, 7, 1.5, float("nan"), "text", "x" * 60, [True], [[True]], [[None]])
    yield from ({"ids": [[1]]}, {"input_ids": [[last]]}, {"input_ids": [[last + 1]]})
    mask = {"input_ids": [[last] * longest], "attention_mask": [[1] * longest]}
    yield mask
    yield {**mask, "attention_mask": [[0] * longest]}
    yield from ([[last] * (longest + 1)], [[last] * (longest + 1), [last]], [[last], [last] * 500])
    yield from ([[[last]]], [[[last], [last]]], [[last], last], [last, [last]], [[last], [[last]]])
    yield from ([[last, 2**63]], [[-1, 2**63]], [[2**64] * (longest + 1)], [[-1] * (longest + 1)])
    yield from ([["a" * 60]], [["it's"]], [["\"'\n\t\\"]], [["\x00\x7f é\u2028"]], [{}], [[{}]])
    yield from ([[last, 0.5], [None]], [[2**70], [None]], [[last, True], [last, None]])


@cache
def texts_for(folder: Path) -> list[Any]:
    """300 inputs: lists of texts, some of them bad."""
    rng = random.Random(folder.name)
    words = ["the", "The", "cat", "eats", "fish", "Zoë", "naïve", "café", "cafe\u0301", "a", "dog"]
    words += ["today!", "x", "[PAD]", "[UNK]", "ﬁ", "İ", "🙂", "中"]
    spaces = [" ", "  ", "\t", "\r\n", "\u00a0", "\u0085", "\ufeff", "\x1c", "\v", "\f"]
    inputs: list[Any] = [
        [],
        [""],
        [" "],
        "a text",
        [None],
        [1],
        ["a", 1.5],
        ["a", True],
        ["a", [1]],
    ]
    inputs += [["a", "\ud800"], ["\udc00a"], ["a" * 90, "x" * 38 + "\ud800b"], ["🙂\ud83d"]]
    inputs += [["x" * 39 + "é" * 3], ["🙂" * 9], ["\0"], ["a\0b"], [["a"]], {"texts": ["a"]}, None]
    inputs += [["the " * count] for count in (39, 40, 41, 2000)]
    while len(inputs) < 300:
        batch = []
        for _ in range(rng.choice([1, 1, 2, 5])):
            count = rng.choice([1, 2, 3, 5, 8, 30])
            batch.append(
                "".join(
                    rng.choice(words) + rng.choice(spaces[: rng.choice([1, 10])])
                    for _ in range(count)
                )
            )
        inputs.append(batch)
    return inputs


def jobs() -> list[Job]:
    made: list[Job] = []
    for folder in (*IDS, *TASKS):
        asks = [[method, _json(each)] for each in ids_for(folder) for method in PREDICT]
        made.append({"bundle": str(folder), "asks": [*asks, ["selfTest"]]})
    for folder in TEXTS:
        for truncation in TRUNCATIONS:
            asks = [[method, each] for each in texts_for(folder) for method in ("encode", *PREDICT)]
            options = {"truncation": truncation}
            asks += [["truncated"], ["selfTest"]]
            made.append({"bundle": str(folder), "options": options, "asks": asks})
    return made


def _json(value: Any) -> Any:
    """What JSON has no word for, as answer.mjs reads it."""
    if isinstance(value, list):
        return [_json(each) for each in value]
    if isinstance(value, dict):
        return {name: _json(each) for name, each in value.items()}
    return {"$": ["number", "NaN"]} if value != value else value


@pytest.fixture(scope="session")
def answered(ask: Ask) -> dict[tuple[str, str | None], list[dict[str, Any]]]:
    """By bundle and truncation: what the module answered to each request."""
    given = {}
    for job, answer in zip(jobs(), ask(jobs()), strict=True):
        assert "answers" in answer, (job["bundle"], answer)
        given[job["bundle"], job.get("options", {}).get("truncation")] = answer["answers"]
    return given


Answered = dict[tuple[str, str | None], list[dict[str, Any]]]


@pytest.mark.parametrize("folder", [*IDS, *TASKS], ids=lambda folder: folder.name)
def test_ids_are_answered_as_in_python(folder: Path, answered: Answered) -> None:
    given = iter(answered[str(folder), None])
    classifier = OnnxClassifier(folder, num_threads=1)
    refused = 0
    for each in ids_for(folder):
        for method in PREDICT:
            refused += compare(classifier, method, each, next(given))
    assert 3 * 60 < refused < 3 * 160 + 300  # a regression has no probabilities
    check_passed(folder, next(given))


@pytest.mark.parametrize("truncation", TRUNCATIONS)
@pytest.mark.parametrize("folder", TEXTS, ids=lambda folder: folder.name)
def test_texts_are_answered_as_in_python(folder: Path, truncation: Any, answered: Answered) -> None:
    if folder.name == "pieces":
        pytest.importorskip("tokenizers")
    given = iter(answered[str(folder), truncation])
    classifier = OnnxClassifier(folder, num_threads=1, truncation=truncation)
    refused = 0
    for each in texts_for(folder):
        for method in ("encode", *PREDICT):
            refused += compare(classifier, method, each, next(given))
    assert 40 < refused < 4 * 250
    assert next(given)["value"] == classifier.truncated
    check_passed(folder, next(given))


def compare(classifier: OnnxClassifier, method: str, given: Any, answer: dict[str, Any]) -> bool:
    """Whether Python refuses the input, and JavaScript in the same words."""
    shown = f"{method}({str(given)[:200]}): {str(answer)[:500]}"
    refusal: PeDeployError | None = None
    try:
        expected = getattr(classifier, PREDICT.get(method, method))(given)
    except PeDeployError as error:
        refusal = error
    if refusal is not None:
        assert answer.get("error", {}).get("name") == type(refusal).__name__, (shown, str(refusal))
        assert answer["error"]["message"] == in_javascript(str(refusal)), shown
        assert answer["error"].get("row") == getattr(refusal, "row", None), shown
        return True
    assert "value" in answer, shown
    value = answer["value"]
    if method in ("encode", "predictLogits"):
        assert value["dims"] == list(expected.shape), shown
        value = np.reshape(value["data"], expected.shape)
    task = classifier.signature.task
    if method == "predict" and task == "regression":
        found = np.reshape(value, expected.shape)  # a list of no rows says nothing of its numbers
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance(classifier))
    elif isinstance(expected, list):  # a row each, of its own length
        assert len(value) == len(expected), shown
        for found, row in zip(value, expected, strict=True):
            if method == "predict":
                assert found == np.asarray(row).tolist(), shown
            else:
                np.testing.assert_allclose(found, row, rtol=0, atol=tolerance(classifier))
    elif method in ("encode", "predict"):
        assert np.asarray(value).tolist() == expected.tolist(), shown
    else:
        np.testing.assert_allclose(
            np.reshape(value, expected.shape), expected, rtol=0, atol=tolerance(classifier)
        )
    return False


@cache
def tolerance(classifier: OnnxClassifier) -> float:
    """What two logits may be apart that are both within the tolerance of golden vectors."""
    floor = Floors.of_summary(classifier.manifest.parity).highest
    return 2 * (MULTIPLE * floor + NEAR_ZERO)


def check_passed(folder: Path, answer: dict[str, Any]) -> None:
    report = answer["value"]
    bundle = open_bundle(folder)
    assert report["passed"], report
    assert "problem" not in report
    assert report["vectors"] == len(bundle.golden())
    assert report["texts"] == (len(bundle.golden_texts()) if bundle.manifest.text else 0)
    assert len(report["cases"]) in (report["vectors"], 2 * report["vectors"])
    assert 0 < report["largestDifference"] < tolerance(OnnxClassifier(folder))


def test_many_predictions_at_once_are_right(ask: Ask) -> None:
    folder = ROOT / "models/demo"
    inputs = [each for each in ids_for(folder)[151:] if len(each) < 50]
    asks = [["predictLogits", each] for each in inputs]
    asks[3::5] = [["predictLogits", [[-1]]]] * len(asks[3::5])
    (answer,) = ask([{"bundle": str(folder), "together": True, "asks": asks}])
    classifier = OnnxClassifier(folder, num_threads=1)
    for (_, given), each in zip(asks, answer["answers"], strict=True):
        compare(classifier, "predictLogits", given, each)
