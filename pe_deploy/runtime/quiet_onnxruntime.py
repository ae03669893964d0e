"""Import onnxruntime without its telemetry; the rest of this wing takes it from here.

Since 1.29, onnxruntime's own builds for Linux and macOS start a thread when imported that reports
to its maker, and leave a database and a device id in the home folder. An app did not ask for that.
It also breaks forks: at its exit, a forked process waits for ever for that thread, which it does
not have. The environment variable is read once, by the import, and a value that is already there
is respected.

Where an app imports onnxruntime before pe_deploy, this comes too late, and the first fork says so.
"""

from __future__ import annotations

import os
import sys
import warnings

if "onnxruntime" not in sys.modules:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as binding

__all__ = ["ENGINE_ERRORS", "onnxruntime"]

ENGINE_ERRORS: tuple[type[Exception], ...] = tuple(
    value
    for value in vars(binding).values()
    if isinstance(value, type) and issubclass(value, Exception)
)
"""What onnxruntime raises; its classes have no base of their own."""


_too_late = "ORT_DISABLE_TELEMETRY" not in os.environ


def _warn_once() -> None:
    global _too_late
    if _too_late:
        _too_late = False
        warnings.warn(
            "onnxruntime was imported before pe_deploy, and the thread of its telemetry may keep "
            "forked processes from ending; set ORT_DISABLE_TELEMETRY=1 in the environment",
            RuntimeWarning,
            stacklevel=2,
        )


if _too_late and hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_warn_once)
