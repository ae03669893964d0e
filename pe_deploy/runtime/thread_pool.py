"""Threads that work beside their caller, and off its processor where there is another.

Linux may wake a thread on the processor of the thread that wakes it, and leave it to wait there
while another processor idles: with two processors that was seen in nearly every call after a pause
of 30 ms, and two threads took as long as one. Threads that may not run on their caller's processor
cannot wait behind it.

Not a `ThreadPoolExecutor`: importing it takes 4 ms, handing work over several times as long, and
its end waits for all that it was given.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TypeVar

from pe_deploy.runtime.interpreter_exit import exiting

Part = TypeVar("Part")
Answer = TypeVar("Answer")


class ThreadPool:
    """Some threads, started when they are first needed, that end with this object."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._starting = threading.RLock()  # a signal handler may predict, too
        self._placed: tuple[set[int], int] | None = None

    def __del__(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)

    def map(
        self, function: Callable[[Part], Answer], parts: Sequence[Part], threads: int
    ) -> list[Answer]:
        """What a function makes of each part, by so many threads.

        That of the caller is one of them: it does what no other has begun, so it never waits for a
        worker that is busy elsewhere. After the first error, which is raised, no part is begun; and
        whatever is raised, in a signal handler of the caller too, the parts that are begun are
        done before.
        """
        # The global lock makes `next` one step: no two threads get the same number.
        waiting = iter(range(len(parts)))
        answers: dict[int, Answer] = {}
        errors: list[BaseException] = []

        def work_along() -> None:
            for number in waiting:
                answers[number] = function(parts[number])

        def help_along() -> None:
            try:
                work_along()
            except BaseException as error:  # noqa: BLE001 - raised again in the caller
                errors.append(error)
                list(waiting)  # no other part is begun

        jobs = [_Job(help_along) for _ in range(min(threads, len(parts)) - 1)]
        try:
            self._hand_over(jobs)
            work_along()
        finally:
            list(waiting)
            for job in jobs:
                job.settle()
        if errors:
            raise errors[0]
        return [answers[number] for number in range(len(parts))]

    def _hand_over(self, jobs: Sequence[_Job]) -> None:
        """Give jobs to as many threads; to fewer or none where the system allows no more threads.

        They are kept off the processor that the calling thread runs on just now, if the calling
        thread may use as many others as there are workers.
        """
        if not jobs or exiting():
            return
        with self._starting:
            while len(self._threads) < len(jobs) and self._start():
                pass
            self._keep_off()
        for job in jobs[: len(self._threads)]:
            self._jobs.put(job)

    def _start(self) -> bool:
        # The thread knows nothing of `self`, which is deleted when its last user is. A daemon, as
        # nobody tells an idle one that the interpreter ends; a busy one is waited for.
        thread = threading.Thread(
            target=_work, args=(self._jobs,), name="pe_deploy worker", daemon=True
        )
        threads, started = self._threads, threading.Lock()
        started.acquire()

        def start() -> None:
            try:
                thread.start()
                threads.append(thread)
            except RuntimeError:  # the interpreter is ending, or the system has no thread left
                pass
            finally:
                started.release()

        # By a thread that no signal handler interrupts: one that raised in the middle of `start`
        # would leave threading's own books wrong, of which it complains on stderr.
        try:
            _thread.start_new_thread(start, ())
        except RuntimeError:
            return False
        started.acquire()
        return thread in threads

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
            except OSError as error:
                if error.errno is None:  # not the system's, but of the app's signal handler
                    raise
                return  # a sandbox forbids it: nothing is gained then, and nothing lost


class _Job:
    """Work for a worker, which who asked for it takes back where no worker has begun it."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work: Callable[[], None] | None = work
        self._turn = threading.Lock()  # whoever gets it first decides
        self._done = threading.Lock()
        self._done.acquire()

    def do(self) -> None:
        """Do the work, unless it was taken back."""
        if self._turn.acquire(blocking=False) and self._work is not None:
            self._work()
            self._done.release()

    def settle(self) -> None:
        """Take the work back, or wait until it is done."""
        if not self._turn.acquire(blocking=False):
            self._done.acquire()
        self._work = None  # nothing that it holds is kept until a worker comes to it


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job.do()
        del job  # what it holds is not kept until the next one comes


_processor: Callable[[], int] | None = None
"""The C library's `sched_getcpu`; None where there is no such thing."""
if hasattr(os, "sched_setaffinity"):
    # Not a `CDLL`, which would let another thread of Python run first.
    _processor = getattr(ctypes.PyDLL(None), "sched_getcpu", None)
