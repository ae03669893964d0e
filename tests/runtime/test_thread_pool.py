from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from pe_deploy.runtime import thread_pool
from pe_deploy.runtime.thread_pool import ThreadPool
from tests.runtime.processes import run_python

on_linux = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="threads can be moved on Linux alone"
)


def threads_of(workers: ThreadPool, count: int) -> list[int]:
    """The system's numbers of so many workers, each busy until all have answered."""
    meeting = threading.Barrier(count + 1)

    def meet(part: int) -> int:
        meeting.wait(30)
        return threading.get_native_id()

    numbers = {*workers.map(meet, range(count + 1), count + 1)} - {threading.get_native_id()}
    assert len(numbers) == count
    return sorted(numbers)


@on_linux
def test_workers_keep_off_the_processor_of_their_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = os.sched_getaffinity(0)
    others = ThreadPool()
    for processor in sorted(allowed):
        monkeypatch.setattr(thread_pool, "_processor", lambda processor=processor: processor)
        (number,) = threads_of(others, 1)
        assert os.sched_getaffinity(number) == (allowed - {processor} or allowed)
    assert os.sched_getaffinity(0) == allowed  # the caller's own never changes


@on_linux
def test_workers_are_not_crowded_on_fewer_processors_than_they_are() -> None:
    allowed = os.sched_getaffinity(0)
    others = ThreadPool()
    for number in threads_of(others, len(allowed)):
        assert os.sched_getaffinity(number) == allowed


@on_linux
def test_a_caller_with_one_processor_shares_it() -> None:
    allowed = os.sched_getaffinity(0)
    others = ThreadPool()
    threads_of(others, 1)
    try:
        for processor in sorted(allowed):
            os.sched_setaffinity(0, {processor})
            (number,) = threads_of(others, 1)
            assert os.sched_getaffinity(number) == {processor}
    finally:
        os.sched_setaffinity(0, allowed)


@on_linux
@pytest.mark.parametrize("number", [1, 3, 22, 38])  # EPERM, ESRCH, EINVAL, ENOSYS
def test_where_threads_cannot_be_moved_they_work_where_they_are(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    assert len(threads_of(ThreadPool(), 2)) == 2


def test_a_system_without_affinities_has_workers_all_the_same() -> None:
    code = """
import os, threading
for name in ("sched_setaffinity", "sched_getaffinity"):
    if hasattr(os, name):
        delattr(os, name)
from pe_deploy.runtime.thread_pool import ThreadPool
meeting = threading.Barrier(2)
print(len(ThreadPool().map(lambda part: meeting.wait(30), [0, 1], 2)))
"""
    assert run_python(code) == "2\n"


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_part_is_done_once_by_no_more_threads_than_stated(threads: int) -> None:
    pool, lock, names, seen = ThreadPool(), threading.Lock(), set(), []

    def square(part: int) -> int:
        with lock:
            names.add(threading.get_ident())
            seen.append(part)
        return part * part

    for _ in range(5):
        seen.clear()
        assert pool.map(square, range(100), threads) == [part * part for part in range(100)]
        assert sorted(seen) == list(range(100))
    assert len(names) <= threads


@pytest.mark.parametrize("bad", [0, 50, 99])
def test_an_error_in_any_part_is_raised_and_no_part_is_begun_after_it(bad: int) -> None:
    pool, begun, done = ThreadPool(), set[int](), set[int]()

    def fail(part: int) -> None:
        begun.add(part)
        if part == bad:
            raise KeyError(part)
        done.add(part)

    for _ in range(20):
        begun.clear()
        done.clear()
        with pytest.raises(KeyError, match=str(bad)):
            pool.map(fail, range(100), 3)
        assert begun == done | {bad}, "what was begun is done before the error leaves"
    assert pool.map(abs, range(-3, 0), 3) == [3, 2, 1]


@contextmanager
def whose_only_worker_is_busy() -> Iterator[ThreadPool]:
    """A pool in which another caller's work goes on until the block ends."""
    pool, both, go_on = ThreadPool(), threading.Barrier(3), threading.Event()

    def wait(part: int) -> None:
        both.wait(30)
        assert go_on.wait(30)

    other = threading.Thread(target=pool.map, args=(wait, range(2), 2))
    other.start()
    both.wait(30)
    yield pool
    go_on.set()
    other.join(30)
    assert not other.is_alive()


def test_who_has_little_to_do_does_not_wait_for_a_busy_worker() -> None:
    with whose_only_worker_is_busy() as pool:
        assert pool.map(abs, range(-20, 0), 2) == list(range(20, 0, -1))


def test_what_waits_for_a_helper_keeps_no_input() -> None:
    with whose_only_worker_is_busy() as pool:
        ids = np.arange(20)
        kept = weakref.ref(ids)
        pool.map(np.sum, [ids[:9], ids[9:]], 2)
        del ids
        gc.collect()
        assert kept() is None


def test_where_no_thread_can_be_started_one_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Thread.start
    allowed = 0

    def start(self: threading.Thread) -> None:
        nonlocal allowed
        if allowed < 1:
            raise RuntimeError("can't start new thread")
        allowed -= 1
        started(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    pool = ThreadPool()
    for allowed in (0, 1, 2, 3, 0):  # noqa: B007
        assert pool.map(abs, range(100), 4) == list(range(100))
