from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from pe_deploy.runtime import thread_pool
from pe_deploy.runtime.thread_pool import ThreadPool

on_linux = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="threads can be moved on Linux alone"
)


def threads_of(helpers: ThreadPool, count: int) -> list[int]:
    """The system's numbers of so many helpers, each busy until all have answered."""
    meeting = threading.Barrier(count + 1)

    def meet(part: int) -> int:
        meeting.wait(30)
        return threading.get_native_id()

    found = helpers.side_by_side(meet, [(key, key) for key in range(count + 1)], count + 1)
    numbers = {number for _, number in found} - {threading.get_native_id()}
    assert len(numbers) == count
    return sorted(numbers)


@on_linux
def test_helpers_keep_off_the_processor_of_their_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = os.sched_getaffinity(0)
    others = ThreadPool()
    for processor in sorted(allowed):
        monkeypatch.setattr(thread_pool, "_processor", lambda processor=processor: processor)
        (number,) = threads_of(others, 1)
        assert os.sched_getaffinity(number) == (allowed - {processor} or allowed)
    assert os.sched_getaffinity(0) == allowed  # the caller's own never changes


@on_linux
def test_helpers_are_not_crowded_on_fewer_processors_than_they_are() -> None:
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
@pytest.mark.parametrize("error", [PermissionError, ProcessLookupError])
def test_where_threads_cannot_be_moved_they_work_where_they_are(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    def refuse(*args: object) -> None:
        raise error("no")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    assert len(threads_of(ThreadPool(), 2)) == 2


def test_a_system_without_affinities_has_helpers_all_the_same() -> None:
    code = """
import os, threading
for name in ("sched_setaffinity", "sched_getaffinity"):
    if hasattr(os, name):
        delattr(os, name)
from pe_deploy.runtime import thread_pool
from pe_deploy.runtime.thread_pool import ThreadPool
meeting = threading.Barrier(2)
print(len(dict(ThreadPool().side_by_side(lambda part: meeting.wait(30), [(0, 0), (1, 1)], 2))))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "2\n"), ended.stderr


def test_threads_end_when_nobody_has_the_helpers() -> None:
    before = set(threading.enumerate())
    others = ThreadPool()
    threads_of(others, 3)
    started = set(threading.enumerate()) - before
    assert len(started) == 3
    del others
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()
