"""Folders of rows for the notebook's bundle: 12 ids, rows of 1 to 10."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.program import PROGRAM

ROOT = Path(__file__).parent.parent.parent


def table(rows: int, seed: int = 0) -> pa.Table:
    ids = np.random.default_rng(seed).integers(1, 12, (rows, 7))
    keys = np.arange(rows) + 1_000_000 * seed
    return pa.table({"key": keys, "input_ids": list(ids)})


def write_folder(folder: Path, files: int = 6, rows: int = 300) -> None:
    """Parquet files in three partitions."""
    for number in range(files):
        path = folder / f"day=2026-01-0{number % 3 + 1}" / f"part-{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table(rows, number), path)


def files_of(folder: Path) -> dict[str, bytes]:
    """The visible files of a folder."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def all_of(folder: Path) -> set[str]:
    """Every file of a folder, hidden ones too."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def started(arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """`pe-deploy` in a process of its own, as a shell starts it."""
    return subprocess.Popen(
        [*PROGRAM, *shlex.split(arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str], patience: float = 240) -> tuple[int, str, str]:
    """Its exit code, and what it printed on each stream."""
    out, err = process.communicate(timeout=patience)
    return process.returncode, out, err
