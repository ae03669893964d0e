"""Import onnxruntime without its telemetry; the rest of this wing takes it from here.

Since 1.29, onnxruntime's own builds for Linux and macOS start a thread when imported that reports
to its maker, and leave a database and a device id in the home folder. An app did not ask for that.
It also breaks forks: at its exit, a forked process waits for ever for that thread, which it does
not have. The environment variable is read once, by the import, and a value that is already there
is respected.

Where an app imports onnxruntime before pe_deploy, this comes too late: set
ORT_DISABLE_TELEMETRY=1 in its environment.
"""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

__all__ = ["onnxruntime"]
