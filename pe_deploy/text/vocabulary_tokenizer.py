"""The kinds `words` and `characters`: a vocabulary in `vocab.txt`, an id a line.

An empty line is an id that no text gives. The lines of the padding and of the unknown token are
names, not tokens: a text that says "[PAD]" is a text.
"""

from __future__ import annotations

import unicodedata
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pe_deploy.text.spec import LOWER, NFC, Kind, Truncation
from pe_deploy.text.tokenizer import Tokenizer, Tokens, no_id

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NEWLINE = "\\n"
"""How a line states the character that ends lines; characters are single, so it is no other one."""


class VocabularyTokenizer(Tokenizer):
    """Looks tokens up.

    Args:
        entries: the token of each id; an empty one where no text gives the id.
        pad_id: that of the padding.
        unknown_id: that of each token which is not among the entries; without it, such a token is
            an error.
        normalizer: some of `NORMALIZERS`.
    """

    def __init__(
        self,
        entries: Sequence[str],
        pad_id: int | None,
        unknown_id: int | None,
        normalizer: tuple[str, ...] = (),
    ) -> None:
        self.entries = list(entries)
        self.vocab_size = len(self.entries)
        self.pad_id = pad_id
        self.unknown_id = unknown_id
        self.normalizer = normalizer
        self._names = {pad_id, unknown_id} - {None}

    @property
    def data(self) -> bytes:
        """The bytes of `vocab.txt`: UTF-8, each entry with a line feed behind it."""
        lines = (_NEWLINE if entry == "\n" else entry for entry in self.entries)
        return "".join(f"{line}\n" for line in lines).encode()

    def vocabulary(self) -> list[str]:
        """The entries, but for those that are names."""
        return ["" if at in self._names else entry for at, entry in enumerate(self.entries)]

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """The tokens of a text, in their order, whether they are in the vocabulary or not."""

    def _normal(self, texts: list[str]) -> list[str]:
        if NFC in self.normalizer:
            texts = [unicodedata.normalize("NFC", text) for text in texts]
        if LOWER in self.normalizer:
            # Bytes know the letters of ASCII alone.
            texts = [text.encode().lower().decode() for text in texts]
        return texts

    @abstractmethod
    def tokens(
        self, texts: list[str], most: int | None = None, truncation: Truncation = "end"
    ) -> Tokens:
        """See `Tokenizer`."""


class WordTokenizer(VocabularyTokenizer):
    r"""Words stand between white space: U+0009 to U+000D and U+0020, in any number.

    These six are white space to every language and to the operator `StringSplit`, which are not
    of one mind on others, such as U+0085, U+00A0 and U+FEFF.

    >>> WordTokenizer(["[PAD]", "[UNK]", "a"], 0, 1).tokens(["a\tbb  a"]).ids
    array([2, 1, 2])
    """

    kind: ClassVar[Kind] = "words"
    unit: ClassVar[str] = "words"

    def split(self, text: str) -> list[str]:
        """See `VocabularyTokenizer`."""
        return [word.decode() for word in self._normal([text])[0].encode().split()]

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        return {entry.encode(): at for at, entry in enumerate(self.vocabulary()) if entry}

    def tokens(
        self, texts: list[str], most: int | None = None, truncation: Truncation = "end"
    ) -> Tokens:
        """See `Tokenizer`; what is cut off is not looked up."""
        # `bytes.split` splits at just the white space of ASCII.
        rows = [text.encode() for text in self._normal(texts)]
        cut = 0
        if most is None:
            words = [row.split() for row in rows]
        else:
            at_end = truncation == "end"
            split = bytes.split if at_end else bytes.rsplit
            part = slice(most) if at_end else slice(-most, None)
            longer = [split(row, None, most) for row in rows]
            words = [row[part] for row in longer]
            cut = sum(len(row) > most for row in longer)
        get, unknown = self._ids.get, self.unknown_id
        ids = [get(word, unknown) for row in words for word in row]
        if unknown is None and None in ids:
            row, word = next(
                (row, word) for row, some in enumerate(words) for word in some if get(word) is None
            )
            raise no_id(word.decode(), row)
        return Tokens(np.array(ids, np.int64), list(map(len, words)), cut)


class CharacterTokenizer(VocabularyTokenizer):
    """Tokens are code points, white space among them.

    >>> CharacterTokenizer(["[PAD]", "[UNK]", "a"], 0, 1).tokens(["abba"]).ids
    array([2, 1, 1, 2])
    """

    kind: ClassVar[Kind] = "characters"
    unit: ClassVar[str] = "characters"

    def split(self, text: str) -> list[str]:
        """See `VocabularyTokenizer`."""
        return list(self._normal([text])[0])

    @cached_property
    def _ids(self) -> NDArray[np.int64]:
        """The id of each code point up to one above the highest that has one."""
        known = {ord(entry): at for at, entry in enumerate(self.vocabulary()) if entry}
        unknown = -1 if self.unknown_id is None else self.unknown_id
        table = np.full(max(known, default=0) + 2, unknown, np.int64)
        table[list(known)] = list(known.values())
        return table

    def tokens(
        self, texts: list[str], most: int | None = None, truncation: Truncation = "end"
    ) -> Tokens:
        """See `Tokenizer`."""
        rows, cut = self._normal(texts), 0
        if most is not None:
            cut = sum(len(row) > most for row in rows)
            part = slice(most) if truncation == "end" else slice(-most, None)
            rows = [row[part] for row in rows]
        codes = np.frombuffer("".join(rows).encode("utf-32-le"), np.uint32)
        ids = self._ids[np.minimum(codes, len(self._ids) - 1)]
        if self.unknown_id is None and (ids < 0).any():
            row = next(row for row, text in enumerate(rows) if not self._knows(text))
            raise no_id(next(each for each in rows[row] if not self._knows(each)), row)
        return Tokens(ids, list(map(len, rows)), cut)

    def _knows(self, text: str) -> bool:
        top = len(self._ids) - 1
        return all(self._ids[min(ord(character), top)] >= 0 for character in text)


def entries_of(data: bytes, kind: Kind) -> list[str]:
    """The entries of a bundle's `vocab.txt`.

    Raises:
        ValueError: it is not UTF-8, its last line has no end, or an entry is there twice.
    """
    text = data.decode()
    if text and not text.endswith("\n"):
        raise ValueError("the last line has no end")
    entries = text.split("\n")[:-1]
    check_distinct(entries)
    if kind == "characters":
        return ["\n" if entry == _NEWLINE else entry for entry in entries]
    return entries


def check_distinct(entries: Sequence[str]) -> None:
    """Check that no entry but the empty one is there twice.

    Raises:
        ValueError: naming the first that is, and its ids.
    """
    seen: dict[str, int] = {}
    for at, entry in enumerate(entries):
        if entry and seen.setdefault(entry, at) != at:
            raise ValueError(f"{entry[:40]!r} is both id {seen[entry]} and id {at}")
