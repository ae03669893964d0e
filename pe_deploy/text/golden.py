"""`golden.texts.json`: texts and the ids that they gave, so that any change of the way is seen.

Golden logits begin at the ids: they do not see that two rare words are exchanged, or that another
version of a library cuts a text elsewhere. These do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pe_deploy.errors import InvalidInputError
from pe_deploy.storage import strict_json
from pe_deploy.text.probes import texts_to_try

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pe_deploy.config import Signature
    from pe_deploy.text.encoder import TextEncoder

Encode = Callable[[list[str]], "NDArray[np.int64]"]
"""From texts to rows of ids, right-padded."""

_BATCH = 64


class GoldenText(NamedTuple):
    """A text, and the ids that it gave; None where it is refused."""

    text: str
    ids: tuple[int, ...] | None


def golden_texts(encoder: TextEncoder, real: Iterable[str] = ()) -> list[GoldenText]:
    """The texts to try, each with the ids that it gives, encoded alone.

    Raises:
        InvalidInputError: no text gives ids.
    """
    made = [_recorded(encoder, text) for text in texts_to_try(encoder, real)]
    if all(each.ids is None for each in made):
        raise InvalidInputError(
            "the tokenizer gives no ids for any text that was tried; allowed: one whose "
            "vocabulary holds tokens that a text may hold"
        )
    return made


def _recorded(encoder: TextEncoder, text: str) -> GoldenText:
    try:
        return GoldenText(text, tuple(encoder([text])[0].tolist()))
    except InvalidInputError:
        return GoldenText(text, None)


def first_difference(
    encode: Encode, golden: Sequence[GoldenText], signature: Signature
) -> str | None:
    """What is encoded otherwise than it was recorded, in a line; None where nothing is.

    Texts that gave ids are encoded in batches, whose shorter rows are padded on the right; those
    that were refused one by one.
    """
    taken = [each for each in golden if each.ids is not None]
    size = 1 if signature.pad_id is None else _BATCH
    for start in range(0, len(taken), size):
        if found := _difference_in(encode, taken[start : start + size], signature.pad_id or 0):
            return found
    for text, ids in golden:
        if ids is None:
            try:
                given = encode([text])
            except InvalidInputError:
                continue
            return f"text {_shown(text)} gives ids {_few(given[0].tolist())}; it was refused"
    return None


def _difference_in(encode: Encode, batch: Sequence[GoldenText], pad_id: int) -> str | None:
    try:
        given = encode([each.text for each in batch])
    except InvalidInputError as error:
        return f"text {_shown(batch[error.row or 0].text)} is refused: {error.reason}"
    longest = max(len(ids or ()) for _, ids in batch)
    expected = np.full((len(batch), longest), pad_id, np.int64)
    for row, (_, ids) in enumerate(batch):
        expected[row, : len(ids or ())] = ids or ()
    if given.shape == expected.shape and (given == expected).all():
        return None
    for row, (text, ids) in enumerate(batch):
        if row >= len(given) or given[row].tolist() != expected[row].tolist():
            found = given[row].tolist() if row < len(given) else []
            return f"text {_shown(text)} gives ids {_few(found)}; recorded: {_few(ids or ())}"
    return f"{len(batch)} texts give ids of shape {list(given.shape)}"


def texts_to_bytes(golden: Sequence[GoldenText]) -> bytes:
    """The bytes of `golden.texts.json`, a line a text."""
    lines = (json.dumps([text, ids], ensure_ascii=False) for text, ids in golden)
    return ('{"texts": [\n' + ",\n".join(lines) + "\n]}\n").encode()


def texts_from_bytes(data: bytes, signature: Signature) -> list[GoldenText]:
    """Read `golden.texts.json`.

    Raises:
        ValueError: it is no JSON of texts, each with its ids or null, or the ids are not of rows
            that the model takes.
    """
    values = strict_json.loads(data)
    if not isinstance(values, dict) or not isinstance(texts := values.get("texts"), list):
        raise ValueError("it holds no list of texts")
    golden = []
    for number, each in enumerate(texts):
        if not isinstance(each, list) or len(each) != 2 or type(each[0]) is not str:
            raise ValueError(f"entry {number} is no text with its ids")
        text, ids = each
        if ids is not None and not _are_ids(ids, signature):
            raise ValueError(f"the ids of entry {number} are not a row that the model takes")
        golden.append(GoldenText(text, None if ids is None else tuple(ids)))
    if all(ids is None for _, ids in golden):
        raise ValueError("no text in it has ids")
    return golden


def _are_ids(ids: object, signature: Signature) -> bool:
    return (
        type(ids) is list
        and signature.min_length <= len(ids) <= signature.max_length
        and all(type(one) is int and 0 <= one < signature.vocab_size for one in ids)
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def _few(ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, ids[:12]))
    return f"[{shown}{', …' if len(ids) > 12 else ''}]"
