from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pe_deploy import InvalidInputError, OnnxClassifier, Signature
from pe_deploy.parity import Report, Tolerance
from pe_deploy.parity.assertion import assert_parity, explain
from pe_deploy.runtime.floors import Floors

SIGNATURE = Signature(vocab_size=9, max_length=6)


def position_aware(ids: NDArray[np.int64]) -> NDArray[np.float32]:
    weights = np.cos(np.arange(ids.shape[1]))
    return np.asarray(np.sin(ids * 0.7) @ weights, dtype=np.float32)


def one_id_changed(ids: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.where((ids == 4).any(axis=1), np.float32(1e-2), np.float32(0)) + position_aware(ids)


def test_the_same_model_passes() -> None:
    assert_parity(lambda ids: position_aware(ids).copy(), position_aware, SIGNATURE)


def test_the_text_names_the_checks_and_the_smallest_input() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_parity(one_id_changed, position_aware, SIGNATURE, name="mine")
    text = str(caught.value)
    assert text.startswith("shapes, tokens failed in ")
    assert "mine against reference, batch " in text
    assert "differs by 0.01" in text
    assert "smallest failing input: [[" in text
    assert "repeat it" not in text  # no line of ours can run a predictor of the user's
    assert len(text.splitlines()) < 10


def test_a_stated_tolerance_is_the_limit() -> None:
    slightly = lambda ids: position_aware(ids) + np.float32(1e-3)  # noqa: E731
    assert_parity(slightly, position_aware, SIGNATURE, tolerance=Tolerance(atol=2e-3))
    with pytest.raises(AssertionError, match=r"allowed: 0.0005, by 0.0005 \+ 0 × \|logit\|"):
        assert_parity(slightly, position_aware, SIGNATURE, tolerance=Tolerance(atol=5e-4))


def test_a_predictor_is_held_against_a_bundle(any_bundle: Path) -> None:
    classifier = OnnxClassifier(any_bundle)
    assert_parity(classifier.predict_logits, bundle=any_bundle)

    def off(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return classifier.predict_logits(ids) * np.float32(1.01)

    with pytest.raises(AssertionError, match=r"golden, shapes.*failed") as caught:
        assert_parity(off, bundle=any_bundle)
    assert "the floor" in str(caught.value)


def test_labels_exchanged_are_seen(notebook_bundle: Path) -> None:
    classifier = OnnxClassifier(notebook_bundle)
    with pytest.raises(AssertionError, match="decisions failed: predictor gives"):
        assert_parity(lambda ids: -classifier.predict_logits(ids), bundle=notebook_bundle)


def test_what_cannot_be_compared_is_refused(notebook_bundle: Path) -> None:
    with pytest.raises(InvalidInputError, match="a bundle, or a reference"):
        assert_parity(position_aware)  # type: ignore[call-overload]
    with pytest.raises(InvalidInputError, match="a bundle, or a reference"):
        assert_parity(position_aware, position_aware, SIGNATURE, bundle=notebook_bundle)  # type: ignore[call-overload]
    for name, given in (("reference", None), ("onnx", notebook_bundle)):
        with pytest.raises(InvalidInputError, match=f"name is '{name}'"):
            if given is None:
                assert_parity(position_aware, position_aware, SIGNATURE, name=name)
            else:
                assert_parity(position_aware, bundle=given, name=name)


def test_no_cells_are_no_proof() -> None:
    assert "no cells" in explain(Report(Tolerance(), Floors(), ()))
