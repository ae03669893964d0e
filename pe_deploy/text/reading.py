"""A tokenizer as a user has it: a kind that needs no file, or a file or folder of theirs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

from pe_deploy.errors import DataError, InvalidInputError, line_of
from pe_deploy.text.byte_tokenizer import ByteTokenizer
from pe_deploy.text.spec import BYTE_PADDING, KINDS, MOST_IDS, TOKENIZER, Kind
from pe_deploy.text.tokenizer import Tokenizer
from pe_deploy.text.vocabulary_tokenizer import (
    CharacterTokenizer,
    WordTokenizer,
    check_distinct,
)

PADDINGS = ("[PAD]", "<pad>", "<PAD>", "[pad]", "__PAD__", "<blank>")
UNKNOWNS = ("[UNK]", "<unk>", "<UNK>", "[unk]", "__UNK__", "<oov>", "<OOV>")
"""What people call these two entries of a vocabulary."""

_LARGEST = 256 * 2**20
_PREFIX = re.compile(r"(words|characters):(.+)", re.DOTALL)
_SPECIAL = re.compile(r"[\[<_].*[\]>_]|")
_OF_PIECES = {"##": "WordPiece", "Ġ": "byte-level BPE", "▁": "SentencePiece", "</w>": "BPE"}
"""What stands at an end of the entries of a vocabulary that is not one of words."""

_SUPPORTED = "allowed: bytes, or a file: tokenizer.json, or words or characters in .txt or .json"


def is_kind(given: str) -> TypeGuard[Kind]:
    """Whether it is the name of a kind that a vocabulary can be built for, and no file."""
    return given in KINDS and given != TOKENIZER


def read_tokenizer(
    given: str | Path,
    *,
    pad_id: int | None = None,
    unknown_id: int | None = None,
    normalizer: tuple[str, ...] = (),
) -> Tokenizer:
    """Read a tokenizer; nothing is ever asked of a network.

    Args:
        given: "bytes"; a `tokenizer.json`, or a folder that holds one; a vocabulary: a file with a
            token on each line, or JSON, a list of tokens or an object from each to its id. What
            its tokens are is told by `words:FILE` or `characters:FILE`, or seen: where each is a
            single code point, they are characters.
        pad_id: that of the padding, where its entry has another name than `PADDINGS`, or none.
        unknown_id: that of unknown tokens, likewise, beside `UNKNOWNS`.
        normalizer: some of `NORMALIZERS`, for a vocabulary.

    Raises:
        DataError: the file cannot be read as a tokenizer that is supported, or is one that gives
            other ids each time.
        InvalidInputError: what is stated is not of the kind, or not in the file.
        MissingDependencyError: `tokenizers` is needed, and not installed.
    """
    text = str(given)
    if text == "bytes":
        if normalizer or unknown_id is not None or pad_id not in (None, BYTE_PADDING):
            raise InvalidInputError(
                f"bytes have no normalizer, no unknown id, and the padding {BYTE_PADDING}"
            )
        return ByteTokenizer()
    if is_kind(text):
        raise InvalidInputError(f"tokenizer is {text!r}, whose vocabulary is missing; {_SUPPORTED}")
    stated = _PREFIX.fullmatch(text)
    path = Path(stated[2] if stated else text)
    if path.is_dir():
        path = _in_folder(path)
    data = _bytes_of(path)
    values = _json_of(path, data)
    if isinstance(values, dict) and isinstance(values.get("model"), dict):
        if stated or normalizer:
            raise InvalidInputError(
                f"{path} brings its own kind of tokens and its normalizer; state neither"
            )
        return _of_json(path, values, pad_id, unknown_id)
    entries = _entries(path, data, values, is_stated=stated is not None)
    kind: Kind = "words"
    if stated:
        kind = "characters" if stated[1] == "characters" else "words"
    elif all(len(entry) == 1 for entry in entries if not _SPECIAL.fullmatch(entry)):
        kind = "characters"
    return _of_entries(path, kind, entries, pad_id, unknown_id, normalizer)


def _in_folder(folder: Path) -> Path:
    if (found := folder / TOKENIZER).is_file():
        return found
    held = ", ".join(sorted(each.name for each in folder.iterdir())[:10]) or "nothing"
    raise DataError(
        f"{folder} holds no {TOKENIZER} but {held}; transformers' "
        "tokenizer.save_pretrained(folder) of a fast tokenizer writes one"
    )


def _bytes_of(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path} has over {_LARGEST} bytes; allowed: as many or fewer")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; {_SUPPORTED}") from error
    except ValueError as error:  # a NUL character, say
        raise DataError(f"{path}: not a path: {error}") from error


def _json_of(path: Path, data: bytes) -> Any:
    """What a file of JSON holds; None where it is none, and need not be."""
    if path.suffix.lower() != ".json":
        return None
    try:
        values = json.loads(data, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {line_of(error)}") from error
    if isinstance(values, dict) and "tokenizer_class" in values:
        raise DataError(f"{path} is the settings of a tokenizer; give the {TOKENIZER} beside it")
    if isinstance(values, dict) and "added_tokens" in values and "model" not in values:
        raise DataError(f"{path} is a {TOKENIZER} without its model; {_SUPPORTED}")
    if isinstance(values, list | dict):
        return values
    raise DataError(f"{path} holds a JSON {type(values).__name__}; {_SUPPORTED}")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        key = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise ValueError(f"{key[:40]!r} is there twice")
    return values


def _entries(path: Path, data: bytes, values: Any, is_stated: bool) -> list[str]:
    """The token of each id, an empty text where there is none."""
    if isinstance(values, Mapping):
        entries = _of_mapping(path, values)
    elif isinstance(values, list):
        if wrong := [each for each in values if not isinstance(each, str)]:
            raise DataError(f"{path} lists {str(wrong[0])[:40]}; allowed: texts")
        entries = values
    else:
        entries = _lines(path, data)
    try:
        "".join(entries).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{path} holds half a surrogate pair; allowed: Unicode text") from error
    if not any(entries):
        raise DataError(f"{path} holds no token; {_SUPPORTED}")
    pieces = next((mark for mark in _OF_PIECES if _is_of_pieces(mark, entries)), None)
    if pieces is not None and not is_stated:
        raise DataError(
            f"{path} holds parts of words ({_OF_PIECES[pieces]}), which a vocabulary alone does "
            f"not say how to make; give the {TOKENIZER} of its tokenizer"
        )
    try:
        check_distinct(entries)
    except ValueError as error:
        raise DataError(f"{path}: {error}; allowed: each token once") from error
    return entries


def _is_of_pieces(mark: str, entries: list[str]) -> bool:
    marked = sum(
        len(entry) > len(mark) and (entry.startswith(mark) or entry.endswith(mark))
        for entry in entries
    )
    return marked >= max(2, len(entries) // 50)


def _of_mapping(path: Path, values: Mapping[str, Any]) -> list[str]:
    for token, at in values.items():
        if type(at) is not int or not 0 <= at < MOST_IDS:
            raise DataError(f"{path}: {token[:40]!r} has id {at!r}; allowed: 0 to {MOST_IDS - 1}")
    entries = [""] * (max(values.values(), default=-1) + 1)
    for token, at in values.items():
        if entries[at]:
            raise DataError(f"{path}: id {at} is both {entries[at][:40]!r} and {token[:40]!r}")
        entries[at] = token
    return entries


def _lines(path: Path, data: bytes) -> list[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; {_SUPPORTED}") from error
    if "\0" in text:
        raise DataError(f"{path} holds NUL characters, so it is no vocabulary; {_SUPPORTED}")
    lines = text.removesuffix("\n").split("\n")
    ended = [line.endswith("\r") for line in lines]
    if all(ended) or (all(ended[:-1]) and len(ended) > 1 and not text.endswith("\n")):
        return [line.removesuffix("\r") for line in lines]
    for number, line in enumerate(lines, 1):
        if line.endswith("\r") and line != "\r":  # which may be a character
            raise DataError(
                f"{path}: line {number} ends with CR and LF, others with LF alone; allowed: one "
                "end for all lines"
            )
    return lines


def _of_entries(
    path: Path,
    kind: Kind,
    entries: list[str],
    pad_id: int | None,
    unknown_id: int | None,
    normalizer: tuple[str, ...],
) -> Tokenizer:
    pad_id = _named(path, "padding", entries, PADDINGS, pad_id)
    unknown_id = _named(path, "unknown token", entries, UNKNOWNS, unknown_id)
    if pad_id is not None and pad_id == unknown_id:
        raise InvalidInputError(
            f"id {pad_id} is both the padding and the unknown token; allowed: two ids, since "
            "padding inside a row has no meaning"
        )
    highest = max(pad_id or 0, unknown_id or 0)
    entries = entries + [""] * (highest + 1 - len(entries))
    if kind == "characters":
        if path.suffix.lower() != ".json" and ("", "") in pairwise(entries):
            raise DataError(
                f"{path} has two empty lines in a row, as a character that ends lines leaves them; "
                "allowed: \\n for that one, or a list in JSON"
            )
        names = {pad_id, unknown_id}
        for at, entry in enumerate(entries):
            if at in names or len(entry) <= 1:
                continue
            if not _SPECIAL.fullmatch(entry):
                raise DataError(
                    f"{path}: {entry[:40]!r} is no single character; allowed with characters: "
                    "single ones"
                )
            entries[at] = ""  # a name that no text gives
        return CharacterTokenizer(entries, pad_id, unknown_id, normalizer)
    words = WordTokenizer(_reachable(entries, {pad_id, unknown_id}), pad_id, unknown_id, normalizer)
    if not any(words.vocabulary()):
        raise DataError(
            f"{path} holds no word: each of its {len(entries)} entries is a name or has white "
            f"space in it; {_SUPPORTED}"
        )
    return words


def _reachable(entries: list[str], names: set[int | None]) -> list[str]:
    """The entries without those with white space, which no word has."""
    return [
        entry if at in names or entry.encode().split() == [entry.encode()] else ""
        for at, entry in enumerate(entries)
    ]


def _named(
    path: Path, what: str, entries: list[str], names: Iterable[str], stated: int | None
) -> int | None:
    """The id of an entry that is a name; the stated one, where it can be it."""
    if stated is not None:
        entry = entries[stated] if 0 <= stated < len(entries) else ""
        if stated < 0 or (entry not in names and not _SPECIAL.fullmatch(entry)):
            raise InvalidInputError(
                f"{path}: id {stated}, stated for the {what}, is {entry[:40]!r}, which a text "
                "may hold; allowed: an id of no such token"
            )
        return stated
    found = [at for at, entry in enumerate(entries) if entry in names]
    if len(found) > 1:
        raise InvalidInputError(
            f"{path}: ids {', '.join(map(str, found))} may each be the {what}; state which"
        )
    return found[0] if found else None


def _of_json(
    path: Path, values: dict[str, Any], pad_id: int | None, unknown_id: int | None
) -> Tokenizer:
    from pe_deploy.text.json_tokenizer import JsonTokenizer

    if values["model"].get("dropout"):
        raise DataError(
            f"{path} has BPE dropout {values['model']['dropout']}, by which a text gives other ids "
            "each time; allowed: null, as it is for use"
        )
    left_out = []
    for setting, needed in (("truncation", "max_length"), ("padding", "strategy")):
        if settings := values.get(setting):
            if not isinstance(settings, dict):
                raise DataError(f"{path}: {setting} is {settings!r}; allowed: an object or null")
            shown = json.dumps(settings.get(needed), ensure_ascii=False)
            left_out.append(f"{setting}: {needed} {shown}, {settings.get('direction', 'Right')}")
    padding = values.get("padding") or {}
    own = {"truncation": None, "padding": None}
    try:
        data = json.dumps({**values, **own}, ensure_ascii=False, indent=2).encode()
        tokenizer = JsonTokenizer(data, None)
    except ValueError as error:  # half a surrogate pair is one, too
        raise DataError(f"{path}: {line_of(error)}") from error
    if unknown_id not in (None, tokenizer.unknown_id):
        raise InvalidInputError(
            f"the unknown id is {unknown_id}; allowed: {tokenizer.unknown_id}, the one that "
            f"{path} states"
        )
    known = [at for name in PADDINGS if (at := tokenizer.id_of(name)) is not None]
    own_id = padding.get("pad_id")
    if type(own_id) not in (int, type(None)):
        raise DataError(f"{path}: pad_id is {own_id!r}; allowed: an id")
    if pad_id is None:
        pad_id = padding.get("pad_id", known[0] if len(known) == 1 else None)
    if pad_id is not None and pad_id in tokenizer.tokens([""]).ids:
        raise DataError(
            f"{path} adds the id {pad_id} to each text, so it cannot be the padding; allowed: "
            "another pad_id"
        )
    tokenizer.pad_id = pad_id
    tokenizer.left_out = tuple(left_out)
    return tokenizer
