"""A bundle that takes text, as an app uses it."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pe_deploy import (
    BundleError,
    InvalidInputError,
    MissingDependencyError,
    OnnxClassifier,
    ParityError,
    open_bundle,
)
from tests.runtime.processes import run_python

BUNDLES = Path(__file__).parent.parent / "bundles"
TEXTS = ["The cat eats fish", "a dog paints the café today", "My aunt sees a naïve tree!"]


@pytest.fixture(scope="module", params=["bytes", "words", "characters", "pieces"])
def bundle(request: pytest.FixtureRequest) -> Path:
    if request.param == "pieces":
        pytest.importorskip("tokenizers")
    return BUNDLES / str(request.param)


@pytest.fixture(scope="module")
def classifier(bundle: Path) -> OnnxClassifier:
    return OnnxClassifier(bundle, self_test=True, num_threads=1)


def test_texts_are_answered_as_their_ids_are(classifier: OnnxClassifier) -> None:
    ids = classifier.encode(TEXTS)
    assert ids.dtype == np.int64
    assert ids.shape[0] == 3
    for method in ("predict_logits", "predict_proba", "predict"):
        by_text, by_ids = (getattr(classifier, method)(given) for given in (TEXTS, ids))
        np.testing.assert_array_equal(by_text, by_ids)
    labels, probabilities = classifier.predict_with_probability(TEXTS)
    assert labels.tolist() == classifier.predict(TEXTS).tolist()
    assert (probabilities > 1 / 3).all()


def test_texts_come_in_any_column(classifier: OnnxClassifier) -> None:
    expected = classifier.predict_logits(TEXTS)
    columns: list[Any] = [tuple(TEXTS), np.array(TEXTS), np.array(TEXTS, object)]
    for column in columns:
        np.testing.assert_array_equal(classifier.predict_logits(column), expected)
    nothings: list[Any] = [[], (), np.array([], "U3")]
    for nothing in nothings:
        assert classifier.predict_logits(nothing).shape == (0, 3)
        assert classifier.encode(nothing).shape == (0, 0)


def test_one_text_alone_says_to_wrap_it(classifier: OnnxClassifier) -> None:
    for method in ("predict_logits", "predict_proba", "predict", "encode"):
        with pytest.raises(InvalidInputError, match=r"one text, 'The cat'; allowed: a list"):
            getattr(classifier, method)("The cat")


@pytest.mark.parametrize("wrong", [[None], ["a", 3.5], [b"The cat"], ["\udc00"], [""], ["x" * 99]])
def test_what_is_no_text_is_an_error_with_its_row(
    classifier: OnnxClassifier, wrong: list[Any]
) -> None:
    if wrong == [""] and "pieces" in repr(classifier):
        return  # [CLS] and [SEP] are a row
    with pytest.raises(InvalidInputError, match=r"row [01]: ") as caught:
        classifier.predict(wrong)
    assert caught.value.row == len(wrong) - 1


def test_long_texts_are_cut_where_that_is_asked_for(bundle: Path) -> None:
    long = "The cat eats " * 30
    with OnnxClassifier(bundle) as strict:
        with pytest.raises(InvalidInputError, match="truncation='end' or 'start' cuts such texts"):
            strict.predict(["The cat", long])
        assert strict.truncated == 0
    with OnnxClassifier(bundle, truncation="end") as cut:
        assert cut.encode(["The cat", long]).shape == (2, 40)
        cut.predict([long, long])
        assert cut.truncated == 3
    with OnnxClassifier(bundle, truncation="start") as other:
        assert other.encode([long]).tolist() != cut.encode([long]).tolist()
    with pytest.raises(InvalidInputError, match="truncation is 'left'; allowed: start, end, error"):
        OnnxClassifier(bundle, truncation="left")  # type: ignore[arg-type]


def test_copies_take_text_too(classifier: OnnxClassifier) -> None:
    expected = classifier.predict_logits(TEXTS)
    for another in (copy.copy(classifier), pickle.loads(pickle.dumps(classifier))):
        np.testing.assert_array_equal(another.predict_logits(TEXTS), expected)
        assert another.takes_text


def test_it_says_that_it_takes_text(classifier: OnnxClassifier) -> None:
    assert "texts of 1 to 40" in repr(classifier)
    assert "<th>text</th>" in classifier._repr_html_() or "text" in classifier._repr_html_()


def test_a_bundle_of_ids_says_so(notebook_bundle: Path) -> None:
    classifier = OnnxClassifier(notebook_bundle)
    assert not classifier.takes_text
    with pytest.raises(InvalidInputError, match="takes ids alone"):
        classifier.encode(TEXTS)
    with pytest.raises(InvalidInputError, match="takes ids alone"):
        OnnxClassifier(notebook_bundle, truncation="end")


def own(folder: Path, name: str) -> Path:
    return Path(shutil.copytree(BUNDLES / name, folder / name))


@pytest.mark.parametrize(
    ("name", "file"),
    [("words", "vocab.txt"), ("words", "golden.texts.json"), ("pieces", "tokenizer.json")],
)
def test_a_file_that_was_edited_is_refused(tmp_path: Path, name: str, file: str) -> None:
    copied = own(tmp_path, name)
    data = (copied / file).read_bytes()
    (copied / file).write_bytes(data.replace(b"cat", b"dog", 1))
    with pytest.raises(BundleError, match=f"{file} was changed after it was published"):
        open_bundle(copied)
    if file != "golden.texts.json":
        with pytest.raises(BundleError, match="was changed after it was published"):
            OnnxClassifier(copied)
    (copied / file).unlink()
    with pytest.raises(BundleError, match=f"lacks {file}"):
        open_bundle(copied)


def test_another_way_to_ids_fails_the_self_test(
    tmp_path: Path, reseal: Callable[..., bytes]
) -> None:
    """As where a library is upgraded: every digest is right, and the ids are others."""
    copied = own(tmp_path, "words")
    lines = (copied / "vocab.txt").read_bytes().split(b"\n")
    lines[-2], lines[-3] = lines[-3], lines[-2]
    (copied / "vocab.txt").write_bytes(b"\n".join(lines))
    reseal(copied)
    OnnxClassifier(copied).predict(TEXTS[:1])
    with pytest.raises(ParityError, match=r"is another than was published: text .* gives ids"):
        OnnxClassifier(copied, self_test=True)


def test_a_manifest_of_text_is_checked(tmp_path: Path, reseal: Callable[..., bytes]) -> None:
    text = json.loads((BUNDLES / "words" / "manifest.json").read_bytes())["text"]
    for changes, line in (
        ({"kind": "sounds"}, "kind is 'sounds'; allowed: bytes, words"),
        ({"length": 39}, r"length and padding of text are \(39, 0\); allowed: \(40, 0\)"),
        ({"padding": 1}, "unknown is 1, which is the padding"),
        ({"normalizer": ["nfkc"]}, "normalizer is nfkc; allowed with words: nfc, lower-ascii"),
        ({"truncation": "both"}, "truncation is 'both'"),
        ({"more": 1}, "unknown fields"),
    ):
        copied = own(tmp_path / str(len(line)), "words")
        reseal(copied, text={**text, **changes})
        with pytest.raises(BundleError, match=line):
            open_bundle(copied)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'pe-deploy\[text\]'"):
        OnnxClassifier(BUNDLES / "pieces")


def test_bytes_words_and_characters_need_no_library() -> None:
    code = """
import sys
from pe_deploy import OnnxClassifier
for path in sys.argv[1:]:
    OnnxClassifier(path, self_test=True).predict(["The cat eats fish"])
assert not {"tokenizers", "torch", "onnx", "pyarrow"} & set(sys.modules)
"""
    run_python(code, *(BUNDLES / name for name in ("bytes", "words", "characters")))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_after_a_batch_of_the_library_does_not_hang() -> None:
    pytest.importorskip("tokenizers")
    code = """
import os, sys, tokenizers, warnings
from pe_deploy import OnnxClassifier
warnings.simplefilter("ignore")
texts = ["the cat eats fish today"] * 2000
classifier = OnnxClassifier(sys.argv[1], num_threads=2)
expected = classifier.predict_logits(texts).tobytes()
tokenizers.Tokenizer.from_file(sys.argv[1] + "/tokenizer.json").encode_batch(texts)
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0 if classifier.predict_logits(texts).tobytes() == expected else 3)
    children.append(child)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""
    env = {**os.environ, "TOKENIZERS_PARALLELISM": "true"}
    assert run_python(code, BUNDLES / "pieces", env=env).strip() == "[0, 0, 0]"
