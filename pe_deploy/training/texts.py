"""Texts to train on, made rows of ids by a tokenizer that has seen the training texts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import Signature
from pe_deploy.data import Dataset, TextDataset
from pe_deploy.errors import DataError, InvalidInputError
from pe_deploy.text.building import build_tokenizer
from pe_deploy.text.encoder import TextEncoder
from pe_deploy.text.reading import is_kind, read_tokenizer
from pe_deploy.text.spec import Truncation
from pe_deploy.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TextOptions:
    """How texts become rows of ids; see `train`."""

    tokenizer: str | Path | Tokenizer | None = None
    vocab_size: int | None = None
    max_length: int | None = None
    min_count: int = 1
    normalizer: tuple[str, ...] = ()
    truncation: Truncation | None = None


@dataclass(frozen=True)
class EncodedTexts:
    """Texts as rows of ids.

    Attributes:
        encoder: what made them, and makes others.
        rows: those to train on.
        validation: those to validate on, and None where there are none.
        validation_texts: the text of each of the latter.
        notes: a line on each thing that was left out.
    """

    encoder: TextEncoder
    rows: Dataset
    validation: Dataset | None
    validation_texts: tuple[str, ...]
    notes: tuple[str, ...]


def encode_texts(
    texts: TextDataset, validation: TextDataset | None, options: TextOptions
) -> EncodedTexts:
    """Make or read the tokenizer, and rows of ids of the texts, as wide as the longest of them.

    A text of which the tokenizer knows no token is left out: a model would learn of it what it
    answers to any such text.

    Raises:
        InvalidInputError: an option is out of range or for another kind of tokenizer.
        DataError: a text is too long or no Unicode, or all are left out; or the tokenizer's file
            cannot be read.
    """
    tokenizer = _tokenizer(options, texts.texts)
    texts, lengths, notes = _known(texts, tokenizer, "training")
    longest = int(lengths.max())
    if validation is not None:
        validation, lengths, more = _known(validation, tokenizer, "validation")
        longest, notes = max(longest, int(lengths.max())), notes + more
    length = longest if options.max_length is None else options.max_length
    signature = Signature(tokenizer.vocab_size, length, pad_id=tokenizer.pad_id)
    encoder = TextEncoder(tokenizer, signature, options.truncation)
    return EncodedTexts(
        encoder,
        _encoded(texts, encoder),
        None if validation is None else _encoded(validation, encoder),
        () if validation is None else tuple(validation.texts),
        notes,
    )


def _tokenizer(options: TextOptions, training_texts: Sequence[str]) -> Tokenizer:
    given = options.tokenizer
    if given is None:
        raise InvalidInputError(
            "tokenizer is None; allowed for texts: bytes, characters, words, or a file"
        )
    if isinstance(given, str) and is_kind(given):
        return build_tokenizer(
            given,
            training_texts,
            vocab_size=options.vocab_size,
            min_count=options.min_count,
            normalizer=options.normalizer,
        )
    if options.vocab_size is not None or options.min_count != 1:
        raise InvalidInputError(
            "vocab_size and min_count are for a vocabulary that is built of the training texts; "
            f"{given} brings its own"
        )
    if isinstance(given, Tokenizer):
        return given
    return read_tokenizer(given, normalizer=options.normalizer)


def _known(
    texts: TextDataset, tokenizer: Tokenizer, part: str
) -> tuple[TextDataset, NDArray[np.int64], tuple[str, ...]]:
    """The texts of which some token is known, how many tokens each has, and what to say of it."""
    try:
        tokens = tokenizer.tokens(list(texts.texts))
    except InvalidInputError as error:
        raise _bad_text(texts, error) from error
    except UnicodeEncodeError as error:
        raise DataError(
            f"a text holds {error.object[error.start]!r}, half a surrogate pair; "
            "allowed: Unicode text"
        ) from error
    lengths = np.array(tokens.lengths, np.int64)
    known = tokens.known(tokenizer.unknown_id) > tokenizer.around
    if not known.any():
        raise DataError(f"no {part} text holds a token that the tokenizer knows")
    if known.all():
        return texts, lengths, ()
    left_out = int((~known).sum())
    note = (
        f"{left_out:,} of {len(texts):,} {part} texts left out: "
        f"none of their {tokenizer.unit} is in the vocabulary"
    )
    return texts.take(np.flatnonzero(known)), lengths[known], (note,)


def _encoded(texts: TextDataset, encoder: TextEncoder) -> Dataset:
    try:
        ids = encoder(list(texts.texts))
    except InvalidInputError as error:
        raise _bad_text(texts, error) from error
    return Dataset(ids, texts.targets, texts.labels, encoder.signature.pad_id)


def _bad_text(texts: TextDataset, error: InvalidInputError) -> DataError:
    """Names the text by itself: after the split, its number in the file is not known."""
    where = "" if error.row is None else f"{texts.texts[error.row][:60]!r}: "
    return DataError(f"{where}{error.reason}")
