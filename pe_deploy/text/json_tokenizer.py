"""The kind `tokenizer.json`: whatever Hugging Face's `tokenizers` reads, run by that library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pe_deploy.errors import InvalidInputError, line_of, requires_extra
from pe_deploy.text.spec import MOST_IDS, Kind, Truncation
from pe_deploy.text.tokenizer import Tokenizer, Tokens, no_id

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine


class JsonTokenizer(Tokenizer):
    """Runs a `tokenizer.json` whose own truncation and padding are switched off.

    Texts are encoded one by one: `encode_batch` would start the library's threads, after which a
    forked process waits for ever. Names of special tokens in a text are text.

    Args:
        data: the bytes of the file.
        pad_id: that of the padding.

    Raises:
        MissingDependencyError: `tokenizers` is not installed.
        ValueError: the library does not read the file.
    """

    kind: ClassVar[Kind] = "tokenizer.json"

    def __init__(self, data: bytes, pad_id: int | None) -> None:
        self._data = data
        self.pad_id = pad_id
        self._shorter: dict[tuple[int, Truncation], Engine] = {}
        highest = max(self._engine.get_vocab(with_added_tokens=True).values(), default=-1)
        if highest >= MOST_IDS:
            raise ValueError(f"it has the id {highest}; allowed: 0 to {MOST_IDS - 1}")
        self.vocab_size = highest + 1
        values = json.loads(data)
        self.unknown_id = self._unknown_of(values["model"])
        self._part = values["model"].get("continuing_subword_prefix") or ""
        self.normalizer = tuple(_names(values.get("normalizer")))

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_engine"} | {"_shorter": {}}

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        return self._data

    @property
    def around(self) -> int:
        """How many special tokens each row gets."""
        return int(self._engine.num_special_tokens_to_add(is_pair=False))

    def tokens(
        self, texts: list[str], most: int | None = None, truncation: Truncation = "end"
    ) -> Tokens:
        """See `Tokenizer`; the library cuts, so that special tokens stay."""
        "".join(texts).encode()  # older releases of the library take half a surrogate pair
        engine = self._engine if most is None else self._of_length(most, truncation)
        rows: list[list[int]] = []
        cut = 0
        for row, text in enumerate(texts):
            with _told(row):
                encoding = engine.encode(text)
            rows.append(encoding.ids)
            if most == len(encoding) and encoding.overflowing:
                cut += 1
        ids = np.array(list(chain.from_iterable(rows)), np.int64)
        lengths = list(map(len, rows))
        if self.pad_id is not None and (is_padding := ids == self.pad_id).any():
            # Some models look the padding's name up as any other word.
            if self.unknown_id in (None, self.pad_id):
                at = int(is_padding.argmax())
                row = int(np.searchsorted(np.cumsum(lengths), at, side="right"))
                raise no_id(str(self._engine.id_to_token(self.pad_id)), row)
            ids[is_padding] = self.unknown_id
        return Tokens(ids, lengths, cut)

    def id_of(self, token: str) -> int | None:
        """The id of a token; None where it is not in the vocabulary."""
        found: int | None = self._engine.token_to_id(token)
        return found

    def vocabulary(self) -> list[str]:
        """What the library decodes each id to; of a part of a word, the part alone."""
        decode, part = self._engine.decode, self._part
        texts = (decode([one], skip_special_tokens=False) for one in range(self.vocab_size))
        return [text.removeprefix(part) if text != part else text for text in texts]

    @cached_property
    def _engine(self) -> Engine:
        with requires_extra("text"):
            from tokenizers import Tokenizer as Engine
        try:
            engine = Engine.from_str(self._data.decode())
        except BaseException as error:
            if not _is_the_librarys(error):
                raise
            raise ValueError(f"tokenizers does not read it: {line_of(error)}") from error
        engine.no_truncation()
        engine.no_padding()
        engine.encode_special_tokens = True
        return engine

    def _of_length(self, most: int, truncation: Truncation) -> Engine:
        """An engine that cuts texts, which is a setting of the engine."""
        key = (most, truncation)
        if key not in self._shorter:
            from tokenizers import Tokenizer as Engine

            engine = Engine.from_str(self._data.decode())
            engine.no_padding()
            engine.encode_special_tokens = True
            # By its end or start, as the library has it: the side that is cut.
            engine.enable_truncation(most, direction="right" if truncation == "end" else "left")
            self._shorter[key] = engine
        return self._shorter[key]

    def _unknown_of(self, model: dict[str, Any]) -> int | None:
        name = model.get("unk_token")
        known = model.get("unk_id") if name is None else self._engine.token_to_id(name)
        return known if type(known) is int else None


@contextmanager
def _told(row: int) -> Iterator[None]:
    """Say on which text the library failed."""
    try:
        yield
    except BaseException as error:
        if not _is_the_librarys(error):
            raise
        raise InvalidInputError(f"tokenizers fails: {line_of(error)}", row=row) from error


def _is_the_librarys(error: BaseException) -> bool:
    """Whether the library raised it: a Rust panic is no `Exception`."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _names(normalizer: Any) -> Iterator[str]:
    if not isinstance(normalizer, dict):
        return
    if isinstance(inner := normalizer.get("normalizers"), list):
        for each in inner:
            yield from _names(each)
    else:
        yield str(normalizer.get("type"))
