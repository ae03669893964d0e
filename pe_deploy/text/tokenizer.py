"""What every kind of tokenizer does: texts in, the ids of all of them in one array out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from pe_deploy.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pe_deploy.text.spec import Kind, Truncation


class Tokens(NamedTuple):
    """The ids of some texts.

    Attributes:
        ids: int64 `[ids of all texts]`, those of one text after the other.
        lengths: how many of them each text has.
        cut: how many texts were cut.
    """

    ids: NDArray[np.int64]
    lengths: list[int]
    cut: int = 0

    def known(self, unknown_id: int | None) -> NDArray[np.int64]:
        """How many ids of each text are not that of unknown tokens, int64 `[texts]`."""
        ends = np.cumsum(self.lengths)
        counted = np.concatenate([[0], np.cumsum(self.ids != unknown_id)])
        known: NDArray[np.int64] = counted[ends] - counted[ends - self.lengths]
        return known


class Tokenizer(ABC):
    """From texts to ids; the same text gives the same ids, always and everywhere.

    Attributes:
        kind: what a token is.
        unit: what an error calls several tokens.
        vocab_size: one more than the highest id that a text may give.
        pad_id: the id of the padding that the vocabulary has; None where it has none.
        unknown_id: the id of a token that is not in it; None where that is an error.
        normalizer: what a text goes through first; see `TextSpec`.
        left_out: settings of the file that was read which are not taken over, a line each.
    """

    kind: ClassVar[Kind]
    unit: ClassVar[str] = "tokens"
    vocab_size: int
    pad_id: int | None = None
    unknown_id: int | None = None
    normalizer: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @abstractmethod
    def tokens(
        self, texts: list[str], most: int | None = None, truncation: Truncation = "end"
    ) -> Tokens:
        """The ids of each text, without padding; of at most so many, where `most` is given.

        Raises:
            UnicodeEncodeError: a text holds half a surrogate pair, which is no character.
            InvalidInputError: a token has no id; `row` is that of its text.
        """

    @property
    def data(self) -> bytes:
        """The bytes of the bundle's file; none where the kind needs none."""
        return b""

    @property
    def around(self) -> int:
        """How many ids stand in every row, whatever the text is: `[CLS]` and the like."""
        return 0

    @abstractmethod
    def vocabulary(self) -> list[str]:
        """For each id a text that may give it, by itself or in others; empty where none does."""


def no_id(token: str, row: int) -> InvalidInputError:
    """The error for a token that is not in a vocabulary without an id for unknown ones."""
    return InvalidInputError(
        f"{token[:40]!r} is not in the vocabulary, which has no id for unknown tokens", row=row
    )
