"""How many processors this process may use: its affinity and its container's quota, not the host.

Linux keeps the quota of a container in its control group: version 2 in `cpu.max`, version 1 in
`cpu.cfs_quota_us` and `cpu.cfs_period_us`. A limit of any group above holds too, so the smallest
on the way up to the mount point counts. What cannot be read is no limit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def usable_cpus(root: str | Path = "") -> int:
    """The processors that this process may keep busy, at least 1.

    A quota of one and a half processors counts as 1. Two threads would use it up after three
    quarters of each period, and the kernel would then stop the whole process until the next:
    the rare slow answers that this gives cost more than the half processor brings.

    Args:
        root: the root of the file system, where `proc` and the control groups are.
    """
    by_affinity = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min([by_affinity, *_quotas(root)]))


def _quotas(root: str | Path) -> Iterator[int]:
    """The whole processors that each group of this process grants, where it limits them."""
    paths = dict(_paths(_text(f"{root}/proc/self/cgroup")))
    for line in _text(f"{root}/proc/self/mountinfo").splitlines():
        # 31 23 0:28 /docker/1a /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), (after.split() + [""] * 3)[:3]
        controller = {"cgroup2": "", "cgroup": "cpu"}.get(kind)
        if len(fields) < 5 or controller not in paths:
            continue
        if kind == "cgroup" and "cpu" not in options.split(","):
            continue
        mounted, point = map(_unescaped, fields[3:5])
        files = ["cpu.max"] if kind == "cgroup2" else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        for group in _groups(f"{root}{point}", mounted, paths[controller]):
            text = " ".join(_text(f"{group}/{file}") for file in files)
            # Microseconds of processor time in each period of so many; "max" or -1 is no limit.
            if found := re.match(r"([1-9]\d{0,18}) ([1-9]\d{0,18})\b", text):
                yield int(found[1]) // int(found[2])


def _paths(text: str) -> Iterator[tuple[str, str]]:
    """The path of this process's group: under "" that of version 2, under "cpu" of version 1."""
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield "", path
        elif "cpu" in controllers.split(","):
            yield "cpu", path


def _groups(point: str, mounted: str, path: str) -> Iterator[str]:
    """The folder of a group and of each above it, up to where the hierarchy is mounted.

    A container may see its group's path as the host does, and only a part of it mounted; or the
    path may lie outside of what is mounted. Then the mount point is the nearest that can be seen.
    """
    below = f"{mounted.rstrip('/')}/"
    inside = path[len(below) :].split("/") if path.startswith(below) else []
    if ".." in inside:
        inside = []
    for depth in range(len(inside), -1, -1):
        yield "/".join([point, *inside[:depth]])


def _text(path: str) -> str:
    try:
        with open(path, errors="replace") as file:  # noqa: PTH123 - pathlib is slow to import
            return file.read().strip()
    except OSError as error:
        if error.errno is None:  # not the system's, but of the app's signal handler
            raise
        return ""


def _unescaped(field: str) -> str:
    """A path out of mountinfo, which writes a space as a backslash and 040."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
