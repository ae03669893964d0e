"""Threads that work beside their caller, each on a processor of its own where there is one.

Linux may wake a thread on the processor of the thread that wakes it, and leave it to wait there
while another processor idles: with two processors that was seen in nearly every call after a pause
of 30 ms, and two threads took as long as one. Threads that may not run on their caller's processor
cannot wait behind it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Helpers:
    """Some threads, started when they are first needed, that end with this object."""

    def __init__(self, count: int) -> None:
        self._threads: list[int] = []
        self._pool = ThreadPoolExecutor(count, "pe_deploy", self._started)
        self._kept_off: int | None = None

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have one of them do this.

        Raises:
            RuntimeError: no thread is to be had: the interpreter is ending, or the system allows
                no more. Whether the work is done then is not known.
        """
        return self._pool.submit(work)

    def keep_off(self) -> None:
        """Keep them off the processor that the calling thread runs on just now.

        They may use every other that this thread may; where there is none, or the system does not
        let them be moved, they are left as they are.
        """
        if _processor is None or (processor := _processor()) == self._kept_off:
            return
        self._kept_off = processor
        others = os.sched_getaffinity(0) - {processor}
        for thread in list(self._threads) if others else ():
            try:
                os.sched_setaffinity(thread, others)
            except OSError:  # a sandbox that forbids it; then nothing is gained, and nothing lost
                return

    def _started(self) -> None:
        self._threads.append(threading.get_native_id())
        self._kept_off = None


def _number_of_processor() -> Callable[[], int] | None:
    """The C library's `sched_getcpu`; None where there is no such thing."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    # Not a `CDLL`, which would let another thread of Python run first.
    function = getattr(ctypes.PyDLL(None), "sched_getcpu", None)
    return function if callable(function) else None


_processor = _number_of_processor()
