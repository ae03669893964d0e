"""The kind `bytes`: the ids are the bytes of the text in UTF-8, as they are."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pe_deploy.text.spec import BYTE_PADDING, Kind, Truncation
from pe_deploy.text.tokenizer import Tokenizer, Tokens

VOCAB_SIZE = 256


class ByteTokenizer(Tokenizer):
    """Needs no file, knows every text, and is one line in any language.

    >>> ByteTokenizer().tokens(["né"]).ids
    array([110, 195, 169])
    """

    kind: ClassVar[Kind] = "bytes"
    unit: ClassVar[str] = "bytes"
    vocab_size = VOCAB_SIZE
    pad_id = BYTE_PADDING

    def tokens(
        self, texts: list[str], most: int | None = None, truncation: Truncation = "end"
    ) -> Tokens:
        """See `Tokenizer`; a text may be cut inside a character, as at any other byte."""
        cut = 0
        if most is None:
            rows = [text.encode() for text in texts]
        else:
            # A character has a byte or more, so that cutting the text first leaves enough of them.
            part = slice(most) if truncation == "end" else slice(-most, None)
            rows = [text[part].encode()[part] for text in texts]
            cut = sum(
                len(text) > most or len(text.encode()) > most
                for text, row in zip(texts, rows, strict=True)
                if len(row) == most
            )
        ids = np.frombuffer(b"".join(rows), np.uint8).astype(np.int64)
        return Tokens(ids, list(map(len, rows)), cut)

    def vocabulary(self) -> list[str]:
        """The characters of ASCII; for other bytes a character that holds it, if one does."""
        found = [""] * VOCAB_SIZE
        for code in (*range(0x80), *range(0x80, 0x800), *range(0x800, 0xD800, 64), *_HIGH):
            character = chr(code)
            for byte in character.encode():
                found[byte] = found[byte] or character
        return found


_HIGH = (*range(0xE000, 0x10000, 64), *range(0x10000, 0x110000, 4096))
