"""From texts to rows of ids: what each kind of token is, what is cut, what is refused."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections import UserList, deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pe_deploy import InvalidInputError, Signature
from pe_deploy.text.building import build_tokenizer
from pe_deploy.text.byte_tokenizer import ByteTokenizer
from pe_deploy.text.encoder import TextEncoder
from pe_deploy.text.given import texts_of
from pe_deploy.text.spec import LOWER, NFC, Truncation
from pe_deploy.text.tokenizer import Tokenizer
from pe_deploy.text.vocabulary_tokenizer import CharacterTokenizer, WordTokenizer

SIX = "\t\n\x0b\x0c\r "
ODD = "\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2028\u2029\u202f\u3000\ufeff\u200b"
WORDS = ["[PAD]", "[UNK]", "the", "cat", "Cat", "sat", "", "on"]


def encoder(
    tokenizer: Tokenizer, most: int = 8, truncation: Truncation | None = None, least: int = 1
) -> TextEncoder:
    sizes = (tokenizer.vocab_size, most, 2, tokenizer.pad_id, least)
    return TextEncoder(tokenizer, Signature(*sizes), truncation)


def words(unknown: int | None = 1, *normalizer: str) -> WordTokenizer:
    return WordTokenizer(WORDS, 0, unknown, normalizer)


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=9))
def test_bytes_are_the_bytes_of_utf8_and_255_is_none_of_them(texts: list[str]) -> None:
    texts = [text.encode(errors="replace").decode() for text in texts]
    rows = encoder(ByteTokenizer(), 80)(texts)
    assert rows.dtype == np.int64
    assert rows.shape == (len(texts), max(len(text.encode()) for text in texts))
    for row, text in zip(rows, texts, strict=True):
        assert bytes(row[row != 255].tolist()) == text.encode()
        assert set(row[len(text.encode()) :].tolist()) <= {255}


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from([*"thecatCon", *SIX, *ODD]), max_size=30))
def test_words_stand_between_the_white_space_of_ascii_alone(text: str) -> None:
    split = [word for word in re.split(f"[{SIX}]+", text) if word]
    known = {word: at for at, word in enumerate(WORDS) if at > 1 and word}
    ids = [known.get(word, 1) for word in split]
    assert words().tokens([text, "the cat"]).ids.tolist() == [*ids, 2, 3]
    assert words().tokens([text]).lengths == [len(ids)]


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from([*"abée", "\u0301", "\n", "🙂", "\\", "n"]), max_size=9))
def test_characters_are_code_points(text: str) -> None:
    entries = ["[PAD]", "[UNK]", "a", "b", "\n", "é", "\\"]
    made = CharacterTokenizer(entries, 0, 1)
    known = {entry: at for at, entry in enumerate(entries) if at > 1}
    assert made.tokens([text]).ids.tolist() == [known.get(each, 1) for each in text]


@pytest.mark.parametrize("made", [words(1, LOWER), words(1, NFC), words(1, NFC, LOWER)])
def test_normalizers_are_the_same_in_every_language(made: WordTokenizer) -> None:
    text = "THE CAT ÉÀ e\u0301 İ Σ"
    composed = unicodedata.normalize("NFC", text) if NFC in made.normalizer else text
    lower = re.sub("[A-Z]", lambda found: found[0].lower(), composed)
    assert made.split(text) == (lower if LOWER in made.normalizer else composed).split(" ")


@pytest.mark.parametrize(
    ("tokenizer", "text", "end", "start"),
    [
        (ByteTokenizer(), "abcdefghijk", b"abcdefgh", b"defghijk"),
        (ByteTokenizer(), "éééééé", "éééé".encode(), "éééé".encode()),
        (ByteTokenizer(), "aéééé", "aéééé".encode()[:8], "éééé".encode()),
        (words(), "the cat sat on " * 3, [2, 3, 5, 7] * 2, [2, 3, 5, 7] * 2),
        (words(), "the cat " + "sat " * 7, [2, 3, *[5] * 6], [3, *[5] * 7]),
        (CharacterTokenizer([*"[]ab"], None, 0), "ab" * 9 + "a", [2, 3] * 4, [3, 2] * 4),
    ],
)
def test_a_text_that_is_too_long_is_an_error_or_cut_at_one_end(
    tokenizer: Tokenizer, text: str, end: Any, start: Any
) -> None:
    with pytest.raises(InvalidInputError, match=r"row 1: the text has \d+ \w+; allowed: 1 to 8; "):
        encoder(tokenizer)([text[:4], text])
    for truncation, expected in (("end", end), ("start", start)):
        cut = encoder(tokenizer, truncation=truncation)  # type: ignore[arg-type]
        assert cut([text])[0].tolist() == list(expected)
        assert cut.truncated == 1
        cut([text[:4] * 2])
        assert cut.truncated == 1 + (len(tokenizer.tokens([text[:4] * 2]).ids) > 8)


def test_a_text_of_just_the_longest_length_is_not_cut() -> None:
    for tokenizer, text in ((ByteTokenizer(), "éééé"), (words(), " the" * 8 + " \n")):
        cut = encoder(tokenizer, truncation="end")
        assert cut([text]).shape == (1, 8)
        assert cut.truncated == 0


def test_cut_texts_are_counted_over_all_threads() -> None:
    cut = encoder(ByteTokenizer(), truncation="end")
    threads = [threading.Thread(target=lambda: [cut(["x" * 9, "y"]) for _ in range(200)])]
    threads += [threading.Thread(target=lambda: [cut(["x" * 9] * 2) for _ in range(200)])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cut.truncated == 600


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (["a", None], r"row 1: is None \(NoneType\); allowed: text"),
        (["a", float("nan")], r"row 1: is nan \(float\); allowed: text"),
        (["a", 3], r"row 1: is 3 \(int\)"),
        ([b"a"], "row 0: is bytes; allowed: text, as bytes.decode"),
        (["a", "b\ud83d"], r"row 1: character 1 is '\\ud83d', half a surrogate pair"),
        (["the", ""], "row 1: the text has 0 words; allowed: 1 to 8"),
        (["the", " \n"], "row 1: the text has 0 words"),
        (["the x", "x y z"], "row 1: none of its words .3. is in the vocabulary"),
    ],
)
def test_what_is_no_text_for_the_model_is_told_with_its_row(texts: list[Any], line: str) -> None:
    with pytest.raises(InvalidInputError, match=line) as caught:
        encoder(words())(texts)
    assert caught.value.row == int(line[4])


def test_a_vocabulary_without_an_unknown_token_names_what_it_lacks() -> None:
    for tokenizer, text in (
        (words(None), "the dog"),
        (CharacterTokenizer([*"\0the "], 0, None), "the d"),
    ):
        with pytest.raises(InvalidInputError, match=r"row 1: 'do?g?' is not in the vocabulary"):
            encoder(tokenizer)(["the", text])


def test_the_names_of_the_padding_and_the_unknown_token_are_text() -> None:
    assert encoder(words())(["the [PAD]", "[UNK] the [PAD]"]).tolist() == [[2, 1, 0], [1, 2, 1]]


def test_texts_of_differing_length_need_a_padding() -> None:
    without = encoder(WordTokenizer(["a", "b"], None, None))
    assert without(["a b", "b a"]).tolist() == [[0, 1], [1, 0]]
    with pytest.raises(InvalidInputError, match="row 1: the text has 1 words where row 0 has 2"):
        without(["a b", "a"])


def test_an_encoder_is_of_one_model() -> None:
    with pytest.raises(InvalidInputError, match="padding of the tokenizer is 0, of the model None"):
        TextEncoder(words(), Signature(8, 8))
    with pytest.raises(InvalidInputError, match="ids 0 to 7; allowed: 0 to 3"):
        TextEncoder(words(), Signature(4, 8, pad_id=0))


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (["a"], ["a"]),
        (("a", "b"), ["a", "b"]),
        (np.array(["a", "bc"]), ["a", "bc"]),
        (np.array(["a", None], object), ["a", None]),
        (deque(["a", "b"]), ["a", "b"]),
        (UserList(["a"]), ["a"]),
        (b"ab", None),
        (range(3), None),
        ([], None),
        ([[1, 2]], None),
        (np.array([[1, 2]]), None),
        ({"input_ids": [[1]]}, None),
    ],
)
def test_texts_are_told_from_rows_of_ids(value: Any, texts: list[Any] | None) -> None:
    assert texts_of(value) == texts


def test_columns_of_tables_are_texts() -> None:
    pa = pytest.importorskip("pyarrow")
    assert texts_of(pa.array(["a", None])) == ["a", None]
    assert texts_of(pa.chunked_array([["a"], ["b"]])) == ["a", "b"]


def test_one_text_alone_and_a_table_of_texts_are_errors() -> None:
    with pytest.raises(InvalidInputError, match=r"one text, 'abc'; allowed: a list of texts"):
        texts_of("abc")
    with pytest.raises(InvalidInputError, match=r"text of shape \[1, 2\]; allowed: one text a row"):
        texts_of(np.array([["a", "b"]]))


def test_a_vocabulary_is_built_the_same_in_any_order() -> None:
    texts = ["b a a", "c b", "[PAD] d d d"]
    made = build_tokenizer("words", texts)
    assert made.vocabulary() == ["", "", "d", "a", "b", "c"]
    assert build_tokenizer("words", texts[::-1]).data == made.data
    assert build_tokenizer("words", texts, vocab_size=4).vocabulary()[2:] == ["d", "a"]
    assert build_tokenizer("words", texts, min_count=3).vocabulary()[2:] == ["d"]
    assert build_tokenizer("characters", ["ba\n", "\n"]).data == b"[PAD]\n[UNK]\n\\n\na\nb\n"
    with pytest.raises(InvalidInputError, match="vocab_size is 2; allowed: 3 or more"):
        build_tokenizer("words", texts, vocab_size=2)
    with pytest.raises(InvalidInputError, match="min_count is 0; allowed: 1 or more"):
        build_tokenizer("words", texts, min_count=0)
    with pytest.raises(InvalidInputError, match="no words of the 3 texts stand there 9 times"):
        build_tokenizer("words", texts, min_count=9)
    with pytest.raises(InvalidInputError, match="bytes have no vocabulary to choose"):
        build_tokenizer("bytes", texts, min_count=2)
