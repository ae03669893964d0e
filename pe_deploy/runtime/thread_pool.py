"""Threads that work beside their caller, and off its processor where there is another.

Linux may wake a thread on the processor of the thread that wakes it, and leave it to wait there
while another processor idles: with two processors that was seen in nearly every call after a pause
of 30 ms, and two threads took as long as one. Threads that may not run on their caller's processor
cannot wait behind it.

Not a `ThreadPoolExecutor`: its queue would let a small request wait for what others have in it,
and importing it takes 4 ms.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import TypeVar

Job = Callable[[], None]
"""Work that raises nothing; it may be done after its caller has stopped to wait for it."""

Key = TypeVar("Key")
Part = TypeVar("Part")
Answer = TypeVar("Answer")


class ThreadPool:
    """Some threads, started when they are first needed, that end with this object."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._placed: tuple[set[int], int] | None = None

    def __del__(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)

    def side_by_side(
        self, run: Callable[[Part], Answer], parts: Sequence[tuple[Key, Part]], threads: int
    ) -> Iterator[tuple[Key, Answer]]:
        """What `run` makes of each part, in no certain order, by so many threads.

        That of the caller is one of them: it does what no other has begun, so it never waits for a
        helper that is busy elsewhere. The first error is raised, and no part is begun after it.
        """
        # The global lock makes `next` on a list's iterator one step: no two threads get the same.
        # At its end it holds nothing, whoever still holds it.
        waiting = iter(parts)
        answers: SimpleQueue[tuple[Key, Answer] | BaseException] = SimpleQueue()

        def help_along() -> None:
            for key, part in waiting:
                try:
                    answers.put((key, run(part)))
                except BaseException as error:  # noqa: BLE001 - raised again in the caller
                    answers.put(error)

        left = len(parts)
        self._ask(help_along, min(threads, left) - 1)
        try:
            for key, part in waiting:
                yield key, run(part)
                left -= 1
            for _ in range(left):
                answer = answers.get()
                if isinstance(answer, BaseException):
                    raise answer
                yield answer
        finally:
            for _ in waiting:  # after an error, nobody starts on another
                pass

    def _ask(self, job: Job, count: int) -> None:
        """Have so many threads do a job; fewer or none where the system allows no more threads.

        They are kept off the processor that the calling thread runs on just now, if the calling
        thread may use as many others as there are helpers.
        """
        if count < 1:
            return
        with self._starting:
            while len(self._threads) < count and self._start():
                pass
            self._keep_off()
        for _ in range(min(count, len(self._threads))):
            self._jobs.put(job)

    def _start(self) -> bool:
        # The thread knows nothing of `self`, which is deleted when its last user is.
        thread = threading.Thread(
            target=_work, args=(self._jobs,), name="pe_deploy helper", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending, or the system has no thread left
            return False
        self._threads.append(thread)
        return True

    def _keep_off(self) -> None:
        if _processor is None:
            return
        allowed = os.sched_getaffinity(0)
        others = allowed - {_processor()}
        if len(others) < len(self._threads):
            others = allowed
        if (place := (others, len(self._threads))) == self._placed:
            return
        self._placed = place
        for thread in self._threads:
            try:
                if thread.is_alive() and thread.native_id is not None:
                    os.sched_setaffinity(thread.native_id, others)
            except OSError:  # a sandbox forbids it: nothing is gained then, and nothing lost
                return


def _work(jobs: SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
        del job  # what it holds is not kept until the next one comes


def _number_of_processor() -> Callable[[], int] | None:
    """The C library's `sched_getcpu`; None where there is no such thing."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    # Not a `CDLL`, which would let another thread of Python run first.
    function = getattr(ctypes.PyDLL(None), "sched_getcpu", None)
    return function if callable(function) else None


_processor = _number_of_processor()
