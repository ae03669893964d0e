"""No thread is inside an engine when the interpreter ends.

Python ends a thread that returns from compiled code after that, in a way that C++ takes for an
exception which nobody catches, and aborts the process. Python itself waits for threads that are no
daemons. For daemons, those of our pool and those of an app, this module waits.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable
from threading import get_ident
from typing import TypeVar

Given = TypeVar("Given")
Answer = TypeVar("Answer")

_PATIENCE = 1.0
"""Seconds that a late call waits. The interpreter has ended by then, unless a function that was
registered with `atexit` before this module was imported waits for that very call."""

_inside: set[int] = set()  # the threads that are in an engine
_ended_by: int | None = None  # the thread that ends the interpreter


def finished_before_exit(call: Callable[[Given], Answer]) -> Callable[[Given], Answer]:
    """A call into compiled code that the end of the interpreter waits for."""
    enter, leave = _inside.add, _inside.discard

    def guarded(given: Given) -> Answer:
        thread = get_ident()
        enter(thread)
        try:
            if _ended_by is not None and _ended_by != thread:
                leave(thread)
                time.sleep(_PATIENCE)
                enter(thread)
            return call(given)
        finally:
            leave(thread)

    return guarded


def exiting() -> bool:
    """Whether the interpreter is about to end, so that only the thread that ends it may go on."""
    return _ended_by is not None


def _wait_for_others() -> None:
    global _ended_by
    _ended_by = get_ident()
    while (_inside - {_ended_by}) & sys._current_frames().keys():
        time.sleep(0.001)


atexit.register(_wait_for_others)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_inside.clear)  # the threads of the parent are not there
