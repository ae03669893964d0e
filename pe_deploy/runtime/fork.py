"""What a forked process must not touch: the engines of the process that it was forked from.

An engine's threads stay behind in the parent. In the child its session can neither run nor be
deleted: both wait for those threads, for ever. So after a fork every classifier forgets its engine
without deleting it, and opens its own when it is next asked. Nothing of this costs a call anything.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Protocol
from weakref import WeakSet

OPENING = threading.RLock()
"""Held while an engine is opened, and while the process forks: no fork sees half of one.

It can be taken again by its own thread, so that a signal handler that forks does not wait for
what it interrupted.
"""


class HoldsEngine(Protocol):
    """Something that has an engine to forget."""

    def forget_engine(self) -> None:
        """Forget the engine of the parent process, without deleting it."""


_holders: WeakSet[HoldsEngine] = WeakSet()


def forget_after_fork(holder: HoldsEngine) -> None:
    """Have a holder forget its engine in each process that this one forks; call with `OPENING`."""
    _holders.add(holder)


def keep_for_ever(thing: object) -> None:
    """Never delete a thing, not even when the interpreter ends.

    A variable that holds it would be cleared then; a reference that nobody has is not.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _in_child() -> None:
    try:
        for holder in list(_holders):
            holder.forget_engine()
    finally:
        OPENING.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=OPENING.acquire, after_in_parent=OPENING.release, after_in_child=_in_child
    )
