from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import InvalidInputError, OnnxClassifier, open_bundle
from tests.runtime.processes import run_python


@pytest.fixture
def notebook(notebook_bundle: Path) -> OnnxClassifier:
    return OnnxClassifier(notebook_bundle)


@pytest.fixture
def padded(padded_bundle: Path) -> OnnxClassifier:
    return OnnxClassifier(padded_bundle)


def random_rows(rows: int, length: int, vocab_size: int = 12) -> NDArray[np.int64]:
    return np.random.default_rng(rows * 100 + length).integers(0, vocab_size, (rows, length))


def test_golden_vectors_replay(any_bundle: Path) -> None:
    classifier = OnnxClassifier(any_bundle)
    cases = open_bundle(any_bundle).golden()
    assert len(cases) > 8
    for case in cases:
        logits = classifier.predict_logits(case.input_ids)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, case.float64, atol=1e-5)


@pytest.mark.parametrize(
    "dtype",
    ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", ">i4", ">u8"],
)
def test_every_integer_dtype_gives_the_same_answer(notebook: OnnxClassifier, dtype: str) -> None:
    ids = random_rows(5, 9)
    expected = notebook.predict_logits(ids)
    np.testing.assert_array_equal(notebook.predict_logits(ids.astype(dtype)), expected)


def test_lists_tuples_and_views_give_the_same_answer(notebook: OnnxClassifier) -> None:
    ids = random_rows(6, 8)
    expected = notebook.predict_logits(ids)
    wide = np.repeat(ids, 2, axis=1)
    forms: list[Any] = [
        ids.tolist(),
        tuple(map(tuple, ids.tolist())),
        list(ids),
        wide[:, ::2],
        np.asfortranarray(ids),
        ids[::-1][::-1],
    ]
    for form in forms:
        np.testing.assert_array_equal(notebook.predict_logits(form), expected)


def test_the_input_is_left_as_it_was(notebook: OnnxClassifier) -> None:
    ids = random_rows(4, 5)
    ids.flags.writeable = False
    before = ids.copy()
    notebook.predict(ids)
    np.testing.assert_array_equal(ids, before)


def test_rows_of_differing_length_are_padded(padded: OnnxClassifier) -> None:
    rng = np.random.default_rng(3)
    rows = [rng.integers(1, 20, length).tolist() for length in (3, 12, 1, 7)]
    together = padded.predict_logits(rows)
    for row, logits in zip(rows, together, strict=True):
        alone = padded.predict_logits([row])[0]
        further = padded.predict_logits([row + [0] * (12 - len(row))])[0]
        np.testing.assert_allclose(logits, alone, atol=1e-6)
        np.testing.assert_allclose(logits, further, atol=1e-6)


def test_rows_of_a_small_dtype_are_padded_with_a_large_id() -> None:
    from pe_deploy import Signature
    from pe_deploy.runtime import to_input_ids

    signature = Signature(vocab_size=400, max_length=5, pad_id=300)
    rows = [np.array([1, 2], np.uint8), np.array([3], np.uint64), np.array([4], np.int8)]
    padded = to_input_ids(rows, signature)
    assert padded.tolist() == [[1, 2], [3, 300], [4, 300]]
    with pytest.raises(InvalidInputError, match=f"row 1: column 0 has id {2**64 - 1}; allowed"):
        to_input_ids([[1, 2], np.array([2**64 - 1], np.uint64)], signature)


@pytest.mark.parametrize("empty", [[], (), np.empty((0, 5), np.int64), np.empty((0, 0), np.int32)])
def test_an_empty_batch_gives_an_empty_answer(
    notebook: OnnxClassifier, padded: OnnxClassifier, empty: Any
) -> None:
    assert notebook.predict_logits(empty).shape == (0,)
    assert notebook.predict_proba(empty).shape == (0, 2)
    assert notebook.predict(empty).shape == (0,)
    assert padded.predict_logits(empty).shape == (0, 3)
    assert padded.predict(empty).tolist() == []


def test_large_inputs_are_the_sum_of_their_rows(notebook: OnnxClassifier) -> None:
    ids = random_rows(1537, 7)
    logits = notebook.predict_logits(ids)
    assert logits.shape == (1537,)
    for start in (0, 511, 512, 1024, 1536):
        np.testing.assert_allclose(
            logits[start : start + 1], notebook.predict_logits(ids[start : start + 1]), atol=1e-6
        )


def test_binary_probabilities_are_the_sigmoid(notebook: OnnxClassifier) -> None:
    ids = random_rows(50, 10)
    logits = notebook.predict_logits(ids).astype(np.float64)
    probabilities = notebook.predict_proba(ids)
    np.testing.assert_allclose(probabilities[:, 1], 1 / (1 + np.exp(-logits)), rtol=1e-12)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    labels = notebook.predict(ids)
    assert labels.tolist() == (logits > 0).astype(int).tolist()
    assert set(labels.tolist()) == {0, 1}, "a test on one label would prove nothing"


def test_class_probabilities_are_the_softmax(padded: OnnxClassifier) -> None:
    ids = random_rows(40, 6, 19) + 1
    logits = padded.predict_logits(ids).astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(padded.predict_proba(ids), expected, rtol=1e-12)
    labels, probabilities = padded.predict_with_probability(ids)
    assert labels.tolist() == [padded.labels[c] for c in logits.argmax(axis=1)]
    assert len(set(labels.tolist())) > 1
    np.testing.assert_allclose(probabilities, expected.max(axis=1))


