"""From texts to the rows of ids that a model takes: checked, cut where that is wanted, padded."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np

from pe_deploy.errors import InvalidInputError
from pe_deploy.text.spec import TextSpec, check_truncation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pe_deploy.config import Signature
    from pe_deploy.text.spec import Truncation
    from pe_deploy.text.tokenizer import Tokenizer, Tokens


class TextEncoder:
    """Makes rows of ids of texts; many threads may use one.

    Args:
        tokenizer: makes ids of a text.
        signature: what rows the model takes.
        truncation: which end of a text that is too long is cut off; without it, that is an error.

    Raises:
        InvalidInputError: the ids of the tokenizer are not those of the model, or no row has room
            for a token.
    """

    def __init__(
        self, tokenizer: Tokenizer, signature: Signature, truncation: Truncation | None = None
    ) -> None:
        if truncation is not None:
            check_truncation(truncation)
        if tokenizer.pad_id != signature.pad_id:
            raise InvalidInputError(
                f"the padding of the tokenizer is {tokenizer.pad_id}, of the model "
                f"{signature.pad_id}; allowed: the same"
            )
        if tokenizer.vocab_size > signature.vocab_size:
            raise InvalidInputError(
                f"the tokenizer gives ids 0 to {tokenizer.vocab_size - 1}; "
                f"allowed: 0 to {signature.vocab_size - 1}, which the model takes"
            )
        if tokenizer.around >= signature.max_length:
            raise InvalidInputError(
                f"the tokenizer adds {tokenizer.around} ids to each text; allowed: fewer than "
                f"max_length {signature.max_length}"
            )
        self.tokenizer = tokenizer
        self.signature = signature
        self.truncation = truncation
        # By thread, as each adds to its own: no lock that a fork could leave locked.
        self._cut: dict[int, int] = {}

    @property
    def spec(self) -> TextSpec:
        """What a manifest states of it."""
        made = self.tokenizer
        return TextSpec(
            made.kind,
            self.signature.max_length,
            made.pad_id,
            made.unknown_id,
            made.normalizer,
            self.truncation,
            made.left_out,
        )

    @property
    def truncated(self) -> int:
        """How many texts were cut so far."""
        return sum(list(self._cut.values()))

    def __call__(self, texts: list[str]) -> NDArray[np.int64]:
        """The rows of some texts, int64 `[texts, longest]`, `[0, 0]` for none.

        Raises:
            InvalidInputError: naming the first text that is none, holds half a surrogate pair, has
                too few or too many tokens, or none that is in the vocabulary.
        """
        if not {*map(type, texts)} <= {str}:
            _check_types(texts)
        signature = self.signature
        most = None if self.truncation is None else signature.max_length
        try:
            tokens = self.tokenizer.tokens(texts, most, self.truncation or "end")
        except UnicodeEncodeError:
            raise _no_unicode(texts) from None
        lengths = tokens.lengths
        if not lengths:
            return np.empty((0, 0), np.int64)
        longest, shortest = max(lengths), min(lengths)
        if longest > signature.max_length or shortest < signature.min_length:
            raise self._wrong_length(lengths)
        if self.tokenizer.unknown_id is not None:
            self._check_known(tokens)
        if tokens.cut:
            thread = get_ident()
            self._cut[thread] = self._cut.get(thread, 0) + tokens.cut
        if longest == shortest:
            return tokens.ids.reshape(len(texts), longest)
        if signature.pad_id is None:
            raise self._ragged(lengths)
        rows = np.full((len(texts), longest), signature.pad_id, np.int64)
        rows[np.arange(longest) < np.array(lengths)[:, None]] = tokens.ids
        return rows

    def _check_known(self, tokens: Tokens) -> None:
        """Refuse a text of which nothing is known: an answer to it would be one to any such."""
        if (tokens.ids != self.tokenizer.unknown_id).all():
            return
        around = self.tokenizer.around
        known = tokens.known(self.tokenizer.unknown_id)
        unknown = (known <= around) & (np.array(tokens.lengths) > around)
        if unknown.any():
            row = int(unknown.argmax())
            number = tokens.lengths[row] - around
            raise InvalidInputError(
                f"none of its {self.tokenizer.unit} ({number}) is in the vocabulary; "
                "allowed: a text with one or more that is",
                row=row,
            )

    def _wrong_length(self, lengths: list[int]) -> InvalidInputError:
        shortest, longest = self.signature.min_length, self.signature.max_length
        row = next(i for i, length in enumerate(lengths) if not shortest <= length <= longest)
        too_long = lengths[row] > longest
        cure = "; truncation='end' or 'start' cuts such texts" if too_long else ""
        return InvalidInputError(
            f"the text has {lengths[row]} {self.tokenizer.unit}; "
            f"allowed: {shortest} to {longest}{cure}",
            row=row,
        )

    def _ragged(self, lengths: list[int]) -> InvalidInputError:
        row = next(i for i, length in enumerate(lengths) if length != lengths[0])
        unit = self.tokenizer.unit
        return InvalidInputError(
            f"the text has {lengths[row]} {unit} where row 0 has {lengths[0]}; "
            "texts of differing length need a model with a pad_id",
            row=row,
        )


def _check_types(texts: list[Any]) -> None:
    for row, text in enumerate(texts):
        if isinstance(text, str):
            continue
        if isinstance(text, bytes | bytearray):
            raise InvalidInputError("is bytes; allowed: text, as bytes.decode() gives", row=row)
        shown = repr(text)[:60]
        raise InvalidInputError(f"is {shown} ({type(text).__name__}); allowed: text", row=row)


def _no_unicode(texts: list[str]) -> InvalidInputError:
    for row, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return InvalidInputError(
                f"character {error.start} is {text[error.start]!r}, half a surrogate pair; "
                "allowed: Unicode text",
                row=row,
            )
    raise AssertionError("each text has a UTF-8 form")
