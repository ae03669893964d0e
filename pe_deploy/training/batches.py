"""The batches of an epoch: in which order, how wide, and how changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pe_deploy.data import Dataset
from pe_deploy.model_config import TrainConfig

SHORTEST_CROP = 4
"""The fewest ids that a crop leaves; a row that has no more of them is never cropped."""


class Marks(NamedTuple):
    """What some ids stand for.

    Attributes:
        space: a space between words; None where there is none, or each id is a word.
        hidden: a token that is not told; None where no id can say so.
    """

    space: int | None = None
    hidden: int | None = None


def batches_of(rows: Dataset, config: TrainConfig, epoch: int, marks: Marks) -> Iterator[Dataset]:
    """The rows of an epoch, batch by batch.

    What is random depends on the seed and the number of the epoch alone, so that resuming finds
    it again. What is said of the ids decides how rows are changed.
    """
    if config.shuffle:
        mixed = np.random.SeedSequence((config.seed, epoch)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(mixed[0]))
        rows = rows.take(torch.randperm(len(rows), generator=generator).numpy())
    drawn = np.random.default_rng((config.seed, epoch, 1))
    if config.crop and rows.pad_id is not None:
        rows = _cropped(rows, rows.pad_id, config.crop, marks.space, drawn)
    if config.noise:
        rows = _noisy(rows, config.noise, marks.hidden, drawn)
    if not config.bucket_by_length:
        for start in range(0, len(rows), config.batch_size):
            yield rows.take(np.arange(start, min(start + config.batch_size, len(rows))))
        return
    lengths = lengths_of(rows)
    order = np.argsort(lengths, kind="stable")
    parts = np.split(order, range(config.batch_size, len(order), config.batch_size))
    for number in drawn.permutation(len(parts)).tolist():
        part = rows.take(parts[number])
        longest = int(lengths[parts[number]].max())
        yield Dataset(part.input_ids[:, :longest], part.targets, rows.labels, rows.pad_id)


def lengths_of(rows: Dataset) -> NDArray[np.int64]:
    """How many ids each row has without its padding, int64 `[rows]`; at least 1."""
    if rows.pad_id is None:
        return np.full(len(rows), rows.input_ids.shape[1], np.int64)
    lengths: NDArray[np.int64] = (rows.input_ids != rows.pad_id).sum(1).clip(min=1)
    return lengths


def _cropped(
    rows: Dataset, pad_id: int, chance: float, space: int | None, drawn: np.random.Generator
) -> Dataset:
    """With this chance, a stretch of a row in place of it: of any words, or of any ids."""
    ids = np.full_like(rows.input_ids, pad_id)
    chosen = drawn.random(len(rows)) < chance
    lengths = lengths_of(rows).tolist()
    for row, length in enumerate(lengths):
        start, end = 0, length
        if chosen[row] and space is not None:
            spaces = np.flatnonzero(rows.input_ids[row, :length] == space)
            edges = [-1, *spaces.tolist(), length]
            first = int(drawn.integers(len(edges) - 1))
            last = int(drawn.integers(first + 1, len(edges)))
            if edges[last] - edges[first] > 1:  # and not the nothing between two spaces
                start, end = edges[first] + 1, edges[last]
        elif chosen[row] and length > SHORTEST_CROP:
            start = int(drawn.integers(length - SHORTEST_CROP + 1))
            end = int(drawn.integers(start + SHORTEST_CROP, length + 1))
        ids[row, : end - start] = rows.input_ids[row, start:end]
    return Dataset(ids, rows.targets, rows.labels, pad_id)


def _noisy(rows: Dataset, share: float, hidden: int | None, drawn: np.random.Generator) -> Dataset:
    """This share of the ids replaced by the one for hidden ids, or each by an id of some row."""
    real = np.arange(rows.input_ids.shape[1]) < lengths_of(rows)[:, None]
    replaced = real & (drawn.random(real.shape) < share)
    ids = rows.input_ids.copy()
    ids[replaced] = (
        drawn.choice(rows.input_ids[real], int(replaced.sum())) if hidden is None else hidden
    )
    return Dataset(ids, rows.targets, rows.labels, rows.pad_id)
