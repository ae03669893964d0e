"""Files answered by processes of this machine."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import current_thread, main_thread
from typing import Any

from pe_deploy.runtime.cpu_count import usable_cpus
from pe_deploy.scale.one_file import File, FileScorer, Outcome

_MOST_JOBS = 16  # by default; each holds a Python, a model and some rows
_A_STEP = 0.01  # of a file, before its process says more of it
_PATIENCE = 10.0  # seconds


def run(
    scorer: FileScorer,
    files: list[File],
    jobs: int | None,
    note: Callable[[str], None],
    share: Callable[[str, float], None],
) -> Iterator[Outcome]:
    """What becomes of each file, as it is done; with one job, by this very process."""
    count = min(len(files), jobs or min(usable_cpus(), _MOST_JOBS))
    if count == 1:
        for file in files:
            yield scorer(file, partial(share, file.name))
        return
    waiting = deque(files)
    workers: dict[Connection, tuple[BaseProcess, File]] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < count:
                with _uninterrupted():
                    ours, process = _started(scorer)
                    workers[ours] = (process, file := waiting.popleft())
                ours.send(file)
            for ready in wait(list(workers)):
                ours = _of(ready, workers)
                process, file = workers[ours]
                try:
                    said = ours.recv()
                except (EOFError, OSError):
                    process.join()
                    del workers[ours]
                    code = process.exitcode
                    yield Outcome(
                        file.name, 0, 0, 0, f"{file.shown}: its process ended with exit code {code}"
                    )
                    continue
                if isinstance(said, float):
                    share(file.name, said)
                    continue
                if waiting:
                    workers[ours] = (process, following := waiting.popleft())
                    ours.send(following)
                else:
                    ours.close()  # it has no more to do, and ends
                    del workers[ours]
                    process.join(_PATIENCE)
                yield said
    finally:
        _end([process for process, _ in workers.values()])


def _of(ready: Any, workers: dict[Connection, Any]) -> Connection:
    return next(connection for connection in workers if connection is ready)


def _started(scorer: FileScorer) -> tuple[Connection, BaseProcess]:
    spawn = multiprocessing.get_context("spawn")  # a fork may meet a thread that holds a lock
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_work, args=(theirs, scorer), daemon=True)
    process.start()
    theirs.close()
    return ours, process


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put Ctrl-C off to the end of the block, and keep it from the processes that start there.

    A process that is not whole yet would show where it stopped; and this one has to end it.
    """
    if sys.platform == "win32" or current_thread() is not main_thread():
        yield
        return
    resource_tracker.ensure_running()  # it lets the signal in again, where it is not there yet
    caught = []
    before = signal.signal(signal.SIGINT, lambda *_: caught.append(True))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which a child inherits
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
    if caught:
        signal.raise_signal(signal.SIGINT)


def _end(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()


def _work(connection: Connection, scorer: FileScorer) -> None:
    """Answer the files that come through a pipe, until it is closed, as when its parent died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the parent, which ends this
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of what removes temporaries
    said = 0.0

    def progress(done: float) -> None:
        nonlocal said
        if done >= said + _A_STEP:
            said = done
            connection.send(done)

    try:
        while True:
            file = connection.recv()
            said = 0.0
            connection.send(scorer(file, progress))
    except (EOFError, OSError):
        return
