"""The inputs that parity is judged on: a grid of shapes, and the ids that break things."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pe_deploy.config import Signature

BATCHES = (1, 2, 3, 7, 32)
ALL_LENGTHS_UP_TO = 64

GOLDEN_BATCHES = (1, 2, 7)

_VOCABULARY_ROWS = 512


@dataclass(frozen=True)
class Case:
    """One batch to compare predictors on: int64 `[batch, sequence]`, and the group it is in."""

    group: str
    input_ids: NDArray[np.int64]


def parity_cases(signature: Signature, seed: int = 0) -> Iterator[Case]:
    """Every case that the export gate and `verify` run.

    The grid is each batch of 1, 2, 3, 7 and 32 rows at each length up to 64, and at 64 lengths
    spread evenly up to `max_length` where that is longer; its ids are random, and rows are padded
    where the model has a `pad_id`. The edges are one id throughout, lowest and highest, and, with
    a `pad_id`, rows of a single token. The vocabulary is every id once.
    """
    rng = np.random.default_rng(seed)
    for length in _lengths(signature.max_length):
        for batch in BATCHES:
            yield Case("grid", random_ids(signature, batch, length, rng))
    for length in sorted({1, signature.max_length}):
        yield from _edges(signature, length)
    yield from _vocabulary(signature)


def golden_inputs(signature: Signature, seed: int = 1) -> list[NDArray[np.int64]]:
    """The inputs that travel in the bundle: a few shapes, the same edges, every id once."""
    rng = np.random.default_rng(seed)
    lengths = sorted({1, min(3, signature.max_length), signature.max_length})
    inputs = [
        random_ids(signature, batch, length, rng) for length in lengths for batch in GOLDEN_BATCHES
    ]
    special = [*_edges(signature, signature.max_length), *_vocabulary(signature)]
    return inputs + [case.input_ids for case in special]


def padded_inputs(signature: Signature, seed: int = 2) -> list[NDArray[np.int64]]:
    """Batches whose rows are padded by random amounts; none where there is no `pad_id`."""
    if signature.pad_id is None:
        return []
    rng = np.random.default_rng(seed)
    lengths = sorted({min(3, signature.max_length), signature.max_length})
    return [random_ids(signature, 7, length, rng) for length in lengths]


def trimmed_rows(ids: NDArray[np.int64], pad_id: int) -> list[NDArray[np.int64]]:
    """Each row of a padded batch by itself, int64 `[1, its own length]`."""
    return [row[None, : int((row != pad_id).sum())] for row in ids]


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
        lengths = rng.integers(1, length + 1, size=batch)
        lengths[-1] = length
        ids[np.arange(length) >= lengths[:, None]] = signature.pad_id
    return ids


def _edges(signature: Signature, length: int) -> Iterator[Case]:
    tokens = _tokens(signature)
    yield Case("lowest id", np.full((2, length), tokens[0]))
    yield Case("highest id", np.full((2, length), tokens[-1]))
    if signature.pad_id is not None:
        ids = np.full((3, length), signature.pad_id)
        ids[:, 0] = tokens[[0, len(tokens) // 2, -1]]
        yield Case("one token", ids)


def _vocabulary(signature: Signature) -> Iterator[Case]:
    # Short rows: in a long one, a GRU may forget an id before the row ends.
    length = min(4, signature.max_length)
    rows = np.resize(_tokens(signature), (-(-signature.vocab_size // length), length))
    for start in range(0, len(rows), _VOCABULARY_ROWS):
        yield Case("vocabulary", rows[start : start + _VOCABULARY_ROWS])


def _tokens(signature: Signature) -> NDArray[np.int64]:
    """Every id that is not padding."""
    tokens = np.arange(signature.vocab_size)
    return tokens if signature.pad_id is None else np.delete(tokens, signature.pad_id)


def _lengths(max_length: int) -> list[int]:
    count = min(max_length, ALL_LENGTHS_UP_TO)
    return [int(length) for length in np.linspace(1, max_length, count).round()]
