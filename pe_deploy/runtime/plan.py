"""The two graphs of a bundle on onnxruntime: one answers a few rows soonest, the other many."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from pe_deploy.runtime.fork import OPENING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pe_deploy.bundle import Dispatch
    from pe_deploy.runtime.thread_pool import ThreadPool

Form = Literal["latency", "throughput"]
"""`model.onnx`, and `model.throughput.onnx`."""

CHUNK_ROWS = 1024
"""The most rows that an engine sees at once; parity tries as many."""

CHUNK_IDS = 2**15
"""The most ids that an engine sees at once, which bounds its memory where rows are long."""

Run = Callable[["NDArray[np.int64]"], "NDArray[np.float32]"]
"""From checked ids `[batch, sequence]`, at least one row and one column, to logits."""


def largest_chunk(length: int, chunk_rows: int = CHUNK_ROWS) -> int:
    """The most rows of this many ids that an engine is given at once."""
    return max(1, min(chunk_rows, CHUNK_ROWS, CHUNK_IDS // max(1, length)))


def chunks(rows: int, largest: int, shares: int = 1) -> list[slice]:
    """Cut rows into slices of about the same size, a whole number of them for each share."""
    count = shares * -(-rows // (largest * shares))
    ends = [rows * number // count for number in range(count + 1)]
    return [slice(start, end) for start, end in pairwise(ends) if start < end]


class Lazy:
    """A session's `Run`, opened by the first who needs it."""

    def __init__(self, opening: Callable[[], Run]) -> None:
        self._opening = opening
        self._run: Run | None = None

    def __call__(self) -> Run:
        """The same `Run` each time."""
        if self._run is not None:
            return self._run
        with OPENING:
            if self._run is None:
                self._run = self._opening()
            return self._run


class Engine:
    """The sessions of one process, and which of them runs what.

    A little work is done in one piece. More is cut into shares, side by side on as many threads as
    there are, each on a session that runs on the thread which calls it: onnxruntime's own threads
    divide the work of every step, which is little, and wait for each other after each; ours never
    wait. Where a share is still few rows, the form that is meant for them runs it.

    Args:
        whole: runs a few rows, on onnxruntime's own threads where the dispatch says so.
        longest: the most ids of a row.
        dispatch: what was measured when the bundle was made.
        threads: how many to use, that of the caller among them.
        few: gives what runs a share below the crossover, on the thread that calls it.
        many: gives what runs a share from the crossover on; None where `few` runs them all.
    """

    def __init__(
        self,
        whole: Run,
        longest: int,
        dispatch: Dispatch,
        threads: int,
        few: Lazy,
        many: Lazy | None,
    ) -> None:
        self._run = whole
        self._few = few
        self._many = many
        self._threads = threads
        self._chunk_rows = dispatch.chunk_rows
        self._share_ids = dispatch.share_rows * longest
        self._own_threads = dispatch.own_threads and threads > 1
        self._crossover = sys.maxsize if many is None else dispatch.crossover or 1
        # Fewer rows than this are one piece below the crossover, however long they are.
        self._always = min(
            self._crossover,
            2 * dispatch.share_rows,
            largest_chunk(longest, dispatch.chunk_rows) + 1,
        )
        self._helpers: ThreadPool | None = None

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The logits of a few rows."""
        return self.whole(len(ids))(ids)

    def at_once(self, rows: int, length: int) -> Run | None:
        """What runs a batch in one piece; None where it is to be cut."""
        if rows < self._always:
            return self._run
        largest, shares = self._cut(rows, length)
        return self.whole(rows) if shares == 1 and rows <= largest else None

    def whole(self, rows: int) -> Run:
        """What runs so many rows in one piece."""
        if self._many is None or self._own_threads or rows < self._crossover:
            return self._run
        return self._many()

    def forms(self) -> list[Run]:
        """What runs a few rows, and then what runs many where that is something else."""
        return [self._run] if self._many is None else [self._run, self._many()]

    def chunks(self, rows: int, length: int) -> list[slice]:
        """The chunks of a batch, as many for each thread that is worth its share."""
        return chunks(rows, *self._cut(rows, length))

    def each(self, ids: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """The logits of each chunk, in no certain order."""
        todo = self.chunks(*ids.shape)
        if len(todo) == 1:
            yield todo[0], self(ids)
            return
        largest = max(rows.stop - rows.start for rows in todo)
        run = self._few() if self._many is None or largest < self._crossover else self._many()
        parts = [(rows, ids[rows]) for rows in todo]
        yield from self._ready_helpers().side_by_side(run, parts, self._threads)

    def _cut(self, rows: int, length: int) -> tuple[int, int]:
        """The most rows of a chunk, and how many threads share the batch."""
        largest = largest_chunk(length, self._chunk_rows)
        shares = max(1, min(self._threads, rows, rows * length // self._share_ids))
        if self._own_threads and shares < self._threads and rows <= largest:
            shares = 1  # in one piece, all threads are busy
        return largest, shares

    def _ready_helpers(self) -> ThreadPool:
        if self._helpers is None:
            with OPENING:  # a child that is forked in the middle of an import waits for it for ever
                from pe_deploy.runtime.thread_pool import ThreadPool  # not at every app's start

                self._helpers = self._helpers or ThreadPool()
        return self._helpers
