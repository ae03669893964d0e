"""The two graphs of a bundle on onnxruntime: one answers a few rows soonest, the other many."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from pe_deploy.runtime.forks import OPENING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pe_deploy.bundle import Dispatch
    from pe_deploy.runtime.helpers import Helpers

Form = Literal["latency", "throughput"]
"""`model.onnx`, and `model.throughput.onnx`."""

CHUNK_ROWS = 1024
"""The most rows that an engine sees at once; parity tries as many."""

CHUNK_IDS = 2**15
"""The most ids that an engine sees at once, which bounds its memory where rows are long."""

Run = Callable[["NDArray[np.int64]"], "NDArray[np.float32]"]
"""From checked ids `[batch, sequence]`, at least one row and one column, to logits."""


def chunks(rows: int, length: int, chunk_rows: int = CHUNK_ROWS, shares: int = 1) -> list[slice]:
    """Cut rows into slices of about the same size, a whole number of them for each share.

    No slice has more than `chunk_rows` rows, nor more than `CHUNK_IDS` ids unless one row has.
    """
    most = max(1, min(chunk_rows, CHUNK_ROWS, CHUNK_IDS // max(1, length)))
    count = shares * -(-rows // (most * shares))
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

    A few rows are run whole. More are cut into shares, side by side on as many threads as there
    are, each on a session that runs on the thread which calls it: onnxruntime's own threads divide
    the work of every step, which is little, and wait for each other after each; ours never wait.
    Where a share is still few rows, the form that is meant for them runs it.

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
        self._share_rows = dispatch.share_rows
        self._own_threads = dispatch.own_threads and threads > 1
        self._crossover = sys.maxsize if many is None else dispatch.crossover or 1
        # Where `whole` keeps all threads busy, fewer shares than threads are no gain.
        shares = threads if self._own_threads else 2
        self._shared_from = sys.maxsize if threads == 1 else shares * dispatch.share_rows
        fitting = max(1, CHUNK_IDS // longest)
        most = min(dispatch.chunk_rows, CHUNK_ROWS, fitting)
        self._at_once = min(most, max(1, self._shared_from - 1))
        self._helpers: Helpers | None = None

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The logits of a few rows."""
        return self.whole(len(ids))(ids)

    def at_once(self, rows: int) -> Run | None:
        """What runs so many rows in one piece, however long they are; None if nothing does."""
        return self.whole(rows) if rows <= self._at_once else None

    def whole(self, rows: int) -> Run:
        """What runs so many rows in one piece."""
        if self._many is None or self._own_threads or rows < self._crossover:
            return self._run
        return self._many()

    def chunks(self, rows: int, length: int) -> list[slice]:
        """The chunks of a batch, as many for each thread."""
        shares = 1
        if rows >= self._shared_from:
            shares = min(self._threads, rows // self._share_rows)
        return chunks(rows, length, self._chunk_rows, shares)

    def each(self, ids: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """The logits of each chunk, in no certain order."""
        todo = self.chunks(*ids.shape)
        if len(todo) == 1:
            yield todo[0], self(ids)
            return
        largest = max(rows.stop - rows.start for rows in todo)
        run = self._few() if self._many is None or largest < self._crossover else self._many()
        helpers = min(self._threads, len(todo)) - 1
        waiting = iter(todo)  # `next` on a list's iterator is one step: no two threads get the same
        if helpers < 1:
            yield from _worked_off(run, ids, waiting)
            return
        try:
            others = self._helpers or self._started_helpers()
            others.keep_off()
            shares = [
                others.submit(lambda: list(_worked_off(run, ids, waiting))) for _ in range(helpers)
            ]
        except RuntimeError:
            # No thread is to be had. A pool may still do what it gave no future for, so nothing is
            # left to that, and neither the pool nor what waits in it is kept.
            self._helpers = None
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

    def forms(self) -> list[Run]:
        """What runs a few rows, and then what runs many where that is something else."""
        return [self._run] if self._many is None else [self._run, self._many()]

    def _started_helpers(self) -> Helpers:
        from pe_deploy.runtime.helpers import Helpers  # not at every app's start

        with OPENING:
            if self._helpers is None:
                self._helpers = Helpers(self._threads - 1)
            return self._helpers


def _worked_off(
    run: Run, ids: NDArray[np.int64], waiting: Iterator[slice]
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    for rows in waiting:
        yield rows, run(ids[rows])
