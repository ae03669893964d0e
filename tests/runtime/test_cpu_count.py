"""The processors that a process may use, out of made-up file systems."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pe_deploy.runtime import usable_cpus

HOST = 16

V2 = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1_CPU = "32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "33 31 0:30 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory"
UNIFIED = "34 31 0:31 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw"


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough processors that every limit below is one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(HOST)), raising=False)


def tree(root: Path, cgroup: str, mountinfo: str, **files: str) -> Path:
    """A file system with these two files of proc, and files under sys/fs/cgroup."""
    named = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mountinfo}
    named |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in named.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


def v2(root: Path, path: str, mounted: str = "/", **files: str) -> int:
    return usable_cpus(tree(root, f"0::{path}", V2.format(root=mounted), **files))


def v1(root: Path, path: str, mounted: str = "/", **files: str) -> int:
    cgroup = f"4:memory:{path}\n2:cpu,cpuacct:{path}\n1:name=systemd:{path}"
    mounts = f"{V1_MEMORY}\n{V1_CPU.format(root=mounted)}"
    return usable_cpus(tree(root, cgroup, mounts, **files))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("200000 100000", 2),
        ("150000 100000", 1),  # down: two threads would be stopped for a quarter of the time
        ("299999 100000", 2),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("25000 10000", 2),
        ("max 100000", HOST),
        ("9900000 100000", HOST),
        ("", HOST),
        ("max", HOST),
        ("garbage", HOST),
        ("200000", HOST),
        ("200000 0", HOST),
        ("-1 100000", HOST),
        ("2e5 100000", HOST),
        ("\0\xff", HOST),
    ],
)
def test_version_2(tmp_path: Path, content: str, expected: int) -> None:
    assert v2(tmp_path, "/", **{"cpu.max": content}) == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [
        ("200000", "100000", 2),
        ("150000", "100000", 1),
        ("50000", "100000", 1),
        ("-1", "100000", HOST),
        ("200000", "garbage", HOST),
        ("", "", HOST),
        ("200000", "0", HOST),
    ],
)
def test_version_1(tmp_path: Path, quota: str, period: str, expected: int) -> None:
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": quota,
        "cpu,cpuacct/cpu.cfs_period_us": period,
        "memory/cpu.cfs_quota_us": "100000",  # not the controller of processors
        "memory/cpu.cfs_period_us": "100000",
    }
    assert v1(tmp_path, "/", **files) == expected


def test_the_smallest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    files = {
        "pod/cpu.max": "300000 100000",
        "pod/app/cpu.max": "800000 100000",
        "pod/app/worker/cpu.max": "max 100000",
        "other/cpu.max": "100000 100000",
        "pod/app/worker/below/cpu.max": "100000 100000",
    }
    assert v2(tmp_path, "/pod/app/worker", **files) == 3
    assert v2(tmp_path, "/pod/app/worker", **{**files, "pod/app/cpu.max": "200000 100000"}) == 2
    assert v2(tmp_path, "/pod/app/worker", **{**files, "cpu.max": "100000 100000"}) == 1


def test_a_nested_group_of_version_1(tmp_path: Path) -> None:
    files = {
        "cpu,cpuacct/docker/cpu.cfs_quota_us": "400000",
        "cpu,cpuacct/docker/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/docker/1a2b/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/docker/1a2b/cpu.cfs_period_us": "100000",
    }
    assert v1(tmp_path, "/docker/1a2b", **files) == 4


@pytest.mark.parametrize(
    ("path", "mounted"),
    [
        ("/", "/"),  # a namespace of its own
        ("/docker/1a2b", "/docker/1a2b"),  # the host's path, and that part of it is mounted
        ("/docker/1a2b", "/"),  # the host's path, of which nothing can be seen
        ("/kubepods/pod9/1a2b", "/docker/7c"),  # outside of what is mounted
        ("/../../system.slice", "/"),  # outside of the namespace
        ("/../sibling", "/.."),
    ],
)
def test_what_a_container_sees(tmp_path: Path, path: str, mounted: str) -> None:
    assert v2(tmp_path / "2", path, mounted, **{"cpu.max": "200000 100000"}) == 2
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "300000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}
    assert v1(tmp_path / "1", path, mounted, **files) == 3


def test_both_versions_at_once(tmp_path: Path) -> None:
    cgroup = "3:cpu,cpuacct:/app\n1:name=systemd:/app\n0::/app"
    mounts = f"{V1_CPU.format(root='/')}\n{UNIFIED}"
    quota = {
        "cpu,cpuacct/app/cpu.cfs_quota_us": "500000",
        "cpu,cpuacct/app/cpu.cfs_period_us": "100000",
    }
    assert usable_cpus(tree(tmp_path, cgroup, mounts, **quota)) == 5
    both = {**quota, "unified/app/cpu.max": "300000 100000"}
    assert usable_cpus(tree(tmp_path, cgroup, mounts, **both)) == 3


def test_a_mount_point_with_a_space(tmp_path: Path) -> None:
    mounts = V2.format(root="/").replace("/sys/fs/cgroup", r"/sys/fs/cgroup/a\040b")
    made = tree(tmp_path, "0::/", mounts, **{"a b/cpu.max": "200000 100000"})
    assert usable_cpus(made) == 2


@pytest.mark.parametrize("mountinfo", ["", "garbage", "1 2 3 - cgroup2", "- cgroup2 cgroup2 rw"])
@pytest.mark.parametrize("cgroup", ["", "garbage", "0", "0::", ":::"])
def test_garbage_is_no_limit(tmp_path: Path, mountinfo: str, cgroup: str) -> None:
    assert usable_cpus(tree(tmp_path, cgroup, mountinfo)) == HOST


def test_without_control_groups_affinity_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert usable_cpus(tmp_path) == HOST
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert usable_cpus(tmp_path) == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus(tmp_path) == 1


def test_affinity_below_the_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert v2(tmp_path, "/", **{"cpu.max": "200000 100000"}) == 1
