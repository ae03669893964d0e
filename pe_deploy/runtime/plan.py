"""How a batch is run: by which graph, on whose threads, in how many chunks."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from pe_deploy.bundle.manifest import Dispatch

Form = Literal["latency", "throughput"]
"""`model.onnx`, and `model.throughput.onnx`."""

CHUNK_ROWS = 1024
"""The most rows that an engine sees at once; parity tries as many."""

CHUNK_IDS = 2**15
"""The most ids that an engine sees at once, which bounds its memory where rows are long."""


class Plan(NamedTuple):
    """How one batch is run.

    Attributes:
        form: the graph that runs it.
        own_threads: whether onnxruntime's own threads share each step of it; else the thread that
            calls a session runs it alone.
        chunks: into how many pieces it is cut, which as many threads as there are run side by side.
    """

    form: Form
    own_threads: bool
    chunks: int


def plan(rows: int, length: int, dispatch: Dispatch, threads: int, longest: int) -> Plan:
    """Choose how to run a batch.

    A little work is done in one piece. More is cut into a share for each thread that is worth one:
    onnxruntime's own threads divide the work of every step, which is little, and wait for each
    other after each; threads that run shares of their own never wait. Where a share is still few
    rows, the graph that is meant for them runs it.

    Args:
        rows: those of the batch, at least 1.
        length: the ids of a row.
        dispatch: what was measured when the bundle was made.
        threads: how many may be used, that of the caller among them.
        longest: the most ids of a row, of which `dispatch` speaks.
    """
    own_threads = dispatch.own_threads and threads > 1
    crossover = dispatch.crossover or sys.maxsize
    largest = largest_chunk(length, dispatch.chunk_rows)
    shares = max(1, min(threads, rows, rows * length // (dispatch.share_rows * longest)))
    if own_threads and shares < threads and rows <= largest:
        shares = 1  # in one piece, all threads are busy
    chunks = count_chunks(rows, largest, shares)
    if chunks == 1 and own_threads:
        return Plan("latency", True, 1)
    share = -(-rows // chunks)
    return Plan("throughput" if share >= crossover else "latency", False, chunks)


def never_cut(dispatch: Dispatch, longest: int) -> int:
    """Fewer rows than this are one piece for the latency graph, however long and on any threads."""
    return min(
        dispatch.crossover or sys.maxsize,
        2 * dispatch.share_rows,
        largest_chunk(longest, dispatch.chunk_rows) + 1,
    )


def largest_chunk(length: int, chunk_rows: int = CHUNK_ROWS) -> int:
    """The most rows of this many ids that an engine is given at once."""
    return max(1, min(chunk_rows, CHUNK_ROWS, CHUNK_IDS // max(1, length)))


def count_chunks(rows: int, largest: int, shares: int = 1) -> int:
    """The fewest chunks of at most `largest` rows that are a whole number for each share."""
    return min(rows, shares * -(-rows // (largest * shares)))


def cut(rows: int, chunks: int) -> list[slice]:
    """Cut rows into so many slices of about the same size."""
    ends = [rows * number // chunks for number in range(chunks + 1)]
    return [slice(start, end) for start, end in pairwise(ends)]
