from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from pe_deploy.runtime import helpers
from pe_deploy.runtime.helpers import Helpers

on_linux = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="threads can be moved on Linux alone"
)


def thread() -> int:
    return threading.get_native_id()


@on_linux
def test_helpers_keep_off_the_processor_of_their_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = os.sched_getaffinity(0)
    others = Helpers(2)
    # Two threads, each known by what it is asked for while the other is busy.
    meeting = threading.Barrier(2)
    threads = {
        share.result()
        for share in [others.submit(lambda: (meeting.wait(10), thread())[1]) for _ in range(2)]
    }
    assert len(threads) == 2
    for processor in sorted(allowed):
        monkeypatch.setattr(helpers, "_processor", lambda processor=processor: processor)
        others.keep_off()
        for number in threads:
            assert os.sched_getaffinity(number) == (allowed - {processor} or allowed)
    assert os.sched_getaffinity(0) == allowed  # the caller's own never changes


@on_linux
def test_a_helper_that_starts_later_is_kept_off_too() -> None:
    others = Helpers(1)
    others.keep_off()
    number = others.submit(thread).result()
    others.keep_off()
    allowed = os.sched_getaffinity(0)
    assert len(os.sched_getaffinity(number)) == max(1, len(allowed) - 1)


@on_linux
@pytest.mark.parametrize("error", [PermissionError, ProcessLookupError])
def test_where_threads_cannot_be_moved_they_work_where_they_are(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    def refuse(*args: object) -> None:
        raise error("no")

    others = Helpers(1)
    others.submit(thread).result()
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    others.keep_off()
    assert others.submit(lambda: 5).result() == 5


def test_a_system_without_affinities_has_helpers_all_the_same() -> None:
    code = """
import os
for name in ("sched_setaffinity", "sched_getaffinity"):
    if hasattr(os, name):
        delattr(os, name)
from pe_deploy.runtime.helpers import Helpers
others = Helpers(1)
others.keep_off()
print(others.submit(lambda: 5).result())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "5\n"), ended.stderr


@on_linux
def test_a_caller_with_one_processor_leaves_its_helpers_on_it() -> None:
    allowed = os.sched_getaffinity(0)
    others = Helpers(1)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        number = others.submit(thread).result()
        others.keep_off()
        assert os.sched_getaffinity(number) == {min(allowed)}
    finally:
        os.sched_setaffinity(0, allowed)
