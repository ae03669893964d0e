"""Ray and Spark, real ones: the same bits and rows as local, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.needs import need
from tests.scale.tables import all_of, ended, files_of, started, table, write_folder

NEEDS = {"ray": ("ray",), "spark": ("pyspark", "java")}
SAID = {
    "ray": "pe-deploy: Ray on this machine, {cpus} CPU: {jobs} actors of 0.5 CPU, 1 thread each\n",
    "spark": "pe-deploy: Spark on this machine, {jobs} at once: {files} tasks, 1 thread each\n",
}
WORKER = {"ray": b"ray::MapWorker", "spark": b"pyspark.daemon"}


@pytest.fixture(params=["ray", "spark"])
def engine(request: pytest.FixtureRequest) -> str:
    need(*NEEDS[request.param])
    return str(request.param)


def test_the_same_bits_and_errors_as_local(
    tmp_path: Path, notebook_bundle: Path, engine: str
) -> None:
    write_folder(tmp_path / "in")
    (tmp_path / "in" / "bad.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "in" / "rows.csv").write_text("input_ids\n1 2 3\n4 5 99\n")
    command = f"predict {notebook_bundle} in -o"
    code, _, err = ended(started(f"{command} local --jobs 1", tmp_path))
    assert code == 1
    expected = sorted(err.splitlines())
    code, out, err = ended(started(f"{command} out --engine {engine} --jobs 2", tmp_path))
    assert code == 1, err
    said, *failures = err.splitlines(keepends=True)
    cpus = said.split(" CPU")[0].split()[-1]
    assert said == SAID[engine].format(cpus=cpus, jobs=2, files=8)
    assert sorted("".join(failures).splitlines()) == expected
    assert out.startswith("6 files, 1,800 rows, 2 failed in ")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "local")
    assert all_of(tmp_path / "out") == all_of(tmp_path / "local")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="processes are looked for in /proc")
def test_a_worker_that_is_killed_loses_and_doubles_nothing(
    tmp_path: Path, notebook_bundle: Path, engine: str
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        rows = pa.concat_tables([table(20_000, number)] * 4)
        pq.write_table(rows, tmp_path / "in" / f"{number}.parquet")
    process = started(f"predict {notebook_bundle} in -o out --engine {engine} --jobs 2", tmp_path)
    until = time.monotonic() + 120
    while not any(".parquet" in name for name in all_of(tmp_path / "out")):
        assert time.monotonic() < until
        assert process.poll() is None, ended(process)
        time.sleep(0.005)
    killed = [pid for pid in descendants(process.pid) if WORKER[engine] in cmdline(pid)]
    os.kill(killed[-1], signal.SIGKILL)  # of Spark's, the last is no parent of others
    code, out, err = ended(process)
    assert (code, err.count("\n")) == (0, 1), err
    # Ray says on its own, and before, that a worker was killed.
    assert out.splitlines()[-1].startswith("3 files, 240,000 rows in ")
    code, _, _ = ended(started(f"predict {notebook_bundle} in -o local --jobs 1", tmp_path))
    assert code == 0
    assert files_of(tmp_path / "out") == files_of(tmp_path / "local")
    assert all_of(tmp_path / "out") == all_of(tmp_path / "local")


def test_ctrl_c_ends_it_and_leaves_nothing_behind(
    tmp_path: Path, notebook_bundle: Path, engine: str
) -> None:
    (tmp_path / "in").mkdir()
    rows = pa.concat_tables([table(20_000, 1)] * 40)
    pq.write_table(rows, tmp_path / "in" / "0.parquet")
    process = started(f"predict {notebook_bundle} in -o out --engine {engine}", tmp_path)
    until = time.monotonic() + 120
    while not any(".parquet" in name for name in all_of(tmp_path / "out")):
        assert time.monotonic() < until
        assert process.poll() is None, ended(process)
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGINT)
    code, out, err = ended(process)
    assert (code, out) == (130, ""), err
    assert err.endswith("pe-deploy: interrupted\n")
    assert err.count("\n") == 2
    assert all_of(tmp_path / "out") == {".pe-deploy.json"}


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and those that they did, in order of their ids."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {pid})


@pytest.mark.parametrize("package", ["ray", "spark"])
def test_without_the_extra_it_is_one_line(
    tmp_path: Path, notebook_bundle: Path, package: str
) -> None:
    write_folder(tmp_path / "in", files=1, rows=2)
    # As where it is not installed: Python's own word for that.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules.update(dict.fromkeys(['ray', 'pyspark']))\n"
    )
    root = Path(__file__).parent.parent.parent
    process = started(
        f"predict {notebook_bundle} in -o out --engine {package}",
        tmp_path,
        PYTHONPATH=f"{tmp_path}:{root}",
    )
    name = {"ray": "ray", "spark": "pyspark"}[package]
    assert ended(process) == (
        1,
        "",
        f"pe-deploy: {name} is not installed; run: pip install 'pe-deploy[{package}]'\n",
    )


def test_without_java_it_is_one_line(tmp_path: Path, notebook_bundle: Path) -> None:
    need("pyspark")
    write_folder(tmp_path / "in", files=1, rows=2)
    process = started(f"predict {notebook_bundle} in -o out --engine spark", tmp_path, PATH="/none")
    assert ended(process) == (
        1,
        "",
        "pe-deploy: java is not installed; run: apt-get install default-jre-headless\n",
    )


def test_no_process_is_interrupted_before_it_can_ignore_that(tmp_path: Path) -> None:
    """One that ended there would leave its parent waiting for it to read, forever."""
    code = """
import signal
from multiprocessing import get_context
from pe_deploy.scale.on_processes import _uninterrupted
with _uninterrupted():
    get_context("spawn").Process(target=len, args=("",)).start()
    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
