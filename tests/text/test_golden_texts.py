"""Golden texts: they use the whole vocabulary, and show whatever is encoded otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from pe_deploy import BundleError, InvalidInputError, Signature, open_bundle
from pe_deploy.bundle.bundle import Bundle
from pe_deploy.text.encoder import TextEncoder
from pe_deploy.text.golden import (
    Encode,
    GoldenText,
    first_difference,
    golden_texts,
    texts_from_bytes,
    texts_to_bytes,
)
from pe_deploy.text.probes import PROBES
from pe_deploy.text.reading import read_tokenizer
from pe_deploy.text.vocabulary_tokenizer import WordTokenizer

BUNDLES = Path(__file__).parent.parent / "bundles"


@pytest.fixture(scope="module", params=["bytes", "words", "characters", "pieces"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    if request.param == "pieces":
        pytest.importorskip("tokenizers")
    return open_bundle(BUNDLES / request.param)


def test_they_give_every_id_that_a_text_can_give(bundle: Bundle) -> None:
    used = set(chain.from_iterable(ids or () for _, ids in bundle.golden_texts()))
    size = bundle.manifest.signature.vocab_size
    no_text_gives = {
        "bytes": {0xC0, 0xC1, *range(0xF5, 0x100)},  # not in UTF-8
        "words": {0},
        "characters": {0},
        "tokenizer.json": {0, 6, 12, 18},  # words with accents, which its normaliser takes off
    }
    text = bundle.manifest.text
    assert text is not None
    assert used == set(range(size)) - no_text_gives[text.kind]


def test_they_hold_real_texts_and_all_probes(bundle: Bundle) -> None:
    texts = [text for text, _ in bundle.golden_texts()]
    assert texts[:2] == ["The cat eats fish", "The cat eats the café today"]
    assert set(PROBES) <= set(texts)
    assert any(ids is None for _, ids in bundle.golden_texts())


def test_they_come_back_as_they_were(bundle: Bundle) -> None:
    golden = bundle.golden_texts()
    assert texts_from_bytes(texts_to_bytes(golden), bundle.manifest.signature) == golden
    assert first_difference(bundle.encoder(), golden, bundle.manifest.signature) is None


def exchanged(encode: TextEncoder) -> Encode:
    size = encode.signature.vocab_size
    table = np.arange(size)
    table[[size - 2, size - 1]] = table[[size - 1, size - 2]]
    return lambda texts: table[encode(texts)]


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (exchanged, "gives ids .*; recorded: "),
        (lambda encode: lambda texts: encode(texts)[:, ::-1], "gives ids .*; recorded: "),
        (lambda encode: lambda texts: encode([text + "!" for text in texts]), "gives ids|refused"),
        (lambda encode: lambda texts: encode(texts)[:-1], "gives ids"),
        (lambda encode: lambda texts: encode([text or "the" for text in texts]), "it was refused"),
    ],
)
def test_what_is_encoded_otherwise_is_shown(
    fault: Callable[[TextEncoder], Encode], line: str
) -> None:
    words = open_bundle(BUNDLES / "words")
    found = first_difference(fault(words.encoder()), words.golden_texts(), words.manifest.signature)
    assert found is not None
    assert re.search(line, found)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"[]", "no list of texts"),
        (b'{"texts": [["a"]]}', "entry 0 is no text with its ids"),
        (b'{"texts": [["a", [true]]]}', "ids of entry 0 are not a row"),
        (b'{"texts": [["a", [1, 99]]]}', "ids of entry 0 are not a row"),
        (b'{"texts": [["a", []]]}', "ids of entry 0 are not a row"),
        (b'{"texts": [["a", null]]}', "no text in it has ids"),
        (b'{"texts": [["\\ud800", [1]]]}', "surrogates|encode"),
    ],
)
def test_damaged_ones_are_refused(data: bytes, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        texts_from_bytes(data, Signature(9, 4))


def test_a_vocabulary_that_no_text_uses_is_refused() -> None:
    nothing = WordTokenizer(["[PAD]", "[UNK]", ""], 0, 1)
    with pytest.raises(InvalidInputError, match="no ids for any text"):
        golden_texts(TextEncoder(nothing, Signature(3, 4, pad_id=0)))


def test_a_bundle_without_text_has_none(notebook_bundle: Path) -> None:
    plain = open_bundle(notebook_bundle)
    with pytest.raises(BundleError, match=r"holds no golden.texts.json"):
        plain.golden_texts()
    with pytest.raises(InvalidInputError, match="takes ids alone: it holds no tokenizer"):
        plain.encoder()


def test_few_texts_make_a_small_file() -> None:
    golden = [GoldenText("a", (1, 2)), GoldenText("", None)]
    assert texts_to_bytes(golden) == b'{"texts": [\n["a", [1, 2]],\n["", null]\n]}\n'


def test_they_cover_a_vocabulary_whose_tokens_join(tmp_path: Path) -> None:
    """Blanks between texts are tokens of their own here, and take room in a row."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=None))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<pad>"], show_progress=False
    )
    made.train_from_iterator(["the cat sat on the mat; 1989"] * 9, trainer)
    made.save(str(file := tmp_path / "tokenizer.json"))
    tokenizer = read_tokenizer(file)
    golden = golden_texts(
        TextEncoder(tokenizer, Signature(tokenizer.vocab_size, 12, pad_id=tokenizer.pad_id))
    )
    used = set(chain.from_iterable(ids or () for _, ids in golden))
    plain = {at for at, text in enumerate(tokenizer.vocabulary()) if text.isascii() and text}
    assert plain - {tokenizer.pad_id} <= used
