"""A library's C function on the threads of one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pe_deploy.config import Signature
from pe_deploy.runtime.classifier import check_finite
from pe_deploy.runtime.interpreter_exit import finished_before_exit
from pe_deploy.runtime.native_library import NOT_FINITE, Library, place_of
from pe_deploy.runtime.plan import count_chunks, cut, largest_chunk
from pe_deploy.runtime.thread_pool import ThreadPool

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_ROWS = 16
"""Shares are whole blocks of so many rows, which the C computes together; but for the last."""

SHARE_SECONDS = 100e-6
"""The work of one share: to hand it to a thread takes 30 to 80 µs."""

_PIECES = 4
"""Of a share, where there is work enough: so a thread that is slow, or late, is waited for less."""

_FLOAT32 = np.dtype(np.float32)


class RefusedError(RuntimeError):
    """The C function gave a code instead of an answer."""


class Engine:
    """Runs a library on batches of any size.

    Args:
        library: the library, which is held as long as this is.
        signature: of its model.
        threads: of one call, that of the caller among them.
        share_rows: the fewest rows of the longest kind that are worth handing to another thread.
    """

    def __init__(
        self, library: Library, signature: Signature, threads: int, share_rows: int
    ) -> None:
        self._library = library
        self._predict = library.predict
        self._outputs = tuple(axis for axis in signature.output_axes if isinstance(axis, int))
        self._per_token = signature.task == "tokens"
        self._threads = threads
        self._share_ids = share_rows * signature.max_length
        self._never_cut = min(2 * share_rows, largest_chunk(signature.max_length) + 1)
        self._pool = ThreadPool()

    def run(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The logits of int64 `[batch, sequence]`, C-contiguous, of any ids.

        Raises:
            RefusedError: the model does not take them.
            PredictionError: a number of an answer is not finite.
        """
        rows, length = ids.shape
        shape = (rows, length) if self._per_token else (rows,)
        logits = np.empty(shape + self._outputs, _FLOAT32)
        if rows < self._never_cut:
            code = self._predict(place_of(ids), 0, rows, length, place_of(logits))
        else:
            code = self._run_many(ids, logits)
        if code == NOT_FINITE:
            check_finite(logits, self._per_token)
        if code:
            raise RefusedError(self._library.message(code))
        return logits

    def _run_many(self, ids: NDArray[np.int64], logits: NDArray[np.float32]) -> int:
        """The code of the first rows that have one, by as many threads as the batch is worth."""
        rows, length = ids.shape
        given, taken, predict = place_of(ids), place_of(logits), self._predict

        def run(part: slice) -> int:
            return predict(given, part.start, part.stop - part.start, length, taken)

        worth = rows * length // self._share_ids
        shares = max(1, min(self._threads, worth))
        if shares > 1:
            parts = _cut(rows, length, min(worth, _PIECES * shares))
            codes = self._pool.map(finished_before_exit(run), parts, shares)
        else:
            codes = [run(part) for part in _cut(rows, length, 1)]  # so that Ctrl-C is heard
        return next(filter(None, codes), 0)


def _cut(rows: int, length: int, pieces: int) -> list[slice]:
    """Cut rows into whole blocks: so many slices, or a multiple of that."""
    blocks = -(-rows // BLOCK_ROWS)
    chunks = count_chunks(blocks, max(1, largest_chunk(length) // BLOCK_ROWS), pieces)
    return [
        slice(part.start * BLOCK_ROWS, min(part.stop * BLOCK_ROWS, rows))
        for part in cut(blocks, chunks)
    ]
