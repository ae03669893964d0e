"""The two graphs of a bundle on onnxruntime: one answers a few rows soonest, the other many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from pe_deploy.runtime.forks import OPENING

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from numpy.typing import NDArray

Form = Literal["latency", "throughput"]
"""`model.onnx`, and `model.throughput.onnx`."""

CHUNK_ROWS = 512
"""Rows an engine sees at once: enough to be fast, few enough to keep its memory small."""

CHUNK_IDS = CHUNK_ROWS * 64
"""Ids an engine sees at once, which bounds its memory where rows are long."""

Run = Callable[["NDArray[np.int64]"], "NDArray[np.float32]"]
"""From checked ids `[batch, sequence]`, at least one row and one column, to logits."""


def chunks(rows: int, length: int, chunk_rows: int = CHUNK_ROWS, shares: int = 1) -> list[slice]:
    """Cut rows into slices of about the same size, a whole number of them for each share.

    No slice has more than `chunk_rows` rows, nor more than `CHUNK_IDS` ids unless one row has.
    """
    most = max(1, min(chunk_rows, CHUNK_IDS // max(1, length)))
    count = shares * -(-rows // (most * shares))
    ends = [rows * number // count for number in range(count + 1)]
    return [slice(start, end) for start, end in pairwise(ends) if start < end]


class Throughput:
    """Runs many rows in chunks, side by side on as many threads as there are.

    onnxruntime's own threads hardly help a small GRU, whose steps depend on each other. One
    session that runs on the thread which calls it, called by several threads with a chunk each,
    keeps every core busy. It is opened when it is first needed.

    Args:
        open_session: gives the session's `Run`, on one thread.
        chunk_rows: the most rows of a chunk.
        share_rows: the fewest rows that are worth handing to another thread.
        threads: how many to use, that of the caller among them.
    """

    def __init__(
        self, open_session: Callable[[], Run], chunk_rows: int, share_rows: int, threads: int
    ) -> None:
        self._open_session = open_session
        self._chunk_rows = chunk_rows
        self._share_rows = share_rows
        self._threads = threads
        self._run: Run | None = None
        self._others: ThreadPoolExecutor | None = None

    def chunks(self, rows: int, length: int) -> list[slice]:
        """The chunks of a batch, as many for each thread."""
        shares = max(1, min(self._threads, rows // self._share_rows))
        return chunks(rows, length, self._chunk_rows, shares)

    def whole(self, length: int) -> int:
        """The most rows of this many ids that are one chunk."""
        alone = self._chunk_rows if self._threads == 1 else 2 * self._share_rows - 1
        return max(1, min(alone, self._chunk_rows, CHUNK_IDS // length))

    def each(self, ids: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """The logits of each chunk, in no certain order."""
        run = self.open()
        todo = self.chunks(*ids.shape)
        helpers = min(self._threads, len(todo)) - 1
        waiting = iter(todo)  # `next` on a list's iterator is one step: no two threads get the same
        if helpers < 1:
            yield from _worked_off(run, ids, waiting)
            return
        try:
            pool = self._others or self._opened_pool()
            shares = [
                pool.submit(lambda: list(_worked_off(run, ids, waiting))) for _ in range(helpers)
            ]
        except RuntimeError:
            # No thread is to be had: the interpreter is ending, or the system allows no more. The
            # pool may still run what it gave no future for, so nothing is left to that, and
            # neither the pool nor what waits in it is kept.
            self._others = None
            for _ in waiting:
                pass
            yield from _worked_off(run, ids, iter(todo))
            return
        try:
            yield from _worked_off(run, ids, waiting)
        finally:
            for _ in waiting:  # after an error, nobody starts on another
                pass
            done = [share.exception() or share for share in shares]
        for share in done:
            if isinstance(share, BaseException):
                raise share
            yield from share.result()

    def open(self) -> Run:
        """The session's `Run`, opened by the first who asks for it."""
        if self._run is not None:
            return self._run
        with OPENING:
            if self._run is None:
                self._run = self._open_session()
            return self._run

    def _opened_pool(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor  # not at every app's start

        with OPENING:
            if self._others is None:
                self._others = ThreadPoolExecutor(self._threads - 1, "pe_deploy")
            return self._others


class Engine:
    """The sessions of one process.

    Attributes:
        run: for batches below the crossover.
        crossover: from so many rows on, `many` runs a batch.
        many: None where `run` is the only one.
    """

    def __init__(
        self, run: Run, longest: int, crossover: int = 1, many: Throughput | None = None
    ) -> None:
        self.run = run
        self.crossover = crossover
        self.many = many
        self._few = min(crossover - 1, CHUNK_ROWS, CHUNK_IDS // longest)
        self._whole = 0 if many is None else many.whole(longest)

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The logits of a few rows."""
        return self.run(ids)

    def at_once(self, rows: int) -> Run | None:
        """What runs so many rows in one piece, however long they are; None if nothing does."""
        if rows <= self._few:
            return self.run
        if self.many is not None and self.crossover <= rows <= self._whole:
            return self.many.open()
        return None


def _worked_off(
    run: Run, ids: NDArray[np.int64], waiting: Iterator[slice]
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    for rows in waiting:
        yield rows, run(ids[rows])
