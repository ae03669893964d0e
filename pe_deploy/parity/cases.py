"""The inputs that parity is judged on: every shape, every id, and what breaks things."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import Signature
from pe_deploy.runtime.plan import CHUNK_ROWS

BATCHES = (1, 2, 3, 7, 32, 257)

_MOST_LENGTHS = 64
_LARGE_BATCH = 32
_FEW_LENGTHS = 16
_SKIP = 8
_ROWS_AT_ONCE = 512
_MOST_IDS = 2**20
"""Of a batch: more, of very long rows, would be a matter of memory and of nothing else."""

_LARGEST_SQUARE = 64
"""Up to this many ids, every id is tried at every position; beyond it, every id once."""


@dataclass(frozen=True)
class Case:
    """One batch to compare predictors on: int64 `[batch, sequence]`, and the check it is for."""

    check: str
    input_ids: NDArray[np.int64]


def parity_cases(
    signature: Signature,
    seed: int = 0,
    batches: Sequence[int] = BATCHES,
    lengths: Sequence[int] | None = None,
) -> Iterator[Case]:
    """Every case on which predictors are held against exact logits.

    `shapes`: random ids, padded where the model has a `pad_id`, in each batch of 1, 2, 3, 7, 32
    and 257 rows at each length that is allowed, or at 64 lengths spread evenly over them where
    there are more. Of more than 16 lengths, the batches of 32 rows take the first two, the
    last two, and every eighth, and larger ones the first, the middle and the last: they cost the
    most, and a fault that only they show has nothing to do with the length.

    `tokens`: one id throughout, lowest and highest; one row many times; with a `pad_id`, rows of as
    few tokens as are allowed; every id at every position, or, for more than 64 ids, every id once;
    as many short rows as an engine is ever given at once.
    """
    rng = np.random.default_rng(seed)
    if lengths is None:
        shortest, longest = signature.min_length, signature.max_length
        count = min(longest - shortest + 1, _MOST_LENGTHS)
        lengths = [int(length) for length in np.linspace(shortest, longest, count).round()]
    few, fewest = set(lengths), set(lengths)
    if len(lengths) > _FEW_LENGTHS:
        few = {*lengths[:2], *lengths[_SKIP - 1 :: _SKIP], *lengths[-2:]}
        fewest = {lengths[0], lengths[len(lengths) // 2], lengths[-1]}
    for length in lengths:
        for batch in batches:
            if batch > 1 and batch * length > _MOST_IDS:
                continue
            if batch < _LARGE_BATCH or length in (few if batch == _LARGE_BATCH else fewest):
                yield Case("shapes", random_ids(signature, batch, length, rng))
    many = np.resize(_tokens(signature), (CHUNK_ROWS, _short(signature, 3)))
    for ids in [*_edges(signature), *every_id(signature), many]:
        yield Case("tokens", ids)


def golden_inputs(signature: Signature, seed: int = 1) -> list[NDArray[np.int64]]:
    """The inputs that travel in the bundle: a few shapes, and the `tokens`."""
    rng = np.random.default_rng(seed)
    lengths = sorted({signature.min_length, _short(signature, 3), signature.max_length})
    shapes = [
        random_ids(signature, batch, length, rng) for length in lengths for batch in (1, 2, 7)
    ]
    return [*shapes, *_edges(signature), *every_id(signature)]


def random_batches(signature: Signature, seed: int) -> list[NDArray[np.int64]]:
    """Two batches of 7 random rows, a short one and one of `max_length`."""
    rng = np.random.default_rng(seed)
    lengths = sorted({_short(signature, 3), signature.max_length})
    return [random_ids(signature, 7, length, rng) for length in lengths]


def exchanged(
    signature: Signature, rows: int = 32, seed: int = 3
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Random rows of `max_length`, and the same with two tokens of each row exchanged."""
    rng = np.random.default_rng(seed)
    ids = rng.choice(_tokens(signature), size=(rows, signature.max_length))
    swapped = ids.copy()
    for row in range(rows):
        first, second = rng.choice(signature.max_length, size=2, replace=False)
        swapped[row, [first, second]] = ids[row, [second, first]]
    return ids, swapped


def random_ids(
    signature: Signature, batch: int, length: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Random rows, int64 `[batch, length]`, right-padded by random amounts with a `pad_id`.

    The first and the last id of the vocabulary take part wherever there is room for them.
    """
    tokens = _tokens(signature)
    ids = rng.choice(tokens, size=(batch, length))
    ids[0, 0] = tokens[0]
    ids[-1, -1] = tokens[-1]
    if signature.pad_id is not None:
        lengths = rng.integers(signature.min_length, length + 1, size=batch)
        lengths[-1] = length
        ids[np.arange(length) >= lengths[:, None]] = signature.pad_id
    return ids


def _edges(signature: Signature) -> Iterator[NDArray[np.int64]]:
    tokens = _tokens(signature)
    for length in sorted({signature.min_length, signature.max_length}):
        yield np.full((2, length), tokens[0])
        yield np.full((2, length), tokens[-1])
        yield np.tile(np.resize(tokens, length), (5, 1))
        if signature.pad_id is not None:
            ids = np.full((3, length), signature.pad_id)
            ids[:, : signature.min_length] = tokens[[0, len(tokens) // 2, -1], None]
            yield ids


def every_id(signature: Signature) -> Iterator[NDArray[np.int64]]:
    """Batches in which every id that is no padding stands once, or, if few, at every position."""
    tokens = _tokens(signature)
    if len(tokens) <= _LARGEST_SQUARE:
        # Row r, column c holds token r + c: a Latin square, cut or repeated to the length.
        places = np.arange(len(tokens))[:, None] + np.arange(signature.max_length)
        yield tokens[places % len(tokens)]
        return
    # Short rows: in a long one, a GRU may forget an id before the row ends.
    length = _short(signature, 4)
    rows = np.resize(tokens, (-(-len(tokens) // length), length))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]


def _short(signature: Signature, length: int) -> int:
    """A small length, or the one that is allowed and nearest to it."""
    return max(signature.min_length, min(length, signature.max_length))


def _tokens(signature: Signature) -> NDArray[np.int64]:
    """Every id that is not padding."""
    tokens = np.arange(signature.vocab_size)
    return tokens if signature.pad_id is None else np.delete(tokens, signature.pad_id)