ALLOWED = "allowed: integers [batch, sequence], as an array or nested lists"

BAD_FOR_BOTH: list[tuple[Any, str]] = [
    (5, f"input_ids is 5; {ALLOWED}"),
    ([1, 2, 3], "input_ids has 1 dimensions; allowed: 2, [batch, sequence]"),
    (np.ones((2, 2, 2), int), "input_ids has 3 dimensions; allowed: 2, [batch, sequence]"),
    ([[1.0, 2.0]], "row 0: column 0 has 1.0; allowed: integers"),
    ([[True, False]], "row 0: column 0 has True; allowed: integers"),
    ([["1", "2"]], "row 0: column 0 has '1'; allowed: integers"),
    ([[None, 1]], "row 0: column 0 has None; allowed: integers"),
    (None, f"input_ids is None; {ALLOWED}"),
    (
        np.ma.masked_array([[1, 2]], mask=[[False, True]]),
        "input_ids is a masked array; allowed: an array without a mask",
    ),
    (
        [np.ma.masked_array([1, 2], mask=[False, True]), [3]],
        "input_ids is a masked array; allowed: an array without a mask",
    ),
    (np.zeros((0, 5), float), "input_ids has dtype float64; allowed: an integer dtype"),
]


BAD_FOR: dict[str, list[tuple[Any, str]]] = {
    "notebook": [
        *BAD_FOR_BOTH,
        ([[3, 4], [5, -1]], "row 1: column 1 has id -1; allowed: 0 to 11"),
        ([[12, 4]], "row 0: column 0 has id 12; allowed: 0 to 11"),
        ([[0, -(2**63)]], f"row 0: column 1 has id {-(2**63)}; allowed: 0 to 11"),
        (
            np.array([[1], [2**64 - 1]], np.uint64),
            f"row 1: column 0 has id {2**64 - 1}; allowed: 0 to 11",
        ),
        (np.array([[1, -5]], np.int8), "row 0: column 1 has id -5; allowed: 0 to 11"),
        ([[1] * 11], "input_ids has 11 columns; allowed: 1 to 10"),
        ([[], []], "input_ids has 0 columns; allowed: 1 to 10"),
        (
            [[1, 2, 3], [4, 5]],
            "row 1: has 2 ids where row 0 has 3; "
            "rows of differing length need a model with a pad_id",
        ),
    ],
    "padded": [
        *BAD_FOR_BOTH,
        (
            [[3, 4, 5], [6, 0, 7]],
            "row 1: column 1 has pad_id 0 before the row's last token; "
            "allowed: padding on the right only",
        ),
        ([[3, 0], [0, 0]], "row 1: every id is pad_id 0; allowed: at least one token"),
        ([[3, 4], []], "row 1: has 0 ids; allowed: 1 to 12"),
        ([[3], [1] * 13], "row 1: has 13 ids; allowed: 1 to 12"),
        ([[3], [4, 20]], "row 1: column 1 has id 20; allowed: 0 to 19"),
        ([[3], [1.5, 2.5]], "row 1: column 0 has 1.5; allowed: integers"),
        ([[3], 4], "row 1: is 4, not a list of ids"),
        ([[3], [[4], [5, 6]]], "row 1: is not a list of ids"),
    ],
}


@pytest.mark.parametrize(
    ("name", "bad", "message"), [(name, *each) for name, bad in BAD_FOR.items() for each in bad]
)
def test_what_a_model_refuses(
    request: pytest.FixtureRequest, name: str, bad: Any, message: str
) -> None:
    with pytest.raises(InvalidInputError) as error:
        request.getfixturevalue(name).predict(bad)
    assert str(error.value) == message


def test_a_refused_input_leaves_the_classifier_working(notebook: OnnxClassifier) -> None:
    expected = notebook.predict_logits([[1, 2, 3]])
    with pytest.raises(InvalidInputError):
        notebook.predict([[99]])
    np.testing.assert_array_equal(notebook.predict_logits([[1, 2, 3]]), expected)


def test_providers_and_threads_are_checked(notebook_bundle: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"providers are \['Abacus'\]; allowed: .*CPU"):
        OnnxClassifier(notebook_bundle, providers=["Abacus"])
    with pytest.raises(InvalidInputError, match="allowed: a list of"):
        OnnxClassifier(notebook_bundle, providers="CPUExecutionProvider")
    odds: list[Any] = [[], [()], [1], None, ("CPUExecutionProvider", {})]
    for odd in odds:
        with pytest.raises(InvalidInputError, match=r"providers are .*; allowed: a list of"):
            OnnxClassifier(notebook_bundle, providers=odd)
    with pytest.raises(InvalidInputError, match="num_threads is 0; allowed: 1 to 1024"):
        OnnxClassifier(notebook_bundle, num_threads=0)


def test_importing_and_predicting_loads_no_torch(notebook_bundle: Path) -> None:
    code = (
        "import sys, pe_deploy\n"
        f"pe_deploy.OnnxClassifier({str(notebook_bundle)!r}).predict([[1, 2]])\n"
        "heavy = {'torch', 'onnx', 'onnxscript', 'typer', 'rich', 'pyarrow', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert run_python(code) == "[]\n"
