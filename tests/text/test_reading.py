"""Tokenizers as people have them: vocabularies in several forms, and files from hubs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pe_deploy import DataError, InvalidInputError
from pe_deploy.text.opening import open_tokenizer
from pe_deploy.text.probes import PROBES
from pe_deploy.text.reading import read_tokenizer
from pe_deploy.text.spec import BYTE_PADDING, TextSpec, Truncation
from pe_deploy.text.vocabulary_tokenizer import entries_of


@pytest.mark.parametrize(
    ("name", "content", "text", "ids"),
    [
        ("vocab.txt", b"[PAD]\n[UNK]\nthe\ncat\n", "cat the dog", [3, 2, 1]),
        ("vocab.txt", "\ufeff<pad>\r\n<unk>\r\nthe\r\nça\r\n".encode(), "ça the", [3, 2]),
        ("vocab.txt", b"[PAD]\n[UNK]\nthe\ncat", "cat", [3]),
        ("vocab.txt", b"[PAD]\r\n[UNK]\r\nthe\r\ncat", "cat", [3]),
        ("vocab.txt", b"[PAD]\n[UNK]\n cat\ncat\nNew York\n", "New cat", [1, 3]),
        ("letters.txt", b"[PAD]\n[UNK]\na\n\r\nb\n", "b\ra", [4, 3, 2]),
        ("vocab.json", b'{"<unk>": 1, "the": 3, "<pad>": 0}', "a the", [1, 3]),
        ("vocab.json", b'["<pad>", "<unk>", "the", "a b"]', "a b the", [1, 1, 2]),
        ("letters.txt", b"[PAD]\n[UNK]\na\nb\n \n", "a cb", [2, 4, 1, 3]),
        ("letters.json", b'{"a": 0, "b": 1, "\\n": 2}', "b\na", [1, 2, 0]),
    ],
)
def test_a_vocabulary_in_any_form_gives_its_ids(
    tmp_path: Path, name: str, content: bytes, text: str, ids: list[int]
) -> None:
    (file := tmp_path / name).write_bytes(content)
    made = read_tokenizer(file)
    assert made.tokens([text]).ids.tolist() == ids
    spec = TextSpec(made.kind, 9, made.pad_id, made.unknown_id)
    again = open_tokenizer(spec, made.data)
    assert again.tokens([text]).ids.tolist() == ids
    assert again.data == made.data


def test_what_single_letters_are_can_be_stated(tmp_path: Path) -> None:
    (file := tmp_path / "bases.txt").write_text("A\nC\nG\nT\n[PAD]\n")
    assert read_tokenizer(file).kind == "characters"
    assert read_tokenizer(f"words:{file}").kind == "words"
    (tmp_path / "longer.txt").write_text("A\nCG\n")
    with pytest.raises(DataError, match="'CG' is no single character"):
        read_tokenizer(f"characters:{tmp_path / 'longer.txt'}")


def test_ids_without_a_name_are_stated(tmp_path: Path) -> None:
    (file := tmp_path / "vocab.json").write_text('{"the": 2, "cat": 3}')
    made = read_tokenizer(file, pad_id=0, unknown_id=1)
    assert (made.pad_id, made.unknown_id) == (0, 1)
    assert made.tokens(["the dog"]).ids.tolist() == [2, 1]
    assert read_tokenizer(file).unknown_id is None
    assert read_tokenizer(file, unknown_id=7).vocab_size == 8
    with pytest.raises(InvalidInputError, match="id 2, stated for the padding, is 'the', which a"):
        read_tokenizer(file, pad_id=2)
    with pytest.raises(InvalidInputError, match="id 0 is both the padding and the unknown token"):
        read_tokenizer(file, pad_id=0, unknown_id=0)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("vocab.txt", b"the\nthe\n", "'the' is both id 0 and id 1"),
        ("vocab.txt", b"", "holds no token"),
        ("vocab.txt", b"[PAD]\nthe\ncat\r\nsat\n", "line 3 ends with CR and LF, others with LF"),
        ("vocab.txt", b"New York\nthe 100\n", "holds no word: each of its 2 entries"),
        ("letters.txt", b"a\n\n\nb\n", "two empty lines in a row"),
        ("vocab.json", b'{"the": 1, "the": 2}', "'the' is there twice"),
        ("vocab.txt", b"\xff\xfe", "not UTF-8"),
        ("vocab.txt", b"\x80\x04\x95pickle", "not UTF-8"),
        ("spiece.model", b"a\0b", "NUL characters, so it is no vocabulary"),
        ("vocab.txt", b"[PAD]\n[UNK]\nthe\n##ing\n##s\n", "WordPiece.*give the tokenizer.json"),
        ("vocab.json", '{"a": 0, "Ġthe": 1, "Ġa": 2}'.encode(), "byte-level BPE"),
        ("vocab.json", b'{"a": -1}', "'a' has id -1; allowed: 0 to"),
        ("vocab.json", b'{"a": 1.0}', "'a' has id 1.0"),
        ("vocab.json", b'{"a": 0, "b": 0}', "id 0 is both 'a' and 'b'"),
        ("vocab.json", b'["a", 3]', "lists 3; allowed: texts"),
        ("vocab.json", b"[", "not JSON"),
        ("vocab.json", b"3", "holds a JSON int"),
        ("tokenizer_config.json", b'{"tokenizer_class": "B"}', "settings of a tokenizer; give"),
    ],
)
def test_what_is_no_vocabulary_is_refused_in_a_line(
    tmp_path: Path, name: str, content: bytes, line: str
) -> None:
    (file := tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=line):
        read_tokenizer(file)


def test_what_is_no_tokenizer_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.txt: No such file.*; allowed: bytes, or a file"):
        read_tokenizer(tmp_path / "none.txt")
    with pytest.raises(DataError, match=r"holds no tokenizer\.json but nothing"):
        read_tokenizer(tmp_path)
    with pytest.raises(InvalidInputError, match="'words', whose vocabulary is missing"):
        read_tokenizer("words")
    (tmp_path / "two.txt").write_text("[PAD]\n<pad>\nthe\n")
    with pytest.raises(InvalidInputError, match="ids 0, 1 may each be the padding; state which"):
        read_tokenizer(tmp_path / "two.txt")
    with pytest.raises(InvalidInputError, match="bytes have no normalizer"):
        read_tokenizer("bytes", pad_id=0)
    assert read_tokenizer("bytes", pad_id=BYTE_PADDING).kind == "bytes"


@pytest.mark.parametrize("data", [b"a\nb", b"a\na\n", b"\xff\n"])
def test_a_damaged_vocabulary_of_a_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no end|both id 0 and id 1|decode"):
        entries_of(data, "words")


PIECES = Path(__file__).parent.parent / "bundles" / "pieces" / "tokenizer.json"


def changed(folder: Path, **changes: Any) -> Path:
    values = json.loads(PIECES.read_bytes())
    (file := folder / "tokenizer.json").write_text(json.dumps({**values, **changes}))
    return file


def test_settings_of_a_tokenizer_json_are_taken_out_and_told(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    truncation = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    padding = {
        "strategy": {"Fixed": 20},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    changed(tmp_path, truncation=truncation, padding=padding)
    made = read_tokenizer(tmp_path)  # the folder, as from a hub
    assert made.left_out == (
        "truncation: max_length 4, Right",
        'padding: strategy {"Fixed": 20}, Left',
    )
    assert (made.pad_id, made.unknown_id, made.around) == (0, 1, 2)
    assert made.normalizer == ("BertNormalizer",)
    assert made.tokens(["the cat eats the fish"]).lengths == [7]
    stored = json.loads(made.data)
    assert stored["truncation"] is None
    assert stored["padding"] is None
    spec = TextSpec(made.kind, 9, 0, 1, made.normalizer, left_out=made.left_out)
    assert open_tokenizer(spec, made.data).left_out == made.left_out


def test_a_tokenizer_that_draws_lots_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    model = {"type": "BPE", "dropout": 0.1, "vocab": {"a": 0}, "merges": []}
    with pytest.raises(DataError, match=r"BPE dropout 0.1, by which a text gives other ids"):
        read_tokenizer(changed(tmp_path, model=model))
    with pytest.raises(DataError, match="tokenizers does not read it"):
        read_tokenizer(changed(tmp_path, model={"type": "Nothing"}))
    with pytest.raises(InvalidInputError, match="brings its own kind of tokens and its normalizer"):
        read_tokenizer(PIECES, normalizer=("nfc",))
    with pytest.raises(InvalidInputError, match="unknown id is 5; allowed: 1"):
        read_tokenizer(PIECES, unknown_id=5)


def test_a_name_that_the_model_looks_up_as_a_word_is_no_padding(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    model = {"type": "WordLevel", "vocab": {"[PAD]": 0, "[UNK]": 1, "a": 2}, "unk_token": "[UNK]"}
    split = {"type": "WhitespaceSplit"}
    made = read_tokenizer(
        changed(tmp_path, model=model, pre_tokenizer=split, post_processor=None, added_tokens=[])
    )
    assert made.tokens(["a [PAD] a"]).ids.tolist() == [2, 1, 2]


def test_the_ids_of_a_tokenizer_json_are_its_librarys() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    library = tokenizers.Tokenizer.from_file(str(PIECES))
    library.encode_special_tokens = True
    made = read_tokenizer(PIECES)
    words = " ".join(made.vocabulary()).split()
    texts = [*PROBES, *(f"{one} {two}! {one}{two}" for one in words for two in words)]
    assert len(texts) > 2000
    tokens = made.tokens(texts)
    assert tokens.ids.tolist() == [one for text in texts for one in library.encode(text).ids]
    cuts: list[tuple[int, Truncation, str]] = [(5, "end", "right"), (7, "start", "left")]
    for most, truncation, side in cuts:
        library.enable_truncation(most, direction=side)
        cut = made.tokens(texts, most, truncation)
        assert cut.ids.tolist() == [one for text in texts for one in library.encode(text).ids]
        assert cut.cut == sum(length > most for length in tokens.lengths)


def test_a_vocabulary_that_looks_like_parts_of_words_can_be_stated(tmp_path: Path) -> None:
    (file := tmp_path / "maltese.txt").write_text("Ġunju\nĠimgħa\nil-\n", "utf-8")
    with pytest.raises(DataError, match="byte-level BPE"):
        read_tokenizer(file)
    assert read_tokenizer(f"words:{file}").tokens(["Ġimgħa"]).ids.tolist() == [1]


def test_a_padding_that_stands_in_every_row_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    with pytest.raises(DataError, match="adds the id 3 to each text, so it cannot be the padding"):
        read_tokenizer(changed(tmp_path), pad_id=3)
