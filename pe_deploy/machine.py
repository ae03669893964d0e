"""The machine that this runs on: what a measurement was taken with."""

from __future__ import annotations

import platform
from pathlib import Path


def processor_name() -> str:
    """The processor's name; Linux keeps it where Python's `platform` does not look."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
