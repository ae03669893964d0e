"""A process of its own that runs engines when it is told to.

Thread pools disturb each other: one that has just finished spins for a while (28 ms of
onnxruntime's, 9 ms of torch's were measured) and takes a processor from the next engine. So an
engine with several threads gets a process to itself, one process works at a time, and its turn
ends when its threads are at rest.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pe_deploy.bench.builders import build
from pe_deploy.bench.models import Subject
from pe_deploy.errors import PeDeployError, line_of
from pe_deploy.parity import random_ids
from pe_deploy.runtime.engines import Predictor

_WARM_UP_SECONDS = 0.03
_LONG_CALL_SECONDS = 1.0
"""A call so long is not made faster by one more before it."""
_REST_SECONDS = 0.012
"""Longer than a tick of the kernel, which counts a running thread's time only then."""
_LONGEST_REST_SECONDS = 0.2


class Runner:
    """Runs the engines of one process."""

    def __init__(self, subject: Subject, threads: int) -> None:
        self._subject = subject
        self._threads = threads
        self._runs: dict[str, Predictor] = {}
        self._ids = np.empty((0, 0), np.int64)

    def warm_up(
        self, name: str, batch: int, length: int
    ) -> tuple[float, NDArray[np.floating[Any]]]:
        """Make an engine ready, and run it on ids `[batch, length]` until it has settled.

        The ids are the same for every engine in every process, and those of the turns that follow.

        Returns:
            Seconds a call, and the logits.
        """
        rng = np.random.default_rng(0)
        self._ids = random_ids(self._subject.signature, batch, length, rng)
        if name not in self._runs:
            self._runs[name] = build(name, self._subject, self._threads)
        run, ids = self._runs[name], self._ids
        logits = np.array(run(ids))  # a copy: an engine may use its memory again
        logits = self._subject.signature.zero_padding(logits, ids)
        shortest, spent, calls = float("inf"), 0.0, 0
        # torch specialises a graph during its first two calls.
        while calls < 2 or spent < _WARM_UP_SECONDS:
            started = time.perf_counter()
            run(ids)
            taken = time.perf_counter() - started
            shortest, spent, calls = min(shortest, taken), spent + taken, calls + 1
            if taken > _LONG_CALL_SECONDS:
                break
        if self._threads > 1:
            _rest()
        return shortest, logits

    def turn(self, name: str, calls: int) -> list[int]:
        """Time each of some calls, in ns. One more comes before several, to warm the caches."""
        run, ids, clock = self._runs[name], self._ids, time.perf_counter_ns
        taken = []
        gc.disable()
        try:
            if calls > 1:
                run(ids)
            for _ in range(calls):
                started = clock()
                run(ids)
                taken.append(clock() - started)
        finally:
            gc.enable()
        if self._threads > 1:
            _rest()
        return taken


def _rest() -> None:
    """Wait until no thread of this process is busy any more."""
    end = time.perf_counter() + _LONGEST_REST_SECONDS
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(_REST_SECONDS)
        if time.process_time() - before < _REST_SECONDS / 4:
            return


def _serve(connection: Connection, subject: Subject, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process
    runner = Runner(subject, threads)
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:  # the parent is gone
            return
        try:
            answer = getattr(runner, method)(*arguments)
        except Exception as error:  # noqa: BLE001 - raised again in the parent
            answer = PeDeployError(f"{type(error).__name__}: {line_of(error)}")
        connection.send(answer)


class Worker(NamedTuple):
    """A `Runner` in another process."""

    connection: Connection

    def call(self, method: str, *arguments: Any) -> Any:
        """Have the runner do this, and wait for the answer.

        Raises:
            PeDeployError: it failed, or the process died.
        """
        try:
            self.connection.send((method, arguments))
            answer = self.connection.recv()
        except (EOFError, OSError):
            raise PeDeployError("its process died") from None
        if isinstance(answer, PeDeployError):
            raise answer
        return answer


@contextmanager
def worker(subject: Subject, threads: int) -> Iterator[Worker]:
    """Start a process for some engines, and end it."""
    # A fresh interpreter: a fork would inherit the threads' locks without the threads.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, subject, threads), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Worker(ours)
    finally:
        ours.close()
        process.kill()  # it has nothing to save, and a pool of threads may be slow to end
        process.join()
        process.close()
