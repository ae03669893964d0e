"""The machine that this runs on: what a measurement was taken with, and what code may be run."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path


def processor_name() -> str:
    """The processor's name; Linux keeps it where Python's `platform` does not look."""
    return next(_cpuinfo("model name"), platform.processor() or platform.machine())


def processor_features() -> frozenset[str]:
    """What the processor can do beside the least of its kind, such as avx2, in Linux's words.

    Empty where the system does not tell.
    """
    found = next(_cpuinfo("flags"), "") or next(_cpuinfo("Features"), "")  # of x86, of ARM
    return frozenset(found.split())


def _cpuinfo(field: str) -> Iterator[str]:
    """What Linux says of each processor under this name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == field:
            yield value.strip()
